from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_data import as_format_1, flip, made, make_sample, put_index

from camsweep.shards.errors import InputError
from camsweep.shards.index import decode, encode, scan_shard
from camsweep.shards.manifest import (
    IndexEntry,
    Manifest,
    ShardEntry,
    Split,
    load_manifest,
    manifest_digest,
    write_manifest,
)
from camsweep.shards.reader import open_split


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMSWEEP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return made(tmp_path / "d")


def scan(root: Path) -> list[pa.Table]:
    return [scan_shard(path, n, 3) for n, path in enumerate(sorted(root.glob("train*.tar")))]


def test_an_index_says_where_everything_lies(data: Path) -> None:
    index = decode(encode(scan(data)))
    assert index.keys == [f"train_{n}" for n in range(9)]
    assert index.shards.tolist() == [0] * 4 + [1] * 4 + [2]
    assert index.sizes.tolist() == [[24, 32]] * 9
    for row in range(9):
        wanted = make_sample("train", row)
        assert index.labels(row) == wanted.labels
        member = index.find(row, "jpg")
        assert member is not None
        content = (data / f"train-{index.shards[row]:06d}.tar").read_bytes()
        assert content[member.offset : member.offset + member.length] == wanted.image_bytes
        assert index.find(row, "sp100.png") is None


def test_the_index_that_build_writes_is_the_scanned_one(data: Path) -> None:
    entry = load_manifest(data).indexes["train"]
    content = (data / entry.file).read_bytes()
    assert content == encode(scan(data))
    assert entry.bytes == len(content)
    assert entry.sha256 == hashlib.sha256(content).hexdigest()


def random_table(rng: np.random.Generator, number: int, rows: int, start: int) -> pa.Table:
    columns = {
        "key": pa.array([f"k{start + row}" for row in range(rows)], pa.string()),
        "shard": pa.array([number] * rows, pa.int32()),
        "labels": pa.array([list(range(1, rng.integers(1, 5))) for _ in range(rows)]),
        "height": pa.array(rng.integers(1, 500, rows).tolist(), pa.int32()),
        "width": pa.array(rng.integers(1, 500, rows).tolist(), pa.int32()),
    }
    columns["labels"] = columns["labels"].cast(pa.list_(pa.int16()))
    for name in ("jpg", "json", "mask.png")[: rng.integers(2, 4)]:
        absent = rng.random(rows) < (0.4 if name == "mask.png" else 0)
        for part, kind in (("offset", pa.int64()), ("length", pa.int64()), ("crc32", pa.uint32())):
            values = rng.integers(0, 2**32, rows).tolist()
            filled = [None if no else value for no, value in zip(absent, values, strict=True)]
            columns[f"{name}.{part}"] = pa.array(filled, kind)
    return pa.table(columns)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), rows=st.lists(st.integers(0, 6), min_size=1, max_size=5))
def test_encoding_depends_on_the_rows_alone(seed: int, rows: list[int]) -> None:
    rng = np.random.default_rng(seed)
    tables = [random_table(rng, n, count, 10 * n) for n, count in enumerate(rows)]
    content = encode(tables)
    whole = pa.concat_tables(tables, promote_options="default")
    assert encode([whole.combine_chunks()]) == content
    assert encode([whole.slice(0, 3), whole.slice(3)]) == content
    index, columns = decode(content), whole.to_pydict()
    assert index.keys == columns["key"]
    assert [list(index.labels(row)) for row in range(len(index))] == columns["labels"]
    for name in {column.rpartition(".")[0] for column in whole.column_names if "." in column}:
        found = [index.find(row, name) for row in range(len(index))]
        for part in ("offset", "length", "crc32"):
            held = [None if member is None else getattr(member, part) for member in found]
            assert held == columns[f"{name}.{part}"]


def test_a_key_in_two_shards_is_refused(data: Path) -> None:
    tables = scan(data)
    with pytest.raises(InputError, match="sample train_0: key comes twice"):
        encode([*tables, tables[0]])


@pytest.mark.parametrize("content", [b"", b"nothing", b"ARROW1\0\0" + bytes(40)])
def test_what_is_no_index(content: bytes) -> None:
    with pytest.raises(InputError, match=r"^x\.arrow: not an index .*build the data again$"):
        decode(content, "x.arrow")
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, pa.schema({"key": pa.string()})):
        pass
    with pytest.raises(InputError, match="not an index"):
        decode(bytes(sink.getvalue()))


def test_damaged_and_missing_index_files(data: Path) -> None:
    path = data / "train.index.arrow"
    content = path.read_bytes()
    path.write_bytes(content[:50] + bytes([content[50] ^ 1]) + content[51:])
    with pytest.raises(InputError, match=rf"^{path}: SHA-256 differs from the manifest"):
        open_split(data, "train")
    path.unlink()
    with pytest.raises(InputError, match=rf"^{path}: cannot be read"):
        open_split(data, "train")


def test_an_index_of_other_shards_is_refused(data: Path) -> None:
    manifest = load_manifest(data)

    def use(content: bytes) -> None:
        entry = put_index(data, "train", content)
        write_manifest(data, manifest.model_copy(update={"indexes": {"train": entry}}))

    tables = scan(data)
    use(encode([tables[1], tables[0], tables[2]]))
    with pytest.raises(InputError, match="its shards are not those of the manifest"):
        open_split(data, "train")
    use(encode(tables[:2]))
    with pytest.raises(InputError, match="holds 8 samples, its manifest says 9"):
        open_split(data, "train")
    labels = pa.array([[7]] * 4, pa.list_(pa.int16()))
    use(encode([tables[0].set_column(2, "labels", labels), *tables[1:]]))
    with pytest.raises(InputError, match=r"train\.index\.arrow: labels outside 1\.\.2"):
        open_split(data, "train")


def test_format_1_is_read_and_its_index_made_once(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = open_split(data, "train")
    as_format_1(data)
    assert load_manifest(data).format == 1
    assert load_manifest(data).digest == new.manifest.digest
    old = open_split(data, "train")
    assert old.keys == new.keys
    assert np.array_equal(old.labels, new.labels)
    assert old[3].image.tobytes() == new[3].image.tobytes()
    (kept,) = (tmp_path / "cache" / "indexes").glob("*.index")
    scanned = []
    real = scan_shard

    def count(*args: object) -> pa.Table:
        scanned.append(args)
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr("camsweep.shards.opening.scan_shard", count)
    assert open_split(data, "train").keys == new.keys
    assert scanned == []
    kept.write_bytes(kept.read_bytes()[:-1])
    assert open_split(data, "train").keys == new.keys
    assert len(scanned) == 3


def test_format_1_without_a_cache_folder(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_format_1(data)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CAMSWEEP_CACHE", str(tmp_path / "file" / "cache"))
    assert len(open_split(data, "train")) == 9


def test_no_index_is_made_of_damaged_shards(data: Path) -> None:
    """Its CRCs would declare the damage to be right."""
    as_format_1(data)
    flip(data / "train-000001.tar", b"train_6.jpg", 1400)
    with pytest.raises(InputError, match=r"train-000001\.tar: SHA-256 differs"):
        open_split(data, "train")


def manifest_of(**changes: object) -> Manifest:
    shard = ShardEntry(file="train-000000.tar", samples=2, bytes=10240, sha256="a" * 64)
    values: dict[str, object] = {
        "name": "made",
        "source": "by hand",
        "classes": ("background", "cat"),
        "colours": ((0, 0, 0), (128, 0, 0)),
        "splits": {"train": Split(count=2, shards=(shard,))},
        "superpixels": (100,),
        "settings": {"labels": "masks", "scale": 0.5},
    }
    return Manifest.model_validate(values | changes)


def test_the_digest_names_the_samples_for_ever() -> None:
    """Trials are known by the digest of their data: it must never change for the same samples."""
    pinned = "b76e7f0471331aa6d27832a4492ac17d4745431e86dcf0aa26ac65bd54393f74"
    entry = IndexEntry(file="train.index.arrow", bytes=7, sha256="b" * 64)
    assert manifest_digest(manifest_of(format=1)) == pinned
    assert manifest_digest(manifest_of(format=2, indexes={"train": entry})) == pinned
    assert manifest_digest(manifest_of(ignore=254)) != pinned


@pytest.mark.parametrize(
    ("version", "line"),
    [
        (3, "format is 3, this camsweep reads up to 2; update camsweep"),
        (99, "format is 99, this camsweep reads up to 2; update camsweep"),
        (0, "format is 0, this camsweep reads 1 to 2; build the shards again"),
        ("2", "format is '2', this camsweep reads 1 to 2"),
        (None, "format is None, this camsweep reads 1 to 2"),
        (True, "format is True, this camsweep reads 1 to 2"),
    ],
)
def test_formats(data: Path, version: object, line: str) -> None:
    path = data / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": version}))
    with pytest.raises(InputError, match=f"^{path}: {line}"):
        load_manifest(data)


def test_an_index_cannot_lie_outside(data: Path) -> None:
    path = data / "manifest.json"
    path.write_text(path.read_text().replace("train.index.arrow", "../train.index.arrow"))
    with pytest.raises(InputError, match=r"indexes\.train\.file"):
        load_manifest(data)


def large_data(root: Path, samples: int, shards: int) -> None:
    """An index of many samples beside shards that are holes."""
    rng = np.random.default_rng(0)
    each = samples // shards
    tables, entries = [], []
    for number in range(shards):
        columns: dict[str, object] = {
            "key": [f"COCO_train2014_{number * each + row:012d}" for row in range(each)],
            "shard": pa.array(np.full(each, number, np.int32)),
            "labels": pa.array([[1, 2 + row % 79] for row in range(each)], pa.list_(pa.int16())),
            "height": pa.array(np.full(each, 427, np.int32)),
            "width": pa.array(np.full(each, 640, np.int32)),
        }
        for name in ("jpg", "json", "mask.png"):
            columns[f"{name}.offset"] = pa.array(rng.integers(0, 10**8, each))
            columns[f"{name}.length"] = pa.array(rng.integers(0, 10**6, each))
            columns[f"{name}.crc32"] = pa.array(rng.integers(0, 2**32, each, dtype=np.uint32))
        tables.append(pa.table(columns))
        file = f"train-{number:06d}.tar"
        with (root / file).open("wb") as stream:
            stream.truncate(10**8)
        entries.append(ShardEntry(file=file, samples=each, bytes=10**8, sha256="0" * 64))
    write_manifest(
        root,
        Manifest(
            name="large",
            source="made for a test",
            classes=("background", *(f"class{n}" for n in range(80))),
            colours=((0, 0, 0),) * 81,
            splits={"train": Split(count=samples, shards=tuple(entries))},
            indexes={"train": put_index(root, "train", encode(tables))},
        ),
    )


OPENING = """
import json, sys, time
from pathlib import Path
from camsweep.shards.reader import epoch_order, open_split
start = time.process_time()  # other processes may be busy here
reader = open_split(sys.argv[1], "train")
order = epoch_order(len(reader), 0, 3)
seconds = time.process_time() - start
# Not getrusage, which remembers the process that this one was forked from.
status = Path("/proc/self/status").read_text()
heavy = {"torch", "torchvision", "webdataset", "skimage", "pycocotools", "fsspec", "pandas"}
print(json.dumps({
    "samples": len(order),
    "seconds": seconds,
    "megabytes": int(status.partition("VmHWM:")[2].split()[0]) / 1024,
    "heavy": sorted(heavy & set(sys.modules)),
}))
"""


def test_opening_100000_samples_is_quick_and_small() -> None:
    """Goals: 1 s and 300 MB for the whole process; seen: 0.1 s and 160 MB on two cores."""
    with tempfile.TemporaryDirectory() as folder:
        large_data(Path(folder), samples=100_000, shards=200)
        command = [sys.executable, "-c", OPENING, folder]
        result = subprocess.run(command, check=True, capture_output=True, env=dict(os.environ))
    found = json.loads(result.stdout)
    assert found["samples"] == 100_000
    assert found["heavy"] == []
    assert found["megabytes"] < 300
    assert found["seconds"] < 1
