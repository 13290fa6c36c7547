"""The cache folder of a node: where it is, and how large its fetched files may grow."""

from __future__ import annotations

import errno
import math
import os
import re
import shutil
import time
from contextlib import suppress
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
PART = ".part"
LOCKLESS = 86400.0  # seconds after which nobody can be downloading into a file any more
_SHARD = re.compile(r"([0-9a-f]{64})(\.tar|\.[0-9a-f]{16}\.damaged)")
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
        if not (crowded or used < oldest or path.suffix == PART):
            continue
        if _delete(folder, path, sha256):
            held -= size
            free += size
    return held


def disk_full(error: OSError) -> bool:
    """Whether an error says that the disk, or the user's share of it, is full."""
    return error.errno in FULL


def lock_path(folder: Path, sha256: str) -> Path:
    """The lock of a fetched file; who downloads, checks or deletes it holds this."""
    return folder / ".locks" / f"{sha256}.lock"


def _delete(folder: Path, path: Path, sha256: str) -> bool:
    # Its lock stays: were it deleted, too, whoever waits for it would hold another than the next.
    try:
        with FileLock(lock_path(folder, sha256), timeout=0):
            path.unlink(missing_ok=True)
    except Timeout:
        return False
    except (OSError, NotImplementedError):  # no locks on this disk: whoever reads it asks again
        try:
            if path.suffix == PART and time.time() - path.stat().st_mtime < LOCKLESS:
                return False
            path.unlink(missing_ok=True)
        except OSError:
            return False
    return True
