"""A study's journal open for writing; `sweeps.studies` tells where it lies and how it is read.

On a disk it is written in place, by all drivers that share it. Object storage has no appending:
there the journal is a file of the cache folder that is fetched first and sent back now and then.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camsweep.platform.background import every
from camsweep.shards.errors import InputError
from camsweep.shards.places.files import write_whole
from camsweep.sweeps.store import Store
from camsweep.sweeps.studies import cached, journal_name, open_journal

if TYPE_CHECKING:
    from optuna.storages import JournalStorage

#: Seconds between two uploads of a journal to object storage.
UPLOAD_SECONDS = 60.0


@contextmanager
def journal(store: Store, study_id: str) -> Iterator[JournalStorage]:
    """The study's storage, open for this driver.

    Args:
        store: where results live.
        study_id: of the search.

    Raises:
        InputError: the journal is damaged, or the folder can't be written.
    """
    name = journal_name(study_id)
    if store.local is not None:
        path = store.local / name
        _prepare(path)
        yield open_journal(path)
        return
    path = cached(store, study_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    if store.exists(name):
        write_whole(path, store.read(name))
    elif path.exists():
        path.unlink()  # the store was emptied, so the study begins anew with it
    _prepare(path)
    sent = [0]

    def upload() -> None:
        # A line that is being written is left for the next time; what is sent stays readable.
        with suppress(OSError):
            whole = path.read_bytes()
            whole = whole[: whole.rfind(b"\n") + 1]
            if len(whole) != sent[0]:
                store.write(name, whole)
                sent[0] = len(whole)

    try:
        with every(UPLOAD_SECONDS, upload):
            yield open_journal(path)
    finally:
        upload()


def turns(store: Store, study_id: str) -> Callable[[], AbstractContextManager[Any]]:
    """What gives the lock under which a driver draws a point: one driver at a time.

    In object storage one driver has the whole study, so there is nothing to hold.
    """
    if store.local is None:
        return nullcontext
    return lambda: store.lock(f"draw-{study_id}")


def _prepare(path: Path) -> None:
    """Make the folder, and cut off a last line that a killed driver or a full disk left torn.

    Another line behind it would make the whole journal unreadable.
    """
    from optuna.storages.journal import JournalFileSymlinkLock

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not _torn(path):
            return
        lock = JournalFileSymlinkLock(str(path))  # a dead writer's is broken after 30 s
        lock.acquire()
        try:
            if _torn(path):
                content = path.read_bytes()
                with path.open("rb+") as file:
                    file.truncate(content.rfind(b"\n") + 1)
        finally:
            lock.release()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; the study can't be written") from error


def _torn(path: Path) -> bool:
    """Whether the file's last line has no end."""
    if not path.exists() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"
