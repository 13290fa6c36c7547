"""The decoded cache of a node: what is put comes back, or nothing does."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from camsweep.shards.errors import InputError
from camsweep.shards.node import cache as nodecache
from camsweep.shards.node import space as nodespace
from camsweep.shards.node.cache import NodeCache

SIZES = np.array([1000, 0, 4096, 33, 70_000], dtype=np.int64)


def blob(index: int, sizes: np.ndarray = SIZES) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, int(sizes[index]), dtype=np.uint8)


def fill(cache: NodeCache) -> None:
    for index in range(len(cache)):
        cache.put(index, blob(index, cache.sizes))


def held(cache: NodeCache) -> list[int]:
    """The entries that are there; each must be right."""
    there = []
    for index in range(len(cache)):
        content = cache.get(index)
        if content is not None:
            assert np.array_equal(content, blob(index, cache.sizes))
            there.append(index)
    return there


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAMSWEEP_CACHE", str(tmp_path))
    monkeypatch.setattr(nodecache, "_told", set())
    return tmp_path / "decoded"


def only(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


def test_what_is_put_comes_back_in_this_and_in_later_processes() -> None:
    cache = NodeCache("d-train-images", SIZES)
    assert held(cache) == []
    cache.put(2, blob(2).reshape(64, 64))
    assert held(cache) == [2]
    fill(cache)
    assert held(cache) == held(NodeCache("d-train-images", SIZES)) == [0, 1, 2, 3, 4]
    assert held(pickle.loads(pickle.dumps(cache))) == [0, 1, 2, 3, 4]


def test_views_are_read_only_and_aligned_and_copy_nothing() -> None:
    cache = NodeCache("d", SIZES)
    fill(cache)
    content = cache.get(4)
    assert content is not None
    with pytest.raises(ValueError, match="read-only"):
        content[0] = 1
    assert not content.flags.owndata
    assert np.shares_memory(content, cache.get(4))
    assert all(cache.get(index).ctypes.data % 64 == 0 for index in (0, 2, 3, 4))  # type: ignore[union-attr]


def test_opening_writes_no_data_before_something_is_put(folder: Path) -> None:
    cache = NodeCache("d", np.full(100, 10_000_000))
    assert cache.ready()
    stat = only(folder, "*.data").stat()
    assert stat.st_size >= 10**9
    assert stat.st_blocks * 512 < 10**6


def test_other_sizes_and_other_names_are_other_caches() -> None:
    fill(NodeCache("d-train.v2", SIZES))
    assert held(NodeCache("d-train.v3", SIZES)) == []
    assert held(NodeCache("d-train.v2", SIZES + 1)) == []
    assert held(NodeCache("d-train.v2", SIZES)) == [0, 1, 2, 3, 4]


def test_wrong_size_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="d: entry 3 has 34 bytes, not 33"):
        NodeCache("d", SIZES).put(3, np.zeros(34, np.uint8))


def test_nothing_to_hold() -> None:
    cache = NodeCache("d", np.zeros(0, np.int64))
    assert not cache.ready()
    assert held(cache) == []


def test_content_whose_crc_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodecache.zlib, "crc32", lambda content: 0)
    cache = NodeCache("d", SIZES)
    assert held(cache) == []
    fill(cache)
    assert held(NodeCache("d", SIZES)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("where", ["data", "crc"])
def test_flipped_byte_counts_as_absent_and_is_made_anew(folder: Path, where: str) -> None:
    cache = NodeCache("d", SIZES)
    fill(cache)
    with only(folder, f"*.{where}").open("r+b") as stream:
        stream.seek(999 if where == "data" else 0)
        value = stream.read(1)[0]
        stream.seek(-1, 1)
        stream.write(bytes([value ^ 16]))
    later = NodeCache("d", SIZES)
    assert [index for index in range(5) if later.get(index) is None] == [0]
    later.put(0, blob(0))
    assert held(NodeCache("d", SIZES)) == [0, 1, 2, 3, 4]


def test_data_lost_behind_a_crc_counts_as_absent(folder: Path) -> None:
    cache = NodeCache("d", SIZES)
    fill(cache)
    del cache
    size = only(folder, "*.data").stat().st_size
    os.truncate(only(folder, "*.data"), 2000)
    assert held(NodeCache("d", SIZES)) == [0, 1]
    assert only(folder, "*.data").stat().st_size == size


MANY = np.random.default_rng(9).integers(1, 30_000, 200)


def one_of_many(seed: int) -> int:
    cache = NodeCache("many", MANY)
    wrong = 0
    for index in np.random.default_rng(seed).permutation(len(MANY)):
        content = cache.get(int(index))
        if content is None:
            cache.put(int(index), blob(int(index), MANY))
        else:
            wrong += not np.array_equal(content, blob(int(index), MANY))
    return wrong


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_fill_one_cache(method: str) -> None:
    with multiprocessing.get_context(method).Pool(3) as pool:
        assert pool.map(one_of_many, range(6), chunksize=1) == [0] * 6
    assert held(NodeCache("many", MANY)) == list(range(len(MANY)))


def test_after_a_fork_both_sides_write_and_read() -> None:
    cache = NodeCache("d", SIZES)
    cache.put(0, blob(0))
    child = os.fork()
    if child == 0:
        try:
            cache.put(2, blob(2))
            os._exit(0 if held(cache) == [0, 2] else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert held(cache) == [0, 2]


def test_threads_open_and_fill_one_object() -> None:
    cache = NodeCache("many", MANY)
    found: list[int] = []

    def run(seed: int) -> None:
        for index in np.random.default_rng(seed).permutation(len(MANY)):
            cache.put(int(index), blob(int(index), MANY))
        found.append(len(held(cache)))

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [len(MANY)] * 4


KILLED = """
import sys
import numpy as np
from camsweep.shards.node.cache import NodeCache
cache = NodeCache("k", np.full(50, 300_000))
print("ready", flush=True)
while True:
    for index in range(50):
        cache.put(index, np.random.default_rng(index).integers(0, 256, 300_000, dtype=np.uint8))
"""


def test_a_killed_writer_leaves_only_whole_entries() -> None:
    sizes = np.full(50, 300_000)
    for wait in (0.02, 0.05, 0.09):
        process = subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        there = held(NodeCache("k", sizes))
        assert there == list(range(len(there)))
    assert there


def test_full_disk_keeps_what_is_there(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache = NodeCache("d", SIZES)
    cache.put(0, blob(0))

    def full(*args: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nodecache.os, "pwrite", full)
    for index in range(5):
        cache.put(index, blob(index))
    assert held(cache) == [0]
    assert [record.getMessage() for record in caplog.records] == [
        "decoded cache d not kept (No space left on device): its samples are decoded each time"
    ]


FILE_LIMIT = """
import resource
import numpy as np
from camsweep.shards.node.cache import NodeCache
sizes = np.full(20, 100_000)
cache = NodeCache("d", sizes)
assert cache.ready()
resource.setrlimit(resource.RLIMIT_FSIZE, (1_050_000, 1_050_000))
for index in range(20):
    cache.put(index, np.full(100_000, index + 1, np.uint8))
print([index for index in range(20) if cache.get(index) is not None])
"""


def test_a_write_cut_short_by_the_system_is_no_entry() -> None:
    done = subprocess.run([sys.executable, "-c", FILE_LIMIT], capture_output=True, text=True)
    assert done.stdout == f"{list(range(10))}\n", done.stderr
    assert "File too large" in done.stderr


def test_no_folder_to_write_to(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "decoded").write_text("a file in the way")
    cache = NodeCache("d", SIZES)
    assert not cache.ready()
    fill(cache)
    assert held(cache) == []
    assert len(caplog.records) == 1


def test_what_does_not_fit_is_not_kept_and_said_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CAMSWEEP_DECODED_GB", "0.00007")
    for _ in range(2):
        cache = NodeCache("d", SIZES)
        fill(cache)
        assert held(cache) == []
    assert not list(folder.glob("*.data"))
    (record,) = caplog.records
    assert "7.52e-05 GB do not fit CAMSWEEP_DECODED_GB=7e-05" in record.getMessage()


@pytest.mark.parametrize("text", ["abc", "-1", "nan"])
def test_wrong_bound(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("CAMSWEEP_DECODED_GB", text)
    with pytest.raises(InputError, match=f"CAMSWEEP_DECODED_GB={text}: must be a number"):
        NodeCache("d", SIZES).get(0)


def age(folder: Path, name: str, seconds: float) -> None:
    path = only(folder, f"{name}-*.data")
    then = time.time() - seconds
    os.utime(path, (then, then))


def names(folder: Path) -> set[str]:
    data = {path.stem.split("-")[0] for path in folder.glob("*.data")}
    assert data == {path.stem.split("-")[0] for path in folder.glob("*.crc")}
    return data


def test_the_oldest_that_nobody_uses_makes_room(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = np.full(10, 10_000)  # about 0.1 MB
    monkeypatch.setenv("CAMSWEEP_DECODED_GB", "0.00035")
    used = NodeCache("used", sizes)
    fill(used)
    for name, seconds in (("recent", 10), ("old", 20)):
        fill(NodeCache(name, sizes))
        age(folder, name, seconds)
    age(folder, "used", 30)
    fill(NodeCache("new", sizes))
    assert names(folder) == {"used", "recent", "new"}
    # Nothing is removed for what would not fit even so.
    assert not NodeCache("large", np.full(30, 10_000)).ready()
    assert names(folder) == {"used", "recent", "new"}
    assert NodeCache("middle", np.full(20, 10_000)).ready()
    assert names(folder) == {"used", "middle"}
    assert held(used) == list(range(10))


def test_a_view_keeps_its_cache_in_use(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = np.full(10, 10_000)
    monkeypatch.setenv("CAMSWEEP_DECODED_GB", "0.00015")
    cache = NodeCache("one", sizes)
    fill(cache)
    view = cache.get(3)
    del cache
    assert not NodeCache("two", sizes).ready()
    assert view is not None
    assert np.array_equal(view, blob(3, sizes))
    del view
    assert NodeCache("two", sizes).ready()
    assert names(folder) == {"two"}


def test_removed_after_days_without_use(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMSWEEP_CACHE_DAYS", "2")
    for name, days in (("stale", 3), ("young", 1)):
        fill(NodeCache(name, SIZES))
        age(folder, name, days * 86400)
    for name in ("notes.txt", "theirs.data"):
        (folder / name).write_text("not ours")
        os.utime(folder / name, (0, 0))
    assert held(NodeCache("young", SIZES)) == [0, 1, 2, 3, 4]
    assert (folder / "notes.txt").exists()
    (folder / "theirs.data").unlink()
    assert names(folder) == {"young"}
    age(folder, "young", 1)
    assert time.time() - only(folder, "young*.data").stat().st_mtime < 60


def test_a_cache_in_use_stays_whatever_the_bound(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAMSWEEP_CACHE_DAYS", "0")
    used = NodeCache("used", SIZES)
    fill(used)
    fill(NodeCache("idle", SIZES))
    for name in ("used", "idle"):
        age(folder, name, 10)
    assert NodeCache("new", SIZES).ready()
    assert names(folder) == {"used", "new"}
    assert held(used) == [0, 1, 2, 3, 4]


def test_a_disk_with_little_room(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def free(amount: int) -> None:
        usage = shutil.disk_usage("/")._replace(free=amount)
        monkeypatch.setattr(nodespace.shutil, "disk_usage", lambda path: usage)

    sizes = np.full(10, 100_000)  # about 1 MB
    free(1_050_000)
    assert not NodeCache("d", sizes).ready()
    assert "GB too little to spare" in caplog.records[0].getMessage()
    free(1_150_000)
    cache = NodeCache("d", sizes)
    assert cache.ready()
    # What that one has yet to write is promised to it.
    assert not NodeCache("e", SIZES).ready()
    fill(cache)
    assert NodeCache("f", SIZES).ready()
