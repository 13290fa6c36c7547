"""The rows of a table wherever they are: files of single trials, packs, or both."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache

import pyarrow as pa

from camsweep.shards.errors import InputError
from camsweep.shards.places import as_place
from camsweep.sweeps.arrowfiles import NewerError
from camsweep.sweeps.compacting.listing import SUFFIX, Listing, is_compacted, reading
from camsweep.sweeps.compacting.packfile import Block, Pack, Spot, decoded
from camsweep.sweeps.store import Store

#: Of a pack in object storage the whole is read where more than one batch in so many is wanted.
SHARE = 4
THREADS = 8
#: Packs that a process keeps open.
OPEN = 64


@dataclass(frozen=True)
class Unread:
    """A file of the store that can't be read.

    Attributes:
        name: the relative file, ``trials/<id>.arrow``.
        reason: the whole line that says what is wrong.
        version: its format where a newer camsweep wrote it, else 0.
    """

    name: str
    reason: str
    version: int = 0


OnUnread = Callable[[Unread], object]


def refuse(unread: Unread) -> None:
    """What to do with a file that can't be read, where all of them are needed."""
    raise InputError(unread.reason)


def ignore(unread: Unread) -> None:
    """What to do with a file that can't be read, where the rest is enough."""


def unreadable(name: str, error: InputError) -> Unread:
    """What is told of a file whose reading gave an error."""
    return Unread(name, str(error), error.version if isinstance(error, NewerError) else 0)


@dataclass
class Files:
    """The files of a table at one moment, packs opened as they are needed."""

    store: Store
    listing: Listing
    on_unread: OnUnread = refuse
    _packs: list[Pack] | None = None
    _loose: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self._loose = frozenset(self.listing.loose)

    @property
    def packs(self) -> Sequence[Pack]:
        """The packs that can be read, those that count first at the front."""
        if self._packs is None:
            self._packs = []
            for name in self.listing.packs:
                try:
                    self._packs.append(open_pack(self.store, self.listing.table, name))
                except InputError as error:
                    self.on_unread(unreadable(f"{self.listing.table}/{name}", error))
        return self._packs

    def packed(self, ids: Iterable[str] | None = None) -> list[tuple[Pack, list[str]]]:
        """Which trials to read from which pack: those `ids` (default: all) that are not loose."""
        seen = set(self._loose)
        found = []
        wanted = None if ids is None else list(ids)
        for pack in self.packs:
            of_pack = pack.spots if wanted is None else [i for i in wanted if i in pack.spots]
            mine = [i for i in of_pack if i not in seen]
            seen.update(mine)
            if mine:
                found.append((pack, mine))
        return found

    def loose(self, ids: Iterable[str] | None = None) -> list[str]:
        """The ids of those trials `ids` (default: all) that have a file of their own."""
        if ids is None:
            return list(self.listing.loose)
        return [i for i in ids if i in self._loose]

    def blocks(self, ids: Sequence[str] | None = None) -> Iterator[Block]:
        """The rows of the trials `ids` (default: all), some trials at a time, in no order.

        What can't be read is left out and given to `on_unread`.

        Raises:
            FileNotFoundError: a file is gone by now; list anew.
        """
        for pack, mine in self.packed(ids):
            try:
                yield from whole_where_cheaper(self.store, pack, mine).blocks(mine)
            except InputError as error:
                self.on_unread(unreadable(f"{self.listing.table}/{base_name(pack)}", error))
        for trial_id, part in self.loose_tables(self.loose(ids)):
            yield Block(part, ((trial_id, Spot(0, 0, part.num_rows)),))

    def loose_tables(self, ids: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
        """The tables of trials with files of their own, many read at once."""
        names = [f"{self.listing.table}/{trial_id}{SUFFIX}" for trial_id in ids]
        with ThreadPoolExecutor(THREADS) as pool:
            for start in range(0, len(ids), 64):  # no more in memory than are needed soon
                some = slice(start, start + 64)
                # Threads wait for bytes alone: all that is done with them needs the one lock.
                read = pool.map(self.store.read, names[some])
                for trial_id, name, data in zip(ids[some], names[some], read, strict=True):
                    try:
                        yield trial_id, self.store.as_table(data, name)
                    except InputError as error:
                        self.on_unread(unreadable(name, error))


def open_pack(store: Store, table: str, name: str, *, whole: bool = False) -> Pack:
    """A pack of a table.

    Args:
        store: where.
        table: which table.
        name: its file.
        whole: read all of it at once, where it is not on this machine's file system.

    Raises:
        FileNotFoundError: it is gone.
        InputError: it is damaged, or a newer camsweep wrote it.
    """
    relative = f"{table}/{name}"
    if whole and store.local is None:
        source = pa.BufferReader(store.read(relative))
        return Pack(table, as_place(store.url).name(relative), source)
    stamp: tuple[int, ...] = ()
    if store.local is not None:
        facts = (store.local / relative).stat()
        stamp = facts.st_ino, facts.st_size, facts.st_mtime_ns
    return _opened(os.getpid(), store, relative, stamp)


@lru_cache(maxsize=OPEN)
def _opened(process: int, store: Store, relative: str, stamp: tuple[int, ...]) -> Pack:
    """A pack, opened once a process: a name's content never changes, and its index takes a while.

    A connection belongs to its process; the stamp tells a file that was restored from a backup.
    """
    name = as_place(store.url).name(relative)
    try:
        return Pack(relative.partition("/")[0], name, store.open(relative))
    except pa.ArrowException as error:  # an empty file can't be mapped
        raise InputError(f"{name}: not a whole Arrow file ({error})") from error


def whole_where_cheaper(store: Store, pack: Pack, ids: Sequence[str]) -> Pack:
    """The pack itself, or read whole at once where that takes fewer requests."""
    wanted = len({pack.spots[i].batch for i in ids})
    if store.local is not None or wanted * SHARE <= pack.batches:
        return pack
    return open_pack(store, pack.table, base_name(pack), whole=True)


def base_name(pack: Pack) -> str:
    """The file name of a pack inside its table's folder."""
    return pack.name.rpartition("/")[2]


def find_row(store: Store, trial_id: str) -> pa.Table | None:
    """The row of a trial in `trials/`, None where the store has none.

    Raises:
        InputError: the file that has it can't be read.
    """
    try:
        return store.read_table(f"trials/{trial_id}{SUFFIX}")
    except FileNotFoundError:
        if not is_compacted(store):  # then nothing was ever deleted
            return None

    def find(listing: Listing) -> pa.Table | None:
        for block in Files(store, listing).blocks([trial_id]):
            ((_, spot),) = block.spots
            return decoded(block.table.slice(spot.start, spot.rows))
        return None

    return reading(store, "trials", find)
