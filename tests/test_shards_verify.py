from __future__ import annotations

import io
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_data import (
    as_format_1,
    die,
    edit_members,
    flip,
    make_source,
    put_index,
    seal_again,
)
from PIL import Image

from camsweep.shards.digests import SETTLED
from camsweep.shards.errors import InputError
from camsweep.shards.index import encode, scan_shard
from camsweep.shards.manifest import load_manifest, write_manifest
from camsweep.shards.reader import open_split
from camsweep.shards.verify import check_digests, verify
from camsweep.shards.writing.writer import build


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMSWEEP_CACHE", str(tmp_path / "cache"))


def two_splits(root: Path, **options: object) -> Path:
    source = make_source(splits={"train": 5, "val": 2})
    build(source, root, shard_samples=2, workers=1, **options)  # type: ignore[arg-type]
    return root


@pytest.mark.parametrize("workers", [1, 2])
def test_clean_data(tmp_path: Path, workers: int) -> None:
    root = two_splits(tmp_path / "d", superpixels=[5])
    calls: list[tuple[str, int, int]] = []
    report = verify(root, lambda *args: calls.append(args), workers=workers)
    assert report.problems == []
    assert report.samples == 7
    assert {("train", 5, 5), ("val", 2, 2)} <= set(calls)
    assert check_digests(root, ["train", "val"]) == []


def test_processes_find_what_one_finds(tmp_path: Path) -> None:
    root = two_splits(tmp_path / "d")
    flip(root / "train-000001.tar", b"train_3.jpg", 900)
    (root / "val-000000.tar").unlink()
    alone = verify(root)
    assert verify(root, workers=3) == alone
    assert len(alone.problems) == 4


def test_a_flipped_byte_is_reported_and_stops_a_run(tmp_path: Path) -> None:
    root = two_splits(tmp_path / "d")
    check_digests(root, ["train"])
    flip(root / "train-000001.tar", b"train_3.jpg", 900)
    problems = verify(root).problems
    assert any("train-000001.tar: SHA-256 differs" in line for line in problems)
    assert any("train-000001.tar, sample train_3: " in line for line in problems)
    with pytest.raises(InputError, match=r"000001\.tar: SHA-256 differs.*sample train_3: its"):
        check_digests(root, ["train"])
    (line,) = check_digests(root, ["train", "val"], raise_=False)
    assert line.endswith(
        "(damaged: sample train_3: its .jpg has changed (CRC-32 differs from the index))"
    )
    check_digests(root, ["val"])


def test_a_run_is_told_of_every_shard(tmp_path: Path) -> None:
    root = two_splits(tmp_path / "d")
    (root / "train-000000.tar").unlink()
    shard = root / "train-000001.tar"
    shard.write_bytes(shard.read_bytes()[:600])
    lines = check_digests(root, ["train"], raise_=False)
    assert len(lines) == 2
    assert lines[0].startswith(f"{root}/train-000000.tar: cannot be read")
    assert lines[1].startswith(f"{root}/train-000001.tar: 600 bytes, its manifest says ")
    assert "2 samples damaged, the first is sample train_2: the file ends inside" in lines[1]
    with pytest.raises(InputError, match=r"\(and 1 more shard\)$"):
        check_digests(root, ["train"])


def test_digests_are_hashed_once_for_all_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = two_splits(tmp_path / "d")
    time.sleep(2 * SETTLED)
    check_digests(root, ["train"])
    hashed = []

    def count(path: Path) -> str:
        hashed.append(path.name)
        return ""

    monkeypatch.setattr("camsweep.shards.digests.file_sha256", count)
    check_digests(root, ["train"])
    assert hashed == []
    check_digests(root, ["val"], raise_=False)
    assert hashed == ["val-000000.tar"]


def test_a_change_with_the_old_time_is_seen(tmp_path: Path) -> None:
    root = two_splits(tmp_path / "d")
    time.sleep(2 * SETTLED)
    check_digests(root, ["train"])
    shard = root / "train-000001.tar"
    before = shard.stat()
    flip(shard, b"train_3.jpg", 900)
    os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(InputError, match="SHA-256 differs"):
        check_digests(root, ["train"])


def test_digests_without_a_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = two_splits(tmp_path / "d")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CAMSWEEP_CACHE", str(tmp_path / "file"))
    check_digests(root, ["train"])
    flip(root / "train-000001.tar", b"train_3.jpg", 900)
    with pytest.raises(InputError, match="SHA-256 differs"):
        check_digests(root, ["train"])


def test_missing_shard_and_no_manifest(tmp_path: Path) -> None:
    root = two_splits(tmp_path / "d")
    (root / "train-000001.tar").unlink()
    report = verify(root)
    assert report.samples == 5
    assert any("train-000001.tar: cannot be read" in line for line in report.problems)
    assert any("holds 3 samples, its manifest says 5" in line for line in report.problems)
    (root / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"no manifest\.json"):
        verify(root)


def test_the_index_is_checked_against_the_shards(tmp_path: Path) -> None:
    root = two_splits(tmp_path / "d")
    manifest = load_manifest(root)
    tables = [scan_shard(path, n, 3) for n, path in enumerate(sorted(root.glob("train*.tar")))]
    good = tables[0].to_pydict()

    def problems(**columns: list[object]) -> list[str]:
        import pyarrow as pa

        wrong = pa.table(good | columns, schema=tables[0].schema)
        entry = put_index(root, "train", encode([wrong, *tables[1:]]))
        indexes = manifest.indexes | {"train": entry}
        write_manifest(root, manifest.model_copy(update={"indexes": indexes}))
        return verify(root).problems

    where = f"{root}/train-000000.tar, sample train_"
    assert problems() == []
    (line,) = problems(height=[24, 99])
    assert line == f"{where}1: its index says other labels or another size than its JSON"
    (line,) = problems(labels=[[1], good["labels"][1]])
    assert line.startswith(f"{where}0: its index says other labels")
    (line,) = problems(**{"jpg.offset": [good["jpg.offset"][0], 5]})
    assert line == f"{where}1: its .jpg is not where its index says"
    (line,) = problems(**{"mask.png.crc32": [7, good["mask.png.crc32"][1]]})
    assert line.startswith(f"{where}0: its .mask.png has changed")
    lines = problems(key=["train_0", "other"])
    assert {line.partition(": ")[0] for line in lines} == {
        f"{where}1",
        f"{root}/train-000000.tar, sample other",
    }


def test_a_key_in_two_shards(tmp_path: Path) -> None:
    root = two_splits(tmp_path / "d")
    edit_members(
        root / "train-000001.tar",
        lambda members: [(name.replace("train_2", "train_0"), old) for name, old in members],
    )
    seal_again(root, index=False)
    (line,) = verify(root).problems
    assert line == f"{root}/train-000001.tar, sample train_0: key comes twice in 'train'"
    with pytest.raises(
        InputError, match=f"^{root}: split 'train': sample train_0: key comes twice"
    ):
        open_split(root, "train")
    with pytest.raises(InputError, match="sample train_0: key comes twice in the split"):
        seal_again(root, index=True)


def test_a_damaged_index_is_a_problem_not_an_end(tmp_path: Path) -> None:
    root = two_splits(tmp_path / "d")
    path = root / "train.index.arrow"
    path.write_bytes(path.read_bytes()[:-1])
    report = verify(root)
    assert report.samples == 7
    (line,) = report.problems
    assert line.startswith(f"{path}: SHA-256 differs from the manifest")


def test_data_of_format_1(tmp_path: Path) -> None:
    root = two_splits(tmp_path / "d")
    as_format_1(root)
    assert verify(root).problems == []
    flip(root / "train-000001.tar", b"train_3.jpg", 900)
    with pytest.raises(InputError, match=r"train-000001\.tar: SHA-256 differs"):
        check_digests(root, ["train"])
    assert any("train-000001.tar: SHA-256" in line for line in verify(root).problems)


def rewrite(root: Path, member: str, content: bytes | None) -> None:
    """Replace one member of the first shard, as if the data had been built so, without an index."""
    edit_members(
        root / "train-000000.tar",
        lambda members: [
            (name, content if name == member else old)
            for name, old in members
            if name != member or content is not None
        ],  # type: ignore[misc]
    )
    seal_again(root, index=False)


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
    build(make_source(3), root, superpixels=[5], workers=1)
    rewrite(root, f"train_1.{member}", content)
    report = verify(root)
    assert report.samples == 3
    assert report.problems
    assert all("train-000000.tar, sample train_1: " in problem for problem in report.problems)
    with pytest.raises(AssertionError, match=line):
        raise AssertionError(report.problems)


def test_labels_from_elsewhere_may_differ_from_the_mask(tmp_path: Path) -> None:
    source = make_source(3)
    good = source.splits["train"]
    labels = [lambda load=load: replace(load(), labels=(1,)) for load in good]
    build(replace(source, settings={"labels": "xml"}, splits={"train": labels}), tmp_path / "x")
    assert verify(tmp_path / "x").problems == []
    build(replace(source, splits={"train": labels}), tmp_path / "m")
    assert len(verify(tmp_path / "m").problems) == 3


def test_a_process_that_dies_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = two_splits(tmp_path / "d")
    monkeypatch.setattr("camsweep.shards.verify._work", die)
    with pytest.raises(InputError, match=r"d: a process that checked shards has died"):
        verify(root, workers=2)
