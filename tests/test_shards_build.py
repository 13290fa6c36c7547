from __future__ import annotations

import io
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image

from camsweep.shards.colours import colour_map
from camsweep.shards.errors import InputError
from camsweep.shards.manifest import load_manifest
from camsweep.shards.reader import open_split
from camsweep.shards.writing.members import check_key
from camsweep.shards.writing.writer import Source, SourceSample, build


def make_source(count: int = 10, change: int = 0, **splits: int) -> Source:
    """A source of random 24 x 32 images in three classes; ``change`` alters the pixels."""

    def sample(split: str, index: int) -> SourceSample:
        rng = np.random.default_rng([index, len(split), change])
        stream = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(stream, "JPEG")
        mask = rng.integers(0, 3, (24, 32), dtype=np.uint8)
        mask[0] = 255
        return SourceSample(f"{split}_{index}", stream.getvalue(), mask, (1, 2), (24, 32), "made")

    counts = splits or {"train": count}
    return Source(
        name="tiny",
        source="made for a test",
        classes=("background", "cat", "dog"),
        colours=colour_map(3),
        settings={"labels": "masks"},
        splits={
            split: [partial(sample, split, index) for index in range(number)]
            for split, number in counts.items()
        },
    )


def broken(change: dict[str, object]) -> Source:
    """A source whose second sample has some fields replaced."""
    source = make_source(3)
    good = source.splits["train"]
    return replace(
        source, splits={"train": [good[0], lambda: replace(good[1](), **change), good[2]]}
    )


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMSWEEP_CACHE", str(tmp_path_factory.mktemp("cache")))


def test_two_builds_are_byte_identical(tmp_path: Path) -> None:
    first = build(make_source(train=5, val=3), tmp_path / "a", shard_samples=2)
    second = build(make_source(train=5, val=3), tmp_path / "b", shard_samples=2)
    assert first.digest == second.digest
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "b").iterdir())
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_digest_changes_with_pixels(tmp_path: Path) -> None:
    one = build(make_source(2), tmp_path / "a")
    other = build(make_source(2, change=1), tmp_path / "b")
    assert one.digest != other.digest


def test_members_are_what_the_design_says(tmp_path: Path) -> None:
    source = make_source(1)
    build(source, tmp_path / "d", superpixels=[6])
    data = webdataset.WebDataset(str(tmp_path / "d" / "train-000000.tar"), shardshuffle=False)
    (raw,) = list(data)
    sample = source.splits["train"][0]()
    assert {key for key in raw if key[0] != "_"} == {"jpg", "mask.png", "json", "sp6.png"}
    assert raw["jpg"] == sample.image_bytes
    with Image.open(io.BytesIO(raw["mask.png"])) as mask:
        assert mask.mode == "P"
        assert mask.getpalette()[3:6] == [128, 0, 0]
        assert np.array_equal(np.asarray(mask), sample.mask)
    facts = json.loads(raw["json"])
    assert facts["labels"] == [1, 2]
    assert facts["size"] == [24, 32]
    with Image.open(io.BytesIO(raw["sp6.png"])) as superpixels:
        assert np.asarray(superpixels).dtype == np.uint16
        assert np.asarray(superpixels).max() == facts["segments"]["6"]


def test_manifest_round_trip(tmp_path: Path) -> None:
    built = build(make_source(train=5, val=3), tmp_path / "d", shard_samples=2, superpixels=[6, 4])
    loaded = load_manifest(tmp_path / "d")
    assert loaded == built
    assert loaded.superpixels == (4, 6)
    assert loaded.splits["train"].count == 5
    assert [shard.samples for shard in loaded.splits["train"].shards] == [2, 2, 1]


def test_same_data_may_be_built_again_other_data_may_not(tmp_path: Path) -> None:
    out = tmp_path / "d"
    out.mkdir()
    build(make_source(3), out)
    before = sorted((path.name, path.stat().st_mtime_ns) for path in out.iterdir())
    build(make_source(3), out)
    assert sorted((path.name, path.stat().st_mtime_ns) for path in out.iterdir()) == before
    with pytest.raises(InputError, match="holds other data"):
        build(make_source(4), out)
    assert sorted((path.name, path.stat().st_mtime_ns) for path in out.iterdir()) == before
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"image_bytes": b"\xff\xd8\xff no image"}, "photo.jpg: the image does not decode"),
        ({"mask": np.zeros((24, 31), dtype=np.uint8)}, "mask is uint8 24x31"),
        ({"mask": np.full((24, 32), 3, dtype=np.uint8)}, r"class 3, the list has 0\.\.2"),
        ({"labels": (1, 3)}, "label 3 is outside"),
        ({"labels": (0,)}, "label 0 is outside"),
        ({"key": "a.b"}, "key 'a.b' needs"),
        ({"key": "train_0"}, "key train_0 twice"),
        ({"size": (24, 33)}, "image is 24 x 32"),
    ],
)
def test_wrong_sample_leaves_nothing(tmp_path: Path, change: dict[str, object], line: str) -> None:
    with pytest.raises(InputError, match=line) as caught:
        build(broken({"where": "photo.jpg"} | change), tmp_path / "d")
    assert str(caught.value).startswith("photo.jpg: ")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_key_in_two_shards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^photo\.jpg: key train_0 twice in 'train'$"):
        build(broken({"key": "train_0", "where": "photo.jpg"}), tmp_path / "d", shard_samples=1)
    assert not (tmp_path / "d").exists()


def test_wrong_options_are_one_line(tmp_path: Path) -> None:
    def refused(match: str, **options: object) -> None:
        with pytest.raises(InputError, match=match):
            build(make_source(3), tmp_path / "d", **options)  # type: ignore[arg-type]
        assert list(tmp_path.iterdir()) == []

    refused("shard_samples is 0", shard_samples=0)
    refused("workers 0", workers=0)
    refused("S_N = 1;", superpixels=[1])
    refused("compactness = 0", superpixels=[20], compactness=0.0)
    refused("scaling = 'modem'; did you mean 'modern'", superpixels=[20], scaling="modem")
    refused("1 is right for loaders that cannot be pickled", shard_samples=1, workers=2)


def test_interrupted_build_leaves_nothing(tmp_path: Path) -> None:
    def stop(split: str, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    # Loaders without a stamp: nobody could tell whether finished shards are still right.
    for shard_samples in (3, 1):
        with pytest.raises(KeyboardInterrupt):
            build(make_source(3), tmp_path / "d", shard_samples=shard_samples, on_progress=stop)
        assert list(tmp_path.iterdir()) == []


def test_out_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        build(make_source(1), tmp_path / "file" / "d")
    with pytest.raises(InputError, match="is a file"):
        build(make_source(1), tmp_path / "file")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="not empty"):
        build(make_source(1), tmp_path / "other")
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["thesis.tex"]


def test_sample_without_mask(tmp_path: Path) -> None:
    build(replace(broken({"mask": None})), tmp_path / "d")
    reader = open_split(tmp_path / "d", "train")
    assert reader[1].mask is None
    assert reader[0].mask is not None


def edit(root: Path, **changes: object) -> None:
    path = root / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_wrong_manifests(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no manifest\.json"):
        load_manifest(tmp_path)
    with pytest.raises(InputError, match=r"no manifest\.json"):
        load_manifest(tmp_path / "absent")
    root = tmp_path / "d"
    build(make_source(2), root)
    text = (root / "manifest.json").read_text()
    edit(root, name="renamed")
    with pytest.raises(InputError, match="digest does not match"):
        load_manifest(root)
    edit(root, format=3)
    with pytest.raises(InputError, match=r"format is 3, .* up to 2; update camsweep"):
        load_manifest(root)
    edit(root, format=1, extra=1)
    with pytest.raises(InputError, match="extra"):
        load_manifest(root)
    (root / "manifest.json").write_text(text[:100])
    with pytest.raises(InputError, match="not JSON"):
        load_manifest(root)


def test_manifest_cannot_point_outside(tmp_path: Path) -> None:
    build(make_source(2), tmp_path / "d")
    text = (tmp_path / "d" / "manifest.json").read_text()
    (tmp_path / "d" / "manifest.json").write_text(text.replace("train-0", "../train-0"))
    with pytest.raises(InputError, match="file"):
        load_manifest(tmp_path / "d")


def test_colour_map_is_the_development_kits() -> None:
    colours = colour_map(256)
    assert colours[:4] == ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))
    assert colours[20] == (0, 64, 128)
    assert colours[255] == (224, 224, 192)
    assert len(set(colours)) == 256
    with pytest.raises(InputError):
        colour_map(257)


@pytest.mark.parametrize("key", ["", "a.b", "a/b", "a b", "\u00e4", "a\n"])
def test_a_key_that_a_tar_would_cut_is_refused_in_one_line(key: str) -> None:
    with pytest.raises(InputError, match=r"^list\.txt: key .* needs letters, digits") as caught:
        check_key(key, "list.txt")
    assert "\n" not in str(caught.value)
    check_key("a_B-9", "list.txt")
