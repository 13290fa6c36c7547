"""Temporary names in a store: files are written under them; what killed processes left is told."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from camsweep.shards.places.files import write_whole
from camsweep.sweeps.leasing.processes import Process, this_process

#: A temporary file this old is nobody's any more, wherever its writer was.
DAY = 86400.0
_NAME = re.compile(r"\.tmp-([0-9a-f]{12})-(\d+)-(\d*)-[0-9a-f]{32}")
#: As `camsweep.shards.places.files` and older versions of the store name theirs.
_OTHERS = re.compile(r"\..+\.[0-9a-f]{32}\.tmp|\.probe-[0-9a-f]{32}")


def temporary_name() -> str:
    """A new name for a temporary file or folder, hidden, that tells whose it is."""
    me = this_process()
    return f".tmp-{_machine(me)}-{me.pid}-{me.start}-{uuid.uuid4().hex}"


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, its folder made where it is missing.

    Raises:
        OSError: no room or no permission; its `filename` is the file.
    """
    write_whole(path, data, temporary_name())


def remove_leftovers(folder: Path) -> int:
    """Delete temporary files and folders of processes that were killed, at any depth of a folder.

    Of this machine: those whose process has gone. Of others: those older than a day.

    Returns:
        How many there were.
    """
    removed = 0
    for root, folders, files in os.walk(folder):
        for name in [name for name in (*folders, *files) if name[0] == "."]:
            path = Path(root, name)
            if is_left(name, lambda path=path: path.lstat().st_mtime):  # type: ignore[misc]
                with suppress(OSError):
                    shutil.rmtree(path) if name in folders else path.unlink()
                    removed += 1
        folders[:] = [name for name in folders if not _NAME.fullmatch(name)]
    return removed


def is_left(name: str, written: Callable[[], float]) -> bool:
    """Whether something with a temporary name is nobody's any more.

    Args:
        name: without its folder.
        written: when it was last written, in seconds; asked only where the name does not tell.
    """
    match = _NAME.fullmatch(name)
    here = this_process()
    if match is not None and match[1] == _machine(here):
        if Process(here.host, here.boot, int(match[2]), match[3]).is_gone():
            return True
    elif match is None and not _OTHERS.fullmatch(name):
        return False
    with suppress(OSError):
        return time.time() - written() > DAY
    return False


@lru_cache(maxsize=2)
def _machine(process: Process) -> str:
    return hashlib.sha256(f"{process.host} {process.boot}".encode()).hexdigest()[:12]
