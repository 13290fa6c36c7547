"""Remote files fetched once a node into its cache folder."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path

from camsweep.shards.errors import InputError
from camsweep.shards.places.cache import (
    BYTES_VARIABLE,
    CACHE_DAYS,
    CACHE_GB,
    CACHE_VARIABLE,
    DAYS_VARIABLE,
    PART,
    cache_folder,
    disk_full,
    limit,
    lock_path,
    make_room,
)
from camsweep.shards.places.errors import ChangedFile, LostFile
from camsweep.shards.places.files import locked, sync_folder

# The transfer may be what damages, so a damaged copy is not believed for ever.
DAMAGED_SECONDS = 600.0


@dataclass(frozen=True)
class RemoteFile:
    """A remote file as its manifest describes it, and how to get at it.

    Attributes:
        what: how error lines call the file.
        size: bytes.
        sha256: of its content, hex.
        chunks: yields the content in pieces; may raise OSError.
        stamp: what changes when the file is replaced; one request, and only for damaged files.
    """

    what: str
    size: int
    sha256: str
    chunks: Callable[[], Iterable[bytes]]
    stamp: Callable[[], str]


def fetched(remote: RemoteFile, *, check: bool = False) -> Path:
    """The local copy of a remote file, downloaded at most once a node.

    It lies in ``cache_folder()/shards/SHA256.tar``. Processes that ask for the same file at once
    wait for the one that downloads it; an interrupted download leaves nothing. The file's time is
    set at every use: when the bound (``CAMSWEEP_CACHE_GB``) is reached, the files not used for
    longest go first, and any that was not used for ``CAMSWEEP_CACHE_DAYS``. A path that has gone
    when it is opened was thrown out in between: ask again.

    A download that is not what its SHA-256 says is kept under another name, ending in
    ``.damaged``, so that it is not downloaded again for each of its samples: until the remote
    file is replaced, and for ten minutes at most.

    Args:
        remote: the file.
        check: hash the copy before it is given, and fetch the file again where the copy is not
            what it was (a disk that lost writes keeps the size).

    Raises:
        ChangedFile: the content is not what its SHA-256 says; ``path`` holds what there is.
        LostFile: no room on the disk.
        InputError: larger than the bound, or the cache can't be written.
        OSError: as raised by ``chunks`` and ``stamp``.
    """
    folder = cache_folder() / "shards"
    target = folder / f"{remote.sha256}.tar"
    if not check and _used(target, remote.size):
        return target
    bound = int(limit(BYTES_VARIABLE, CACHE_GB) * 1e9)
    if remote.size > bound:
        raise InputError(
            f"{folder}: {remote.what} has {remote.size:,} bytes, more than the whole cache may "
            f"hold ({bound:,}); set {BYTES_VARIABLE} to {math.ceil(remote.size / 1e8) / 10:g} "
            "or more"
        )
    with _own_disk(folder, remote):
        (folder / ".locks").mkdir(parents=True, exist_ok=True)
    with locked(lock_path(folder, remote.sha256)) as alone:
        if check:
            with _own_disk(folder, remote):
                _drop_if_damaged(target, remote.sha256)
        if not _used(target, remote.size):
            _refuse_known_damage(target, remote)
            if alone:
                _drop_leftovers(folder, remote.sha256)
            _download(target, remote, bound)
    return target


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


def _drop_if_damaged(target: Path, sha256: str) -> None:
    try:
        with target.open("rb") as stream:
            held = hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        return
    if held != sha256:
        target.unlink(missing_ok=True)


def _drop_leftovers(folder: Path, sha256: str) -> None:
    """Delete what crashed or damaged downloads left; `make_room` would find our own lock held."""
    for name in (f".{sha256}.*{PART}", f"{sha256}.*.damaged"):
        for path in folder.glob(name):
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _refuse_known_damage(target: Path, remote: RemoteFile) -> None:
    """ChangedFile with the damaged copy of before, where the remote file is still that one."""
    for path in target.parent.glob(f"{remote.sha256}.*.damaged"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > DAMAGED_SECONDS:
                continue
            if path.name == _damaged_name(remote):
                got, digest = path.stat().st_size, ""
                if got == remote.size:
                    with path.open("rb") as stream:
                        digest = hashlib.file_digest(stream, "sha256").hexdigest()
                raise _changed(remote, got, digest, path)


def _damaged_name(remote: RemoteFile) -> str:
    return f"{remote.sha256}.{hashlib.sha256(remote.stamp().encode()).hexdigest()[:16]}.damaged"


def _changed(remote: RemoteFile, got: int, digest: str, path: Path) -> ChangedFile:
    told = f"SHA-256 {digest[:12]}..., its manifest says {remote.sha256[:12]}..."
    if got != remote.size:
        more = "at least " if got > remote.size else ""
        told = f"{more}{got:,} bytes, its manifest says {remote.size:,}"
    return ChangedFile(
        f"{remote.what}: {told}; damaged or replaced: build or copy the data again", path
    )


def _download(target: Path, remote: RemoteFile, bound: int) -> None:
    folder = target.parent
    part = target.with_name(f".{remote.sha256}.{uuid.uuid4().hex}{PART}")
    try:
        with _own_disk(folder, remote), locked(folder / ".locks" / "room.lock"):
            _room(folder, remote, bound)
            with part.open("wb") as stream:
                stream.truncate(remote.size)  # counts in full when another one makes room
        got, digest = _fill(part, remote, bound)
        if got != remote.size or digest != remote.sha256:
            kept = target.with_name(_damaged_name(remote))
            with _own_disk(folder, remote):
                part.replace(kept)
            raise _changed(remote, got, digest, kept)
        with _own_disk(folder, remote):
            part.replace(target)
            sync_folder(folder)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _fill(part: Path, remote: RemoteFile, bound: int) -> tuple[int, str]:
    """Write the content into ``part``; its bytes and SHA-256.

    Of a file that is too long, as much as twice the size that it should have: a server may send
    without end.
    """
    folder, digest, got, longest = part.parent, hashlib.sha256(), 0, remote.size
    # Without a buffer: closing one would raise its own error after that of a failed write.
    with part.open("r+b", buffering=0) as stream:
        for piece in remote.chunks():
            got += len(piece)
            if got > longest and longest == remote.size and 2 * remote.size <= bound:
                longest = 2 * remote.size
                with _own_disk(folder, remote), locked(folder / ".locks" / "room.lock"):
                    _room(folder, remote, bound)
            digest.update(piece)
            with _own_disk(folder, remote):
                _write(stream, piece[: len(piece) - max(0, got - longest)])
            if got > longest:
                break
        with _own_disk(folder, remote):
            stream.truncate(min(got, longest))
            # A disk may store the name before the content, and lose the content with its power.
            os.fsync(stream.fileno())
    return got, digest.hexdigest()


def _room(folder: Path, remote: RemoteFile, bound: int) -> None:
    make_room(folder, bound, limit(DAYS_VARIABLE, CACHE_DAYS), remote.size)
    if shutil.disk_usage(folder).free < remote.size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def _write(stream: RawIOBase, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[stream.write(left) or 0 :]


@contextmanager
def _own_disk(folder: Path, remote: RemoteFile) -> Iterator[None]:
    """Turns an error of the cache's disk, not the network's, into the line that helps."""
    needs = f"{remote.what} needs {remote.size:,} bytes"
    try:
        yield
    except OSError as error:
        if disk_full(error):
            raise LostFile(
                f"{folder}: full, {needs}; set {CACHE_VARIABLE} to a folder "
                f"with room, or {BYTES_VARIABLE} to less than the disk has"
            ) from None
        raise InputError(
            f"{folder}: cannot be written ({error.strerror or error}), {needs}; "
            f"set {CACHE_VARIABLE} to a writable folder"
        ) from None
