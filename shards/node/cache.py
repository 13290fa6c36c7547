"""Decoded samples kept once a node: one memory-mapped file that all trials of the node share."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import mmap
import os
import weakref
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from camsweep.shards.node.space import crc_path, make_room
from camsweep.shards.places.cache import cache_folder

ALIGNMENT = 64  # bytes; entries may be viewed as wider integers

log = logging.getLogger(__name__)
_told: set[str] = set()  # one line a cache and process


class NodeCache:
    """Byte blobs of known sizes by index, shared by all processes of a node.

    ``cache_folder()/decoded/`` holds two files a cache: ``NAME-LAYOUT.data``, sparse, filled in
    any order, and ``NAME-LAYOUT.crc`` with one uint32 an entry, 0 = absent. Content is written
    before its crc, and checked against it when a process first reads it, so that what a killed
    process, a crash or a failing disk left is made anew. Two processes that write one entry write
    the same bytes, so nobody waits.

    A cache that does not fit its bound (``$CAMSWEEP_DECODED_GB`` for all of the folder, and 90 %
    of the disk's free space) holds nothing at all; the log says so once a process.

    Opened on first use; picklable, safe in threads and after a fork.
    """

    def __init__(self, name: str, sizes: NDArray[np.int64]) -> None:
        """A cache that is opened on first use.

        Args:
            name: stem of its files; it must name what decides the content (a digest, a split).
            sizes: bytes of every entry, int64 [N].
        """
        self.name = name
        self.sizes = np.asarray(sizes, dtype=np.int64)
        self._files: _Files | None = None
        self._usable = True

    def __getstate__(self) -> dict[str, Any]:
        return {"name": self.name, "sizes": self.sizes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["name"], state["sizes"])  # type: ignore[misc]

    def __len__(self) -> int:
        return len(self.sizes)

    def ready(self) -> bool:
        """Open it; whether it can hold anything.

        Asked before worker processes are forked, it spares each of them the opening.
        """
        return self._open() is not None

    def get(self, index: int) -> NDArray[np.uint8] | None:
        """Entry ``index``: uint8 [sizes[index]], a read-only view of the map; None = absent."""
        files = self._open()
        return None if files is None else files.get(index)

    def put(self, index: int, content: NDArray[np.uint8]) -> None:
        """Keep entry ``index``. A disk that is full or read-only keeps nothing, and no error.

        Args:
            index: 0..N-1.
            content: ``sizes[index]`` bytes in an array of any shape.

        Raises:
            ValueError: ``content`` has another size.
        """
        if content.nbytes != self.sizes[index]:
            raise ValueError(
                f"{self.name}: entry {index} has {content.nbytes} bytes, not {self.sizes[index]}"
            )
        files = self._open()
        if files is None:
            return
        try:
            files.put(index, np.ascontiguousarray(content).reshape(-1).view(np.uint8))
        except OSError as error:
            # Entries that are there can still be read; no further ones are written.
            if files.writable:
                _tell(self.name, error.strerror or str(error))
            files.writable = False

    def _open(self) -> _Files | None:
        # Two threads may both get here on first use: both open the same files, one pair is dropped.
        if self._files is None and self._usable:
            try:
                self._files = _open_files(self.name, self.sizes)
            except (OSError, NotImplementedError) as error:  # the latter: no locks on this disk
                _tell(self.name, str(error))
            self._usable = self._files is not None
        return self._files


class _Files:
    """The two open files; the shared lock on the first one keeps them from being removed."""

    def __init__(self, path: Path, sizes: NDArray[np.int64], offsets: NDArray[np.int64]) -> None:
        self.sizes, self.offsets = sizes, offsets[:-1]
        self.data = _create(path, int(offsets[-1]), sparse=True)
        weakref.finalize(self, os.close, self.data)
        fcntl.flock(self.data, fcntl.LOCK_SH)
        self.crc = _create(crc_path(path), 4 * len(sizes), sparse=False)
        weakref.finalize(self, os.close, self.crc)
        os.utime(self.data)  # the time of its last use
        self.map = mmap.mmap(self.data, int(offsets[-1]), access=mmap.ACCESS_READ)
        crc_map = mmap.mmap(self.crc, 4 * len(sizes), access=mmap.ACCESS_READ)
        self.crcs = np.frombuffer(crc_map, dtype=np.uint32)
        self.checked = np.zeros(len(sizes), dtype=np.bool_)
        self.writable = True

    def get(self, index: int) -> NDArray[np.uint8] | None:
        # The crc is asked first: an entry that was never written is a hole, never touched.
        stored = int(self.crcs[index])
        if not stored:
            return None
        offset, size = int(self.offsets[index]), int(self.sizes[index])
        content = np.frombuffer(self.map, dtype=np.uint8, count=size, offset=offset)
        if not self.checked[index]:
            if _crc(content) != stored:
                return None
            self.checked[index] = True
        return content

    def put(self, index: int, content: NDArray[np.uint8]) -> None:
        # Written through the file and never through the map: a full disk is an error here, and
        # would be a SIGBUS there.
        if not self.writable:
            return
        _write(self.data, content.data, int(self.offsets[index]))
        _write(self.crc, np.array([_crc(content)], np.uint32).view(np.uint8).data, 4 * index)
        self.checked[index] = True


def _open_files(name: str, sizes: NDArray[np.int64]) -> _Files | None:
    """The files of a cache, made where they are absent; None where they do not fit."""
    aligned = -(-sizes // ALIGNMENT) * ALIGNMENT
    offsets = np.concatenate([[0], np.cumsum(aligned)]).astype(np.int64)
    total = int(offsets[-1])
    if total == 0:
        return None
    # The layout is part of the name, so that no file is read with the offsets of another.
    layout = hashlib.sha256(sizes.tobytes()).hexdigest()[:12]
    folder = cache_folder() / "decoded"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{layout}.data"
    with FileLock(folder / ".lock"):
        problem = make_room(path, total)
        if problem is None:
            return _Files(path, sizes, offsets)
    _tell(name, problem)
    return None


def _create(path: Path, size: int, *, sparse: bool) -> int:
    """A descriptor of a file of ``size`` bytes, zeros where it was not there before."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        held = os.fstat(descriptor).st_size
        if sparse and held != size:
            os.ftruncate(descriptor, size)
        elif held < size:
            _write(descriptor, memoryview(bytes(size - held)), held)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _write(descriptor: int, content: memoryview, offset: int) -> None:
    while content:
        written = os.pwrite(descriptor, content, offset)
        content, offset = content[written:], offset + written


def _crc(content: NDArray[np.uint8]) -> int:
    """The crc32 of the bytes, 1 where it is 0: 0 means absent."""
    return zlib.crc32(content.data) or 1


def _tell(name: str, problem: str) -> None:
    if name not in _told:
        _told.add(name)
        log.warning(
            "decoded cache %s not kept (%s): its samples are decoded each time", name, problem
        )
