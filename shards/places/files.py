"""Local files written whole or not at all, and locks for those who share them."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock


def write_whole(path: Path, data: bytes, temporary: str | None = None) -> None:
    """Write a local file whole or not at all, its folder made where it is missing.

    Args:
        path: the file.
        data: its content.
        temporary: the name that it has beside `path` while it is written; a new one by default.

    Raises:
        OSError: no room or no permission; its `filename` is the file.
    """
    _whole(path, lambda stream: stream.write(data), temporary)


def copy_whole(source: Path, path: Path) -> None:
    """Copy a local file, whole or not at all, the target's folder made where it is missing.

    Raises:
        OSError: as by ``write_whole``, or ``source`` can't be read.
    """
    with source.open("rb") as content:
        _whole(path, lambda stream: shutil.copyfileobj(content, stream))


def sync_folder(folder: Path) -> None:
    """Make the names in a folder outlive a power cut, where the disk can do that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold a file lock, which waits for its turn; go on without where the disk has no locks.

    For work that is wasteful to do twice at once, but not wrong. Yields whether it is held.
    """
    lock = FileLock(path)
    held = False
    with suppress(OSError, NotImplementedError):  # how filelock says that there is no flock
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        held = True
    try:
        yield held
    finally:
        if held:
            lock.release()


def _whole(path: Path, fill: Callable[[BinaryIO], object], name: str | None = None) -> None:
    temporary = path.with_name(name or f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        try:
            opened = temporary.open("xb")
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            opened = temporary.open("xb")
        with opened as handle:
            fill(handle)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    except OSError as error:
        # A full disk shows while writing or at fsync, where the error carries no name.
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
