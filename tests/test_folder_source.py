from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_voc_source import save_labels, vector, write_list, write_mask, write_xml

from camsweep.shards.errors import InputError
from camsweep.shards.reader import open_split
from camsweep.shards.sources.folder import folder_source
from camsweep.shards.verify import verify
from camsweep.shards.writing.writer import build


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two lists of one's own naming, three images, masks of two of them in one's own folder."""
    root = tmp_path / "cells"
    (root / "JPEGImages").mkdir(parents=True)
    for name in ("a.jpg", "b.jpeg", "c.JPG"):
        picture = Image.new("RGB", (30, 20), (90, len(name) * 9, 10))
        picture.save(root / "JPEGImages" / name, "JPEG")
    for index, name in enumerate("ab"):
        mask = np.full((20, 30), index + 1)
        mask[0] = 255
        write_mask(root / "outlines" / f"{name}.png", mask)
    write_list(root, "fold_1", ["a", "b"])
    write_list(root, "fold_2", ["c"])
    (root / "classes.txt").write_text("nucleus\ncytoplasm\n")
    return root


def test_every_list_is_a_split(folder: Path, tmp_path: Path) -> None:
    write_list(folder, "fold_2", ["b"])
    manifest = build(folder_source(folder, masks="outlines"), tmp_path / "d")
    assert {name: split.count for name, split in manifest.splits.items()} == {
        "fold_1": 2,
        "fold_2": 1,
    }
    assert manifest.classes == ("background", "nucleus", "cytoplasm")
    assert manifest.name == "cells"
    assert verify(tmp_path / "d").problems == []
    reader = open_split(tmp_path / "d", "fold_1")
    assert reader.keys == ["a", "b"]
    assert [reader[index].labels for index in range(2)] == [(1,), (2,)]
    assert reader.read(1, "jpg") == (folder / "JPEGImages" / "b.jpeg").read_bytes()


@pytest.mark.parametrize("labels", ["xml", "npy"])
def test_masks_may_be_missing_where_labels_come_from_elsewhere(
    folder: Path, tmp_path: Path, labels: str
) -> None:
    save_labels(
        folder / "cls_labels.npy",
        {"a": vector(2, length=2), "b": vector(1, length=2), "c": vector(1, 2, length=2)},
    )
    for name, objects in (
        ("a", ["cytoplasm"]),
        ("b", ["nucleus"]),
        ("c", ["nucleus", "cytoplasm"]),
    ):
        write_xml(folder, name, objects)
    source = folder_source(folder, masks="outlines", labels=labels)  # type: ignore[arg-type]
    manifest = build(source, tmp_path / "d")
    assert manifest.settings["without_mask"] == {"fold_1": 0, "fold_2": 1}
    assert verify(tmp_path / "d").problems == []
    assert [sample.labels for sample in open_split(tmp_path / "d", "fold_1")] == [(2,), (1,)]
    (sample,) = open_split(tmp_path / "d", "fold_2")
    assert sample.mask is None
    assert sample.labels == (1, 2)


def test_wrong_folders_are_one_line(folder: Path, tmp_path: Path) -> None:
    def refused(match: str, **options: object) -> None:
        with pytest.raises(InputError, match=match) as caught:
            folder_source(folder, **{"masks": "outlines"} | options)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)

    refused(r"fold_2\.txt: names c, but .*outlines/c\.png is missing")
    refused("outline: no such folder; did you mean 'outlines'", masks="outline")
    refused("labels: 'json'", labels="json")
    refused(r"names\.txt: cannot be read \(No such file", classes=tmp_path / "names.txt")
    write_list(folder, "fold_2", ["a", "b", "a"])
    refused(r"fold_2\.txt: names a twice")
    write_list(folder, "fold_2", ["a", "z"])
    refused(r"fold_2\.txt: names z, but .*z", labels="xml")
    (folder / "classes.txt").unlink()
    refused(r"classes\.txt: is missing; --classes FILE")
    with pytest.raises(InputError, match="no such folder"):
        folder_source(tmp_path / "absent")
    for path in (folder / "ImageSets" / "Segmentation").iterdir():
        path.unlink()
    (folder / "classes.txt").write_text("nucleus\n")
    refused("Segmentation: no list")


def test_a_list_whose_name_no_split_can_have(folder: Path) -> None:
    write_list(folder, "fold 0", ["a"])
    with pytest.raises(InputError, match="split's name: key 'fold 0' needs"):
        folder_source(folder, masks="outlines")
