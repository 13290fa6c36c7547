from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from camsweep.shards.errors import InputError
from camsweep.shards.places import ChangedFile, LostFile, cache
from camsweep.shards.places.cache import cache_folder, limit, make_room
from camsweep.shards.places.fetching import RemoteFile, fetched

SIZE = 1000


def content(number: int) -> bytes:
    return bytes([number]) * SIZE


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def get(
    number: int,
    chunks: Callable[[], Iterable[bytes]] | None = None,
    *,
    stamp: str = "first",
    check: bool = False,
) -> Path:
    data = content(number)
    chunks = chunks or (lambda: [data[:300], data[300:]])
    remote = RemoteFile(f"shard {number}", SIZE, sha256(data), chunks, lambda: stamp)
    return fetched(remote, check=check)


def refused() -> Iterator[bytes]:
    raise AssertionError("was downloaded again")
    yield b""


def age(path: Path, days: float) -> None:
    then = time.time() - days * 86400
    os.utime(path, (then, then))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAMSWEEP_CACHE", str(tmp_path / "cache"))
    for name in ("CAMSWEEP_CACHE_GB", "CAMSWEEP_CACHE_DAYS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache" / "shards"


def held(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".locks")


def test_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.setenv("CAMSWEEP_CACHE", "")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache_folder() == Path("/home/somebody/.cache/camsweep")


def test_bounds_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert limit("CAMSWEEP_CACHE_GB", 100.0) == 100.0
    monkeypatch.setenv("CAMSWEEP_CACHE_GB", "0.5")
    assert limit("CAMSWEEP_CACHE_GB", 100.0) == 0.5
    for wrong in ("much", "-1", "nan", "inf"):
        monkeypatch.setenv("CAMSWEEP_CACHE_GB", wrong)
        with pytest.raises(InputError, match=f"CAMSWEEP_CACHE_GB={wrong}: must be a number"):
            limit("CAMSWEEP_CACHE_GB", 100.0)


def test_a_file_is_downloaded_once(folder: Path) -> None:
    path = get(1)
    assert path == folder / f"{sha256(content(1))}.tar"
    assert path.read_bytes() == content(1)
    age(path, 5)
    assert get(1, refused) == path
    assert path.stat().st_mtime > time.time() - 60  # counts as used now


def test_a_copy_of_another_size_is_not_trusted() -> None:
    get(1).write_bytes(b"cut")
    assert get(1).read_bytes() == content(1)


@pytest.mark.parametrize("wrong", [content(2), content(1)[:-1], content(1) + b"more"])
def test_wrong_content_is_named_and_kept_as_damaged(folder: Path, wrong: bytes) -> None:
    told = r"SHA-256 \w{12}\.\.\." if len(wrong) == SIZE else f"{len(wrong):,} bytes"
    for chunks in (lambda: [wrong], refused):  # the second time nothing is downloaded
        with pytest.raises(ChangedFile, match=rf"shard 1: .*{told}, its manifest says") as caught:
            get(1, chunks)
        assert caught.value.path is not None
        assert caught.value.path.read_bytes() == wrong
        assert held(folder) == [caught.value.path.name]
    assert caught.value.path.name.endswith(".damaged")
    # It was replaced; and nothing of it stays.
    assert get(1, stamp="second").read_bytes() == content(1)
    assert held(folder) == [f"{sha256(content(1))}.tar"]


def test_a_server_that_sends_without_end_is_cut_off(folder: Path) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield content(1)

    with pytest.raises(ChangedFile, match="at least 3,000 bytes"):
        get(1, endless)
    (kept,) = folder.glob("*.damaged")
    assert kept.stat().st_size == 2 * SIZE


def test_a_damaged_copy_is_believed_for_minutes_and_thrown_out_like_others(folder: Path) -> None:
    with pytest.raises(ChangedFile) as caught:
        get(1, lambda: [content(2)])
    assert caught.value.path is not None
    age(caught.value.path, 11 / 1440)
    assert get(1).read_bytes() == content(1)  # it was the transfer
    with pytest.raises(ChangedFile):
        get(3, lambda: [content(2)])
    assert make_room(folder, 0, 0, 0) == 0
    assert held(folder) == []


def test_a_copy_that_the_disk_lost_is_fetched_again(folder: Path) -> None:
    path = get(1)
    path.write_bytes(bytes(SIZE))  # its size survived a power cut, its content did not
    assert get(1, refused) == path
    assert get(1, check=True).read_bytes() == content(1)
    assert get(1, refused, check=True) == path


def test_content_is_on_the_disk_before_its_name_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []
    fsync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def replaced(self: Path, target: Path) -> Path:
        done.append(target.name)
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    name = get(1).name
    assert done[0].endswith(".part")
    assert done[1:] == [name, folder.name]


def test_a_crashed_download_of_the_same_file_makes_room_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAMSWEEP_CACHE_GB", str(1.5 * SIZE / 1e9))
    get(1).unlink()
    part = folder / f".{sha256(content(1))}.{'0' * 32}.part"
    part.write_bytes(content(0))
    get(1)
    assert held(folder) == [f"{sha256(content(1))}.tar"]


def test_a_disk_without_locks_is_no_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    monkeypatch.setenv("CAMSWEEP_CACHE_GB", str(1.5 * SIZE / 1e9))
    part = folder / f".{sha256(content(3))}.{'0' * 32}.part"
    assert get(1).read_bytes() == content(1)
    part.touch()
    assert get(2).read_bytes() == content(2)
    assert held(folder) == sorted([part.name, f"{sha256(content(2))}.tar"])


def test_an_interrupted_download_leaves_nothing(folder: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield content(1)[:500]
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        get(1, broken)
    assert held(folder) == []
    assert get(1).read_bytes() == content(1)


def test_the_least_recently_used_goes_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMSWEEP_CACHE_GB", str(3 * SIZE / 1e9))
    paths = [get(number) for number in (1, 2, 3)]
    for days, path in zip((3, 2, 1), paths, strict=True):
        age(path, days)
    get(1, refused)  # used: now the second is the oldest
    get(4)
    assert not paths[1].exists()
    assert paths[0].exists()
    assert len(held(folder)) == 3


def test_the_bound_holds_over_many_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMSWEEP_CACHE_GB", str(4 * SIZE / 1e9))
    for number in range(20):
        get(number)
        assert sum((folder / name).stat().st_size for name in held(folder)) <= 4 * SIZE


def test_old_files_go_even_if_there_is_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMSWEEP_CACHE_DAYS", "2")
    age(get(1), 3)
    kept = get(2)
    age(kept, 1)
    get(3)
    assert len(held(folder)) == 2
    assert kept.exists()


def test_a_file_larger_than_the_bound_is_refused_with_its_number(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAMSWEEP_CACHE_GB", "1")
    told = r"shard s has 1,230,000,000 bytes, .*\(1,000,000,000\); set CAMSWEEP_CACHE_GB to 1\.3"
    with pytest.raises(InputError, match=told):
        fetched(RemoteFile("shard s", 1_230_000_000, "0" * 64, refused, lambda: ""))
    assert not folder.exists()


def test_only_own_files_are_deleted(folder: Path) -> None:
    get(1)
    others = [folder / "thesis.tar", folder / "notes.txt", folder / f"{'A' * 64}.tar"]
    for other in others:
        other.write_bytes(content(0))
        age(other, 1000)
    assert make_room(folder, 0, 0, 0) == 0
    assert all(other.exists() for other in others)
    assert held(folder) == sorted(other.name for other in others)


def test_a_locked_file_stays(folder: Path) -> None:
    path = get(1)
    with FileLock(folder / ".locks" / f"{path.stem}.lock"):
        assert make_room(folder, 0, 0, 0) == SIZE
    assert path.exists()
    assert make_room(folder, 0, 0, 0) == 0
    assert not path.exists()


def test_files_that_vanish_meanwhile_are_no_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [get(number) for number in (1, 2)]
    listed = list(folder.iterdir())
    paths[0].unlink()
    monkeypatch.setattr(Path, "iterdir", lambda self: iter(listed))
    assert make_room(folder, 0, 0, 0) == 0
    assert not paths[1].exists()


def test_a_full_disk_is_one_line_before_the_download(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old files are thrown away for free space, too; then the disk is full for good."""
    old = get(1)
    full = shutil.disk_usage(folder)._replace(free=SIZE - 1)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: full)
    told = f"{folder}: full, shard 2 needs 1,000 bytes; set CAMSWEEP_CACHE to a folder with room"
    with pytest.raises(LostFile, match=told):
        get(2, refused)
    assert not old.exists()
    assert held(folder) == []


def test_a_disk_that_fills_during_the_download_is_one_line(folder: Path) -> None:
    """A real failing write: from the middle on the process may write 500 bytes into a file."""
    context = multiprocessing.get_context("fork")
    told = context.SimpleQueue()

    def filling() -> Iterator[bytes]:
        yield content(1)[:300]
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
        yield content(1)[300:]

    def child() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            get(1, filling)
        except InputError as error:
            told.put(str(error))

    process = context.Process(target=child)
    process.start()
    process.join(30)
    assert process.exitcode == 0
    assert "(File too large), shard 1 needs 1,000 bytes; set CAMSWEEP_CACHE" in told.get()
    assert held(folder) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_no_room_and_no_quota_are_told_as_full(
    code: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replace(self: Path, target: Path) -> None:
        raise OSError(code, os.strerror(code), str(self))

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(LostFile, match=r"full, shard 1 needs 1,000 bytes"):
        get(1)
    assert held(folder) == []


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CAMSWEEP_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="set CAMSWEEP_CACHE to a writable folder") as caught:
        get(1, refused)
    assert not isinstance(caught.value, LostFile)


def _child(number: int, log: str) -> None:
    def slow() -> Iterator[bytes]:
        with Path(log).open("a") as stream:
            stream.write(f"{number}\n")
        time.sleep(0.3)
        yield content(number)

    assert get(number, slow).read_bytes() == content(number)


def test_processes_that_want_the_same_file_download_it_once(tmp_path: Path, folder: Path) -> None:
    log = str(tmp_path / "log")
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_child, args=(n % 2, log)) for n in range(6)]
    for child in children:
        child.start()
    for child in children:
        child.join(30)
    assert [child.exitcode for child in children] == [0] * 6
    assert sorted(Path(log).read_text().split()) == ["0", "1"]
    assert len(held(folder)) == 2


def _hang(ready: str) -> None:
    def never() -> Iterator[bytes]:
        yield content(1)[:10]
        Path(ready).touch()
        time.sleep(60)

    get(1, never)


def test_a_killed_download_is_cleaned_up_and_its_lock_is_free(tmp_path: Path, folder: Path) -> None:
    ready = tmp_path / "ready"
    child = multiprocessing.get_context("fork").Process(target=_hang, args=(str(ready),))
    child.start()
    deadline = time.monotonic() + 20
    while not ready.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    (part,) = held(folder)
    assert part.endswith(".part")
    get(2)  # the other's download is in use: it stays
    assert part in held(folder)
    child.kill()
    child.join()
    assert get(1).read_bytes() == content(1)
    get(3)
    assert not [name for name in held(folder) if name.endswith(".part")]
