from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camsweep.shards.colours import colour_map
from camsweep.shards.errors import InputError
from camsweep.shards.manifest import load_manifest, write_manifest
from camsweep.shards.verify import check_digests, verify
from camsweep.shards.writer import Source, SourceSample, build, file_sha256


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


def flip(path: Path, name: bytes, offset: int = 600) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(name) + offset] ^= 0x40
    path.write_bytes(content)


def test_clean_data(tmp_path: Path) -> None:
    build(make_source(train=5, val=2), tmp_path / "d", shard_samples=2, superpixels=[5])
    calls: list[tuple[str, int, int]] = []
    report = verify(tmp_path / "d", lambda *args: calls.append(args))
    assert report.problems == []
    assert report.samples == 7
    assert calls[-1] == ("val", 2, 2)
    check_digests(tmp_path / "d", ["train", "val"])


def test_a_flipped_byte_is_reported_and_stops_a_run(tmp_path: Path) -> None:
    root = tmp_path / "d"
    build(make_source(train=5, val=2), root, shard_samples=2)
    check_digests(root, ["train"])
    flip(root / "train-000001.tar", b"train_3.jpg", 900)
    problems = verify(root).problems
    assert any("train-000001.tar: SHA-256 differs" in line for line in problems)
    with pytest.raises(InputError, match=r"train-000001\.tar: SHA-256 differs"):
        check_digests(root, ["train"])
    check_digests(root, ["val"])


def test_digests_are_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(make_source(2), tmp_path / "d")
    check_digests(tmp_path / "d", ["train"])
    monkeypatch.setattr("camsweep.shards.verify.file_sha256", lambda path: "")
    check_digests(tmp_path / "d", ["train"])


def test_missing_shard_and_no_manifest(tmp_path: Path) -> None:
    root = tmp_path / "d"
    build(make_source(train=3, val=2), root, shard_samples=2)
    (root / "train-000001.tar").unlink()
    report = verify(root)
    assert report.samples == 4
    assert any("train-000001.tar: cannot be read" in line for line in report.problems)
    assert any("holds 2 samples, its manifest says 3" in line for line in report.problems)
    (root / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"no manifest\.json"):
        verify(root)


def rewrite(root: Path, member: str, content: bytes | None) -> None:
    """Replace one member of the first shard, and make the manifest agree with the file."""
    shard = root / "train-000000.tar"
    with tarfile.open(shard) as tar:
        members = [(item, tar.extractfile(item).read()) for item in tar]  # type: ignore[union-attr]
    with tarfile.open(shard, "w") as tar:
        for item, old in members:
            new = content if item.name == member else old
            if new is not None:
                item.size = len(new)
                tar.addfile(item, io.BytesIO(new))
    manifest = load_manifest(root)
    entry = (
        manifest.splits["train"]
        .shards[0]
        .model_copy(update={"bytes": shard.stat().st_size, "sha256": file_sha256(shard)})
    )
    split = manifest.splits["train"].model_copy(update={"shards": (entry,)})
    write_manifest(root, manifest.model_copy(update={"splits": {"train": split}}))


def png(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


# SLIC finds one superpixel in noise; here half of the pixels are outside it.
HOLED = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32) % 2


def facts(**changes: object) -> bytes:
    good = {"labels": [1, 2], "size": [24, 32], "source_id": "x", "segments": {"5": 6}}
    return json.dumps(good | changes).encode()


@pytest.mark.parametrize(
    ("member", "content", "line"),
    [
        ("jpg", b"nothing", "the image does not decode"),
        ("jpg", None, r"no \.jpg"),
        ("mask.png", png(np.zeros((4, 4), np.uint8)), r"mask is \(4, 4\), its image \(24, 32\)"),
        ("mask.png", png(np.full((24, 32), 9, np.uint8)), r"class 9, the list has 0\.\.2"),
        (
            "mask.png",
            png(np.ones((24, 32), np.uint8)),
            r"\[1, 2\], but its mask holds \[1\]",
        ),
        ("mask.png", png(np.ones((24, 32, 3), np.uint8)), "not an 8 bit palette PNG"),
        ("json", b"{", "its JSON is damaged"),
        ("json", facts(labels=[1, 3]), r"labels \[1, 3\] outside 1\.\.2"),
        ("json", facts(size=[24, 33]), "its JSON says"),
        ("sp5.png", None, r"no \.sp5\.png"),
        ("sp5.png", png(np.ones((3, 3), np.uint16)), r"superpixels 5 are \(3, 3\)"),
        ("sp5.png", png(np.full((24, 32), 2, np.uint16)), "not labelled 1"),
        ("sp5.png", png(HOLED), "not labelled 1"),
        ("sp5.png", png(np.zeros((24, 32), np.uint8)), "not a 16 bit"),
    ],
)
def test_each_problem_is_found_and_named(
    tmp_path: Path, member: str, content: bytes | None, line: str
) -> None:
    root = tmp_path / "d"
    build(make_source(3), root, superpixels=[5])
    rewrite(root, f"train_1.{member}", content)
    report = verify(root)
    assert report.samples == 3
    assert report.problems
    assert all("train-000000.tar, sample train_1: " in problem for problem in report.problems)
    with pytest.raises(AssertionError, match=line):
        raise AssertionError(report.problems)


def test_labels_from_elsewhere_may_differ_from_the_mask(tmp_path: Path) -> None:
    source = make_source(2)
    good = source.splits["train"]
    labels = [lambda load=load: replace(load(), labels=(1,)) for load in good]
    build(replace(source, settings={"labels": "xml"}, splits={"train": labels}), tmp_path / "x")
    assert verify(tmp_path / "x").problems == []
    build(replace(source, splits={"train": labels}), tmp_path / "m")
    assert len(verify(tmp_path / "m").problems) == 2
