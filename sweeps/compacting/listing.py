"""Which files of a table to read, so that every trial is seen once while the store is compacted.

A trial is loose (`trials/<id>.arrow`), in a pack (`trials/pack-<number>-<token>.arrow`), or for a
while in both. The rule for readers: a loose file counts before any pack, a pack before those of
lower numbers. `STORE/packs.json` holds a stamp, which whoever compacts changes after new packs are
there and before the files that they replace are deleted. So where the stamp is the same before and
after a listing, nothing has gone whose successor was not there all the time
(docs/decisions/0017-compaction.md).
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from camsweep.shards.errors import InputError
from camsweep.sweeps.store import Store

STAMP = "packs.json"
STAMP_FORMAT = 1
SUFFIX = ".arrow"
#: A file that is listed and gone when it is read means: look again. So often at most.
TRIES = 60
_PACK = re.compile(r"pack-(\d{6,})-[0-9a-f]{16}\.arrow")
T = TypeVar("T")


@dataclass(frozen=True)
class Listing:
    """The files of a table.

    Attributes:
        table: its name.
        loose: ids of the trials with a file of their own, sorted.
        packs: file names of the packs, those that count first at the front.
    """

    table: str
    loose: tuple[str, ...]
    packs: tuple[str, ...]


def is_pack(name: str) -> bool:
    """Whether a file name is that of a pack."""
    return _PACK.fullmatch(name) is not None


def pack_number(name: str) -> int:
    """The number in a pack's name."""
    match = _PACK.fullmatch(name)
    return int(match[1]) if match else 0


def new_pack_name(number: int) -> str:
    """A name for a pack that no other ever has."""
    return f"pack-{number:06d}-{uuid.uuid4().hex[:16]}{SUFFIX}"


def write_stamp(store: Store) -> None:
    """Change the stamp: from here on files may go that new packs replace."""
    content = {"format": STAMP_FORMAT, "stamp": uuid.uuid4().hex}
    store.write(STAMP, json.dumps(content).encode())


def _stamp(store: Store) -> bytes:
    """The stamp as it lies there, damaged or not: only whether it changed matters."""
    try:
        content = store.read(STAMP)
    except (FileNotFoundError, NotADirectoryError):
        return b""  # never compacted, or no store at all
    version = 0
    with suppress(ValueError, LookupError, TypeError):
        version = int(json.loads(content)["format"])
    if version > STAMP_FORMAT:
        raise InputError(
            f"{store}/{STAMP}: written by a newer camsweep (format {version}, this one knows "
            f"{STAMP_FORMAT}); use that version here, too"
        )
    return content


def is_compacted(store: Store) -> bool:
    """Whether files of single trials may have been deleted for packs, before this was asked."""
    return bool(_stamp(store))


def listed(store: Store, table: str) -> Listing:
    """The files of a table at one moment."""
    for tries in range(TRIES):
        before = _stamp(store)
        names = store.names(table, SUFFIX)
        if _stamp(store) == before:
            packs = sorted((n for n in names if is_pack(n)), key=_order, reverse=True)
            loose = tuple(n.removesuffix(SUFFIX) for n in names if not is_pack(n))
            return Listing(table, loose, tuple(packs))
        time.sleep(min(0.5, 0.01 * tries))
    raise _restless(store, table)


def _order(name: str) -> tuple[int, str]:
    return pack_number(name), name


def reading(store: Store, table: str, read: Callable[[Listing], T]) -> T:
    """What `read` makes of a table's files; asked again where one of them goes meanwhile.

    Args:
        store: where.
        table: which.
        read: raises FileNotFoundError where a listed file is not there (any more).
    """
    for tries in range(TRIES):
        files = listed(store, table)
        try:
            return read(files)
        except FileNotFoundError:
            time.sleep(min(0.5, 0.01 * tries))
    raise _restless(store, table)


def _restless(store: Store, table: str) -> InputError:
    return InputError(f"{store}/{table}: its files change all the time; try again later")
