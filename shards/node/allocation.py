"""Keeping freed memory for the next image instead of handing it back to the system."""

from __future__ import annotations

import ctypes
import os
from functools import lru_cache

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # mallopt's numbers for them, from glibc's malloc.h
TUNED = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_MAX_")
KEPT = 128 * 2**20
LARGEST = 32 * 2**20  # the most that glibc takes for its second threshold


@lru_cache(maxsize=1)
def keep_freed_memory() -> bool:
    """Let this process keep up to 128 MiB of freed memory in each of glibc's arenas.

    An image of 500 x 375 pixels takes three blocks of half a megabyte while it is decoded. By
    default glibc returns such blocks to the system at once, and the page faults of getting them
    again cost up to as much as the decoding (docs/benchmarks/README.md). Does nothing where the C
    library is another one, or where the user has set such thresholds (``MALLOC_TRIM_THRESHOLD_``).

    Returns:
        Whether it was done.
    """
    if any(name in os.environ for name in TUNED):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):  # no such library here, or none with mallopt
        return False
    return bool(mallopt(TRIM_THRESHOLD, KEPT) and mallopt(MMAP_THRESHOLD, LARGEST))
