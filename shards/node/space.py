"""Which decoded caches of a node may stay: a bound, an age, and the disk's free space."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from pathlib import Path

from camsweep.shards.places.cache import CACHE_DAYS, DAYS_VARIABLE, limit

BUDGET_VARIABLE, BUDGET_GB = "CAMSWEEP_DECODED_GB", 16.0
GB = 10**9
DAY = 86400
SPARE = 0.9  # share of the disk's free space that the caches may take


def make_room(own: Path, total: int) -> str | None:
    """Remove caches that nobody uses, oldest first, until one more fits.

    Called under the folder's lock, as every opening is: what is not in use then stays so. Where
    the cache would not fit even so, only those beyond their age are removed.

    Args:
        own: the cache's file of data, which may be there already.
        total: its size in bytes.

    Returns:
        What stands against it, for the log; None where it fits.
    """
    folder = own.parent
    budget = limit(BUDGET_VARIABLE, BUDGET_GB) * GB
    oldest = time.time() - limit(DAYS_VARIABLE, CACHE_DAYS) * DAY
    kept = {path: path.stat() for path in folder.glob("*.data") if path != own and _ours(path)}
    idle = sorted((path for path in kept if not _in_use(path)), key=lambda p: kept[p].st_mtime)
    removed = [path for path in idle if kept[path].st_mtime < oldest]
    needed = total - (_allocated(own.stat()) if own.exists() else 0)
    free = shutil.disk_usage(folder).free

    def missing() -> tuple[float, float]:
        """Bytes that the bound and the disk lack with ``removed`` gone."""
        staying = [stat for path, stat in kept.items() if path not in removed]
        promised = sum(max(0, stat.st_size - _allocated(stat)) for stat in staying)
        freed = sum(_allocated(kept[path]) for path in removed)
        of_bound = total + sum(stat.st_size for stat in staying) - budget
        of_disk = needed + promised - SPARE * (free + freed) if needed > 0 else 0.0
        return of_bound, of_disk

    expired = len(removed)
    while max(missing()) > 0 and len(removed) < len(idle):
        removed.append(idle[len(removed)])
    of_bound, of_disk = missing()
    fits = of_bound <= 0 and of_disk <= 0
    for path in removed if fits else removed[:expired]:
        _remove(path)
    if fits:
        return None
    if of_bound > 0:
        left = max(0.0, total - of_bound) / GB
        return (
            f"{total / GB:.3g} GB do not fit {BUDGET_VARIABLE}={budget / GB:g}, "
            f"of which {left:.3g} GB are not in use"
        )
    return f"the disk of {folder} has {of_disk / GB:.3g} GB too little to spare"


def crc_path(data: Path) -> Path:
    """The file of checksums that stands beside a file of data."""
    return data.with_suffix(".crc")


def _ours(path: Path) -> bool:
    return re.fullmatch(r".+-[0-9a-f]{12}\.data", path.name) is not None


def _in_use(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # another user's: not ours to remove
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _remove(path: Path) -> None:
    # Data that outlives its crc file is empty; a crc file that outlives its data would not be.
    crc_path(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _allocated(stat: os.stat_result) -> int:
    return stat.st_blocks * 512
