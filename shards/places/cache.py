"""The cache folder of a node: where it is, how large it may grow, and files fetched once."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import RawIOBase
from pathlib import Path

from filelock import FileLock, Timeout

from camsweep.shards.errors import InputError

CACHE_VARIABLE = "CAMSWEEP_CACHE"
BYTES_VARIABLE = "CAMSWEEP_CACHE_GB"
DAYS_VARIABLE = "CAMSWEEP_CACHE_DAYS"
CACHE_GB = 100.0
CACHE_DAYS = 30.0
FULL = (errno.ENOSPC, errno.EDQUOT)

# Nothing else is ever deleted: a user may point CAMSWEEP_CACHE at a folder that holds other files.
_SHARD = re.compile(r"([0-9a-f]{64})\.tar")
_PART = re.compile(r"\.([0-9a-f]{64})\.[0-9a-f]{32}\.part")


def cache_folder() -> Path:
    """`$CAMSWEEP_CACHE`, by default `~/.cache/camsweep`."""
    return Path(os.environ.get(CACHE_VARIABLE) or "~/.cache/camsweep").expanduser()


def limit(variable: str, default: float) -> float:
    """A bound that the environment may set: a number, 0 or more.

    Raises:
        InputError: the variable holds something else.
    """
    text = os.environ.get(variable, "").strip()
    if not text:
        return default
    with suppress(ValueError):
        value = float(text)
        if value >= 0 and math.isfinite(value):
            return value
    raise InputError(f"{variable}={text}: must be a number, 0 or more; the default is {default:g}")


def fetched(what: str, size: int, sha256: str, chunks: Callable[[], Iterable[bytes]]) -> Path:
    """The local copy of a remote file, downloaded at most once a node.

    It lies in ``cache_folder()/shards/SHA256.tar``. Processes that ask for the same file at once
    wait for the one that downloads it; an interrupted download leaves nothing. The file's time is
    set at every use: when the bound (``CAMSWEEP_CACHE_GB``) is reached, the files not used for
    longest go first, and any that was not used for ``CAMSWEEP_CACHE_DAYS``. A path that has gone
    when it is opened was thrown out in between: ask again.

    Args:
        what: how error lines call the file.
        size: bytes.
        sha256: of its content, hex.
        chunks: yields the content in pieces; may raise OSError.

    Raises:
        InputError: larger than the bound, no room on the disk, the cache can't be written, or the
            content is not what its SHA-256 says.
        OSError: as raised by ``chunks``.
    """
    folder = cache_folder() / "shards"
    target = folder / f"{sha256}.tar"
    if _used(target, size):
        return target
    bound = int(limit(BYTES_VARIABLE, CACHE_GB) * 1e9)
    if size > bound:
        raise InputError(
            f"{folder}: {what} has {size:,} bytes, more than the whole cache may hold "
            f"({bound:,}); set {BYTES_VARIABLE} to {math.ceil(size / 1e8) / 10:g} or more"
        )
    with _own_disk(folder, what, size):
        (folder / ".locks").mkdir(parents=True, exist_ok=True)
        lock = _lock(folder, sha256)
        lock.acquire()
    try:
        if not _used(target, size):
            _download(what, target, size, sha256, bound, chunks)
    finally:
        lock.release()
    return target


def make_room(folder: Path, keep_bytes: int, max_age_days: float, incoming: int) -> int:
    """Delete fetched files until ``incoming`` more bytes fit; the least recently used go first.

    Files older than ``max_age_days`` go in any case, and what crashed downloads left. Files whose
    lock another process holds stay. Another process may delete at the same time.

    Args:
        folder: with the fetched files; others in it are neither counted nor touched.
        keep_bytes: what all files may have together, with ``incoming``.
        max_age_days: since the last use.
        incoming: bytes to come; the disk must have them free, too.

    Returns:
        Bytes that the folder's files hold now.
    """
    files = []
    for path in folder.iterdir():
        match = _SHARD.fullmatch(path.name) or _PART.fullmatch(path.name)
        with suppress(OSError):
            if match is not None:
                facts = path.stat()
                files.append((facts.st_mtime, path, facts.st_size, match.group(1)))
    held = sum(size for _, _, size, _ in files)
    free = shutil.disk_usage(folder).free
    oldest = time.time() - max_age_days * 86400
    for used, path, size, sha256 in sorted(files):
        crowded = held + incoming > keep_bytes or free < incoming
        if not (crowded or used < oldest or path.suffix == ".part"):
            continue
        if _delete(folder, path, sha256):
            held -= size
            free += size
    return held


def disk_full(error: OSError) -> bool:
    """Whether an error says that the disk, or the user's share of it, is full."""
    return error.errno in FULL


def _lock(folder: Path, sha256: str, timeout: float = -1) -> FileLock:
    return FileLock(folder / ".locks" / f"{sha256}.lock", timeout=timeout)


def _used(path: Path, size: int) -> bool:
    """Whether the whole file is there; if so, it counts as used now."""
    try:
        there = path.stat().st_size == size
    except OSError:
        return False
    if there:
        with suppress(OSError):  # somebody else's file: it can be read, its time can't be set
            os.utime(path)
    return there


def _delete(folder: Path, path: Path, sha256: str) -> bool:
    try:
        with _lock(folder, sha256, timeout=0):
            path.unlink(missing_ok=True)
            # Whoever waits for this very lock downloads under its deleted file, perhaps at the
            # same time as another: both write the same content under names of their own.
            (folder / ".locks" / f"{sha256}.lock").unlink(missing_ok=True)
    except (Timeout, OSError):
        return False
    return True


def _download(
    what: str,
    target: Path,
    size: int,
    sha256: str,
    bound: int,
    chunks: Callable[[], Iterable[bytes]],
) -> None:
    folder = target.parent
    part = target.with_name(f".{sha256}.{uuid.uuid4().hex}.part")
    digest = hashlib.sha256()
    got = 0
    try:
        with _own_disk(folder, what, size), FileLock(folder / ".locks" / "room.lock"):
            make_room(folder, bound, limit(DAYS_VARIABLE, CACHE_DAYS), size)
            if shutil.disk_usage(folder).free < size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
            with part.open("wb") as stream:
                stream.truncate(size)  # counts in full when another process makes room
        # Without a buffer: closing one would raise its own error after that of a failed write.
        with part.open("r+b", buffering=0) as stream:
            for piece in chunks():
                digest.update(piece)
                got += len(piece)
                if got > size:  # a server may send without end
                    break
                with _own_disk(folder, what, size):
                    _write(stream, piece)
        if got != size or digest.hexdigest() != sha256:
            told = f"SHA-256 {digest.hexdigest()[:12]}..., its manifest says {sha256[:12]}..."
            if got != size:
                told = (
                    f"{'at least ' if got > size else ''}{got:,} bytes, its manifest says {size:,}"
                )
            raise InputError(f"{what}: {told}; damaged or replaced: build or copy the data again")
        with _own_disk(folder, what, size):
            part.replace(target)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _write(stream: RawIOBase, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[stream.write(left) or 0 :]


@contextmanager
def _own_disk(folder: Path, what: str, size: int) -> Iterator[None]:
    """Turns an error of the cache's disk, not the network's, into the line that helps."""
    try:
        yield
    except OSError as error:
        if disk_full(error):
            raise InputError(
                f"{folder}: full, {what} needs {size:,} bytes; set {CACHE_VARIABLE} to a folder "
                f"with room, or {BYTES_VARIABLE} to less than the disk has"
            ) from None
        raise InputError(
            f"{folder}: cannot be written ({error.strerror or error}), {what} needs {size:,} "
            f"bytes; set {CACHE_VARIABLE} to a writable folder"
        ) from None
