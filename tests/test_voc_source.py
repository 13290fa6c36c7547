from __future__ import annotations

import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camsweep.shards.errors import InputError
from camsweep.shards.reader import open_split
from camsweep.shards.sources.cls_labels import read_cls_labels
from camsweep.shards.sources.voc import VOC_CLASSES, voc_source
from camsweep.shards.verify import verify
from camsweep.shards.writing.writer import build


def write_mask(path: Path, mask: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(mask.astype(np.uint8))
    picture.putpalette(list(range(256)) * 3)
    picture.save(path)


def write_list(root: Path, split: str, ids: list[str]) -> None:
    folder = root / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in ids))


def write_xml(root: Path, name: str, objects: list[str]) -> None:
    (root / "Annotations").mkdir(exist_ok=True)
    body = "".join(f"<object><name>{item}</name></object>" for item in objects)
    (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{body}</annotation>")


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Three images, a (train), b (val) and c (only in the augmented list), in VOC layout."""
    root = tmp_path / "VOC"
    (root / "JPEGImages").mkdir(parents=True)
    for index, name in enumerate("abc"):
        Image.new("RGB", (30, 20), (index * 50, 90, 10)).save(root / "JPEGImages" / f"{name}.jpg")
    mask = np.zeros((20, 30))
    mask[:5], mask[5:8] = 15, 255
    for name in "ab":
        write_mask(root / "SegmentationClass" / f"{name}.png", mask)
    for name in "ac":
        write_mask(root / "SegmentationClassAug" / f"{name}.png", np.full((20, 30), 8))
    write_list(root, "train", ["a"])
    write_list(root, "val", ["b"])
    write_list(root, "train_aug", ["a", "c"])
    return root


def test_layout_becomes_splits(voc: Path, tmp_path: Path) -> None:
    manifest = build(voc_source(voc), tmp_path / "d")
    assert {name: split.count for name, split in manifest.splits.items()} == {
        "train": 1,
        "val": 1,
        "train_aug": 2,
    }
    assert manifest.classes == VOC_CLASSES
    assert manifest.name == "VOC"
    reader = open_split(tmp_path / "d", "train_aug")
    assert reader.keys == ["a", "c"]
    # 'auto': a has an original mask, c only an augmented one.
    assert [reader[index].labels for index in range(2)] == [(15,), (8,)]
    assert reader[0].mask is not None
    assert set(np.unique(reader[0].mask)) == {0, 15, 255}
    jpeg = (voc / "JPEGImages" / "a.jpg").read_bytes()
    assert reader.read(0, "jpg") == jpeg
    assert verify(tmp_path / "d").problems == []


def test_digest_does_not_hold_the_path(voc: Path, tmp_path: Path) -> None:
    first = build(voc_source(voc), tmp_path / "a")
    (tmp_path / "elsewhere").mkdir()
    moved = voc.rename(tmp_path / "elsewhere" / "VOC")
    assert build(voc_source(moved), tmp_path / "b").digest == first.digest


def test_mask_folders(voc: Path) -> None:
    augmented = voc_source(voc, masks="SegmentationClassAug")
    assert augmented.splits["train"][0]().labels == (8,)
    assert augmented.splits["val"][0]().labels == (15,)
    with pytest.raises(InputError, match=r"train_aug\.txt: names c, but SegmentationClass have no"):
        voc_source(voc, masks="SegmentationClass")


def test_xml_labels(voc: Path) -> None:
    write_xml(voc, "a", ["person", "dog", "person"])
    source = voc_source(voc, labels="xml")
    assert source.splits["train"][0]().labels == (12, 15)
    with pytest.raises(InputError, match=r"b\.xml: cannot be read"):
        source.splits["val"][0]()
    write_xml(voc, "b", ["persn"])
    with pytest.raises(InputError, match="class 'persn' is not in the list; did you mean 'person'"):
        source.splits["val"][0]()
    (voc / "Annotations" / "b.xml").write_text("<annotation>")
    with pytest.raises(InputError, match=r"b\.xml: is not XML"):
        source.splits["val"][0]()


def test_own_classes(voc: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"thing{index}" for index in range(1, 16)))
    source = voc_source(voc, classes=names)
    assert source.classes[:2] == ("background", "thing1")
    assert len(source.classes) == len(source.colours) == 16
    (voc / "classes.txt").write_text("background\ncat\ndog\n")
    assert voc_source(voc).classes == ("background", "cat", "dog")
    with pytest.raises(InputError, match=r"a\.png: holds class 15, the list has 0\.\.2"):
        voc_source(voc).splits["train"][0]()
    names.write_text("cat\ncat\n")
    with pytest.raises(InputError, match="different classes"):
        voc_source(voc, classes=names)


def test_missing_files(voc: Path, tmp_path: Path) -> None:
    write_list(voc, "val", ["b", "zebra"])
    with pytest.raises(InputError, match=r"val\.txt: names zebra, but .*zebra\.jpg is missing"):
        voc_source(voc)
    write_list(voc, "val", [])
    with pytest.raises(InputError, match=r"val\.txt: is empty"):
        voc_source(voc)
    with pytest.raises(InputError, match="not a VOC folder"):
        voc_source(tmp_path)
    with pytest.raises(InputError, match="labels: 'mask'; did you mean 'masks'"):
        voc_source(voc, labels="mask")  # type: ignore[arg-type]


def test_wrong_files_leave_nothing(voc: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "d"
    out.parent.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(noise).save(voc / "JPEGImages" / "a.jpg")
    good = (voc / "JPEGImages" / "a.jpg").read_bytes()

    def refused(match: str) -> None:
        with pytest.raises(InputError, match=match) as caught:
            build(voc_source(voc), out)
        assert "\n" not in str(caught.value)
        assert list(out.parent.iterdir()) == []

    (voc / "JPEGImages" / "a.jpg").write_bytes(b"not an image")
    refused(r"a\.jpg: does not decode")
    (voc / "JPEGImages" / "a.jpg").write_bytes(good[:-300])
    refused(r"a\.jpg: the image does not decode")
    (voc / "JPEGImages" / "a.jpg").write_bytes(good)
    write_mask(voc / "SegmentationClass" / "a.png", np.zeros((20, 31)))
    refused(r"a\.png: mask is 31 x 20, its image a\.jpg 30 x 20")
    write_mask(voc / "SegmentationClass" / "a.png", np.full((20, 30), 21))
    refused(r"a\.png: holds class 21, the list has 0\.\.20")
    Image.new("RGB", (30, 20)).save(voc / "SegmentationClass" / "a.png")
    refused(r"a\.png: is a RGB image")
    (voc / "SegmentationClass" / "a.png").write_bytes(b"nothing")
    refused(r"a\.png: the mask does not decode")


def save_labels(path: Path, table: object, protocol: int = 4) -> None:
    array = np.empty((), dtype=object)
    array[()] = table
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(
            stream, {"descr": "|O", "fortran_order": False, "shape": ()}
        )
        pickle.dump(array, stream, protocol=protocol)


def vector(*classes: int, length: int = 20) -> np.ndarray:
    out = np.zeros(length, dtype=np.float32)
    out[[index - 1 for index in classes]] = 1
    return out


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_npy_labels(voc: Path, protocol: int) -> None:
    table = {"a": vector(3, 7), "b": vector(1), "c": vector()}
    save_labels(voc / "cls_labels.npy", table, protocol)
    source = voc_source(voc, labels="npy")
    assert source.splits["train"][0]().labels == (3, 7)
    assert [load().labels for load in source.splits["train_aug"]] == [(3, 7), ()]
    save_labels(voc / "cls_labels.npy", {"a": vector(3)})
    with pytest.raises(InputError, match="has no labels of b"):
        voc_source(voc, labels="npy").splits["val"][0]()


def test_npy_with_integer_ids(tmp_path: Path) -> None:
    save_labels(tmp_path / "l.npy", {2007000063: vector(12).astype(np.float64)})
    assert read_cls_labels(tmp_path / "l.npy", 20) == {"2007_000063": (12,)}


class Evil:
    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("function", [os.mkdir, eval, np.load, np.frombuffer])
def test_npy_runs_no_code(tmp_path: Path, function: object) -> None:
    marker = tmp_path / "ran"
    argument = f"__import__('os').mkdir({str(marker)!r})" if function is eval else str(marker)
    save_labels(tmp_path / "l.npy", {"a": Evil(function, argument)})
    with pytest.raises(InputError, match=r"l\.npy: refused; .*it names"):
        read_cls_labels(tmp_path / "l.npy", 20)
    assert not marker.exists()


@pytest.mark.parametrize(
    "table",
    [{"a": vector(1, length=19)}, {"a": [1, 0]}, [vector(1)], 3, {"a": np.array(["x"] * 20)}],
)
def test_npy_of_another_kind(tmp_path: Path, table: object) -> None:
    save_labels(tmp_path / "l.npy", table)
    with pytest.raises(InputError, match="a dict of image id to 20 numbers is expected"):
        read_cls_labels(tmp_path / "l.npy", 20)


def test_npy_broken_or_absent(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_cls_labels(tmp_path / "l.npy", 20)
    save_labels(tmp_path / "l.npy", {"a": vector(1)})
    content = (tmp_path / "l.npy").read_bytes()
    for length in (3, 60, 130, len(content) - 4):
        (tmp_path / "l.npy").write_bytes(content[:length])
        with pytest.raises(InputError, match="refused"):
            read_cls_labels(tmp_path / "l.npy", 20)
    stream = io.BytesIO()
    np.save(stream, np.ones(20))
    (tmp_path / "l.npy").write_bytes(stream.getvalue())
    with pytest.raises(InputError, match="it holds float64"):
        read_cls_labels(tmp_path / "l.npy", 20)


def test_voc_mini(shared: Path) -> None:
    root = shared / "voc-mini"
    source = voc_source(root, labels="npy")
    assert {name: len(samples) for name, samples in source.splits.items()} == {
        "train": 154,
        "val": 80,
        "train_aug": 194,
    }
    from_masks = voc_source(root)
    same = [
        source.splits["train"][index]().labels == from_masks.splits["train"][index]().labels
        for index in range(0, 154, 7)
    ]
    assert np.mean(same) > 0.8


@pytest.mark.parametrize("name", ["grey.v1", "no fg", "../secret"])
def test_an_id_that_no_key_can_be_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True)
    (folder / "train.txt").write_text(f"{name}\n")
    with pytest.raises(InputError, match="needs letters, digits, '_' and '-' only"):
        voc_source(tmp_path)
