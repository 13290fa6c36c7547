"""Side sets as files: found, read, copied, forgotten, verified."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from superpixel_data import COUNT, check, files, make_source, root

from camsweep.shards.errors import DamagedSample, InputError
from camsweep.shards.places import Place, as_place
from camsweep.shards.places.cache import cache_folder
from camsweep.shards.reader import open_split
from camsweep.shards.superpixels import open_superpixels, precompute, segmenting, sidesets
from camsweep.shards.superpixels.facts import Wanted
from camsweep.shards.tarindex import survey
from camsweep.shards.verify import verify
from camsweep.shards.writing.writer import build

__all__ = ["root"]


def test_side_set_is_a_plain_tar_and_tells_how_it_was_made(root: Path) -> None:
    reader = open_superpixels(root, "train", 12)
    (tar,) = (root / "superpixels").glob("*.tar")
    found = survey(tar, required=("png",))
    assert not found.problem
    assert list(found.samples) == [f"s{index}" for index in range(COUNT)]
    facts = json.loads(tar.with_suffix(".json").read_text())
    assert facts["wanted"]["s_n"] == 12
    assert facts["images"] == COUNT
    assert facts["superpixels"] == reader.segments.sum()
    assert facts["workers"] == 1
    assert 0 < facts["seconds"] < 60
    assert set(facts["versions"]) == {"scikit-image", "numpy", "pillow"}


def test_every_setting_has_a_set_and_a_digest_of_its_own(root: Path) -> None:
    one = open_superpixels(root, "train", 12)
    others = [
        open_superpixels(root, "train", 12, scaling="released"),
        open_superpixels(root, "train", 12, compactness=5),
        open_superpixels(root, "train", 20),
        open_superpixels(root, "val", 12),
    ]
    assert len({reader.digest for reader in [one, *others]}) == 5
    assert len(list((root / "superpixels").glob("*.tar"))) == 5
    assert not np.array_equal(one[0], others[0][0])
    check(others[0], root, 12, "released")
    check(open_superpixels(root, "train", 12), root, 12)


def test_from_the_shards(tmp_path: Path, root: Path) -> None:
    build(make_source(), tmp_path / "s", superpixels=[12, 20], workers=1)
    reader = open_superpixels(tmp_path / "s", "train", 12)
    check(reader, tmp_path / "s", 12)
    assert reader.seconds is None
    assert reader.digest == open_split(tmp_path / "s", "train").manifest.digest
    (line,) = precompute(tmp_path / "s", ["train"], [12])
    assert str(line).startswith("train sp12: already in the shards: 5 images, ")
    assert not (tmp_path / "s" / "superpixels").exists()
    # Stored with the default compactness only.
    open_superpixels(tmp_path / "s", "train", 12, compactness=20.0)
    assert (tmp_path / "s" / "superpixels").exists()


def test_cache_folder_where_the_data_cannot_be_written(root: Path, tmp_path: Path) -> None:
    (root / "superpixels").write_text("a file in the way")
    check(open_superpixels(root, "train", 12), root, 12)
    assert list((tmp_path / "cache" / "superpixels").glob("*.tar"))


def test_nowhere_to_write(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "superpixels").write_text("a file in the way")
    monkeypatch.setenv("CAMSWEEP_CACHE", str(root / "manifest.json"))
    with pytest.raises(InputError, match="set CAMSWEEP_CACHE"):
        open_superpixels(root, "train", 12)


def test_set_that_is_not_whole_or_of_other_data_is_computed_again(root: Path) -> None:
    before = open_superpixels(root, "train", 12)
    (tar,) = (root / "superpixels").glob("*.tar")
    json_file, index = tar.with_suffix(".json"), tar.with_suffix(".arrow")
    good = {path: path.read_bytes() for path in (tar, json_file, index)}
    other = json.loads(good[json_file])
    other["wanted"]["data"] = "of other data"
    flipped = bytearray(good[tar])
    flipped[700] ^= 1
    broken = json.loads(good[json_file]) | {"index_sha256": hashlib.sha256(b"junk").hexdigest()}
    for path, bad in (
        (tar, good[tar][:-1024]),
        (tar, bytes(len(good[tar]))),  # what a power cut may leave
        (tar, flipped),
        (json_file, json.dumps(other).encode()),
        (json_file, b"{}"),
        (index, good[index][:-1]),
    ):
        path.write_bytes(bad)
        again = open_superpixels(root, "train", 12)
        assert again.digest == before.digest
        check(again, root, 12)
        assert tar.read_bytes() == good[tar]
        assert index.read_bytes() == good[index]
    # Other bytes, or other columns, that agree with what the JSON says.
    for junk in (b"junk", good[index][:-100], arrow("abcde"), arrow([1] * 4 + [None]), arrow([1])):
        index.write_bytes(junk)
        broken["index_sha256"] = hashlib.sha256(junk).hexdigest()
        json_file.write_text(json.dumps(broken))
        check(open_superpixels(root, "train", 12), root, 12)
        assert index.read_bytes() == good[index]


def arrow(segments: Sequence[object]) -> bytes:
    """An Arrow file with these and two columns of numbers, which is no side set's."""
    columns = dict.fromkeys(("offset", "length"), [1] * len(segments))
    sink = pa.BufferOutputStream()
    crc32 = pa.array([1] * len(segments), pa.uint32())
    table = pa.table({"segments": list(segments), "crc32": crc32, **columns})
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def test_flipped_byte_is_named_with_file_and_sample(root: Path) -> None:
    reader = open_superpixels(root, "train", 12)
    (tar,) = (root / "superpixels").glob("*.tar")
    content = bytearray(tar.read_bytes())
    content[survey(tar, required=("png",)).samples["s3"].members["png"].offset + 60] ^= 1
    tar.write_bytes(content)
    with pytest.raises(DamagedSample) as caught:
        reader[3]
    assert str(caught.value) == (
        f"{tar}, sample s3 (delete the file to compute it again): "
        "its superpixels have changed (CRC-32)"
    )
    assert reader[2].max() == reader.segments[2]
    tar.unlink()
    with pytest.raises(DamagedSample, match=r"sample s1 .*No such file"):
        pickle.loads(pickle.dumps(reader))[1]
    check(open_superpixels(root, "train", 12), root, 12)


def test_copy_for_other_nodes(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "superpixels").write_text("a file in the way")
    (made,) = precompute(root, ["train"], [12])
    (root / "superpixels").unlink()
    (again,) = precompute(root, ["train"], [12], publish=True)
    assert not again.new
    assert again.digest == made.digest
    assert again.where.startswith(str(root))
    assert not made.where.startswith(str(root))
    assert files(root / "superpixels") == {".tar", ".arrow", ".json"}
    monkeypatch.setenv("CAMSWEEP_CACHE", str(tmp_path / "another"))
    monkeypatch.setattr(segmenting, "segment", None)
    found = open_superpixels(as_place(root), "train", 12)
    assert found.digest == made.digest
    assert not (cache_folder() / "superpixels").exists()


def test_pickled_reader(root: Path) -> None:
    reader = open_superpixels(root, "train", 12)
    copy = pickle.loads(pickle.dumps(reader))
    assert np.array_equal(copy[2], reader[2])
    assert np.array_equal(copy[-1], reader[COUNT - 1])
    with pytest.raises(IndexError):
        copy[COUNT]


def test_sets_in_the_cache_folder_go_when_nobody_has_used_them_for_long(
    root: Path, tmp_path: Path
) -> None:
    (root / "superpixels").write_text("a file in the way")
    folder = tmp_path / "cache" / "superpixels"
    open_superpixels(root, "train", 12)
    open_superpixels(root, "train", 9)
    for facts in folder.glob("*.json"):
        os.utime(facts, (0, 0))
    open_superpixels(root, "train", 9)  # used again, so it stays
    open_superpixels(root, "train", 15)
    held = sorted(facts.name.split("-")[1] for facts in folder.glob("*.json"))
    assert held == ["sp15", "sp9"]
    assert len(list(folder.glob("*.tar"))) == len(list(folder.glob("*.arrow"))) == 2


def test_a_set_that_was_just_used_stays_whatever_the_bound(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "superpixels").write_text("a file in the way")
    monkeypatch.setenv("CAMSWEEP_CACHE_DAYS", "0")
    used = open_superpixels(root, "train", 12)
    open_superpixels(root, "train", 9)
    check(pickle.loads(pickle.dumps(used)), root, 12)  # as a worker process opens it, later
    (facts,) = (cache_folder() / "superpixels").glob("train-sp12-*.json")
    os.utime(facts, (time.time() - 4000,) * 2)
    open_superpixels(root, "train", 15)
    assert not facts.exists()


def test_sets_beside_the_data_stay(root: Path) -> None:
    open_superpixels(root, "train", 12)
    (facts,) = (root / "superpixels").glob("*.json")
    os.utime(facts, (0, 0))
    open_superpixels(root, "train", 9)
    open_superpixels(root, "train", 12)
    assert facts.stat().st_mtime == 0


def test_a_file_that_cannot_be_read_now_is_no_damaged_sample(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = open_superpixels(root, "train", 12)

    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(sidesets.os, "open", refuse)
    side = reader._side
    assert side is not None
    with pytest.raises(InputError, match=r"\.tar, sample s3: cannot be read \(Too many") as caught:
        side.read(3)
    assert not isinstance(caught.value, DamagedSample)


def test_an_outage_is_not_taken_for_a_missing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    place = as_place("s3://bucket/d")
    wanted = Wanted(data="0", split="train", s_n=12, compactness=10.0, scaling="modern")
    for error, there in (
        (FileNotFoundError(errno.ENOENT, "not there"), "missing"),
        (PermissionError(errno.EACCES, "access refused"), "missing"),  # may not list
        (OSError(errno.EIO, "no connection"), "unknown"),
    ):

        def read(self: Place, file: str, error: OSError = error) -> bytes:
            raise error

        monkeypatch.setattr(Place, "read", read)
        if there == "missing":
            assert sidesets.load(place, wanted, ["a"]) is None
        else:
            with pytest.raises(InputError, match=r"train-sp12-.*\.json: .*no connection"):
                sidesets.load(place, wanted, ["a"])


def test_verify_looks_at_side_sets(root: Path) -> None:
    open_superpixels(root, "train", 12)
    open_superpixels(root, "train", 9)
    assert verify(root).problems == []
    (tar,) = (root / "superpixels").glob("train-sp12-*.tar")
    content = bytearray(tar.read_bytes())
    content[survey(tar).samples["s3"].members["png"].offset + 20] ^= 1
    tar.write_bytes(content)
    changed, sample = verify(root).problems
    assert changed.startswith(f"{tar}: SHA-256 differs")
    assert sample.startswith(f"{tar}, sample s3 ")
    (facts,) = (root / "superpixels").glob("train-sp9-*.json")
    facts.write_text("{}")
    lines = verify(root).problems
    assert len(lines) == 3
    assert lines[-1].startswith(f"{facts}: is not readable; delete train-sp9-")


def test_verify_leaves_side_sets_of_other_data_alone(root: Path, tmp_path: Path) -> None:
    build(make_source(3), tmp_path / "other")
    open_superpixels(tmp_path / "other", "train", 12)
    shutil.copytree(tmp_path / "other" / "superpixels", root / "superpixels")
    assert verify(root).problems == []
