"""Digests that a node remembers: hashed once, whoever asks at the same time."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from camsweep.shards import digests
from camsweep.shards.digests import SETTLED, remembered_sha256


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """The files that were hashed."""
    monkeypatch.setenv("CAMSWEEP_CACHE", str(tmp_path / "cache"))
    done, real = [], digests.file_sha256

    def slow(path: Path) -> str:
        done.append(path)
        time.sleep(0.3)
        return real(path)

    monkeypatch.setattr(digests, "file_sha256", slow)
    return done


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "data" / name for name in "ab"]
    paths[0].parent.mkdir()
    for path in paths:
        path.write_bytes(path.name.encode())
    time.sleep(2 * SETTLED)
    return paths


WANTED = [hashlib.sha256(name).hexdigest() for name in (b"a", b"b")]


def test_who_asks_at_the_same_time_waits_for_the_one_who_hashes(
    files: list[Path], hashed: list[Path]
) -> None:
    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(remembered_sha256, [files] * 3)) == [WANTED] * 3
    assert sorted(hashed) == files


def test_a_disk_without_locks_is_no_error(
    files: list[Path], hashed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    assert remembered_sha256(files) == WANTED
    assert remembered_sha256(files) == WANTED
    assert sorted(hashed) == files
