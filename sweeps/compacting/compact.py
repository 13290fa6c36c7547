"""Many small files of a store into few packs, while others read and write the store.

For each table: write a pack, change the stamp, delete the files whose rows it holds. Killed at any
point, every trial is still there, in its own file or in a pack or in both, and the next run goes
on. Why nobody ever sees a trial twice or misses one: docs/decisions/0017-compaction.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa

from camsweep.shards.errors import InputError
from camsweep.shards.places import as_place
from camsweep.shards.places.files import sync_folder
from camsweep.sweeps.arrowfiles import table_from_bytes
from camsweep.sweeps.compacting.erasing import erase
from camsweep.sweeps.compacting.listing import (
    SUFFIX,
    listed,
    new_pack_name,
    pack_number,
    write_stamp,
)
from camsweep.sweeps.compacting.packfile import OWNER, Pack, decoded, encode
from camsweep.sweeps.compacting.reading import THREADS, Files, Unread, base_name, unreadable
from camsweep.sweeps.store import TABLES, Store

#: Bytes of trials' own files that go into one pack: what is held in memory at a time.
PACK_BYTES = 64 * 2**20
#: A pack below this is put together with others at the next run.
SMALL_BYTES = 8 * 2**20

OnProgress = Callable[[str, int, int], None]
Require = Callable[[], None]


@dataclass
class Compacted:
    """What was done.

    Attributes:
        packed: trials' files put into packs, by table.
        packs: packs that the tables have now, by table.
        bytes_before: of the files that are gone.
        bytes_after: of the packs written.
        left: files that were left as they are, and why.
    """

    packed: dict[str, int] = field(default_factory=dict)
    packs: dict[str, int] = field(default_factory=dict)
    bytes_before: int = 0
    bytes_after: int = 0
    left: list[Unread] = field(default_factory=list)


@dataclass(frozen=True)
class _Source:
    """Where a trial's rows are taken from: its own file, or a pack (`None`: the file)."""

    trial_id: str
    bytes: int
    pack: Pack | None


def compact(
    store: Store,
    on_progress: OnProgress = lambda what, done, total: None,
    on_wait: Callable[[], object] | None = None,
) -> Compacted:
    """Put the files of single trials into packs; may be run again, killed, and run beside others.

    Args:
        store: where.
        on_progress: called with (table, trials done, trials in all).
        on_wait: called now and then while another process compacts the store.

    Raises:
        InputError: a newer camsweep wrote packs of the store, or one is damaged.
        leases.LeaseLost: this process was paused for long, and another compacts by now.
        OSError: the store can't be read or written.
    """
    done = Compacted()
    with store.lock("compact", on_wait) as require:
        final = final_trials(store, done)
        for table in TABLES:
            _Table(store, table, final, require, done).compact(on_progress)
    return done


def final_trials(store: Store, done: Compacted) -> frozenset[str]:
    """Trials whose files nobody writes again, but for the sweeps of their row.

    Those are done with all samples. Failed, stopped and incomplete ones may be run again.
    """
    found: set[str] = set()
    files = Files(store, listed(store, "trials"), lambda unread: None)
    for block in files.blocks():
        table = block.table
        columns = [n for n in ("id", "status", "skipped") if n in table.column_names]
        for row in table.select(columns).to_pylist():
            if row.get("status") == "done" and not row.get("skipped"):
                found.add(str(row["id"]))
    return frozenset(found)


@dataclass
class _Table:
    store: Store
    table: str
    final: frozenset[str]
    require: Require
    done: Compacted

    def compact(self, on_progress: OnProgress) -> None:
        files = Files(self.store, listed(self.store, self.table))
        sizes = self.store.sizes(self.table)
        old = self._to_merge(files, sizes)
        sources = self._sources(files, sizes, old)
        number = 1 + max((pack_number(name) for name in files.listing.packs), default=0)
        seen = 0
        for group in _groups(sources):
            parts, digests = self._read(group, old)
            for agreeing in _agreeing(parts):
                self._publish(agreeing, number)
            if digests:
                self._erase(digests, sizes)
            seen += len(group)
            self.done.packed[self.table] = self.done.packed.get(self.table, 0) + len(digests)
            on_progress(self.table, seen, len(sources))
        if old:
            self._drop(old, sizes)
        self.done.packs[self.table] = len(listed(self.store, self.table).packs)

    def _to_merge(self, files: Files, sizes: Mapping[str, int]) -> list[Pack]:
        """Packs to write anew: those with rows that don't count any more, and small ones."""
        counting = {id(pack): len(ids) for pack, ids in files.packed()}
        stale = [p for p in files.packs if counting.get(id(p), 0) < len(p.spots)]
        small = [p for p in files.packs if sizes.get(base_name(p), 0) < SMALL_BYTES]
        if not files.listing.loose and len(small) < 2:
            small = []
        merged = {id(p): p for p in (*stale, *small)}
        return list(merged.values())

    def _sources(
        self, files: Files, sizes: Mapping[str, int], old: Sequence[Pack]
    ) -> list[_Source]:
        """What goes into new packs, in the order of ids."""
        of_loose = [_Source(i, sizes.get(f"{i}{SUFFIX}", 0), None) for i in files.listing.loose]
        merged = {id(pack) for pack in old}
        of_packs = [
            _Source(i, sizes.get(base_name(pack), 0) // len(pack.spots), pack)
            for pack, ids in files.packed()
            if id(pack) in merged
            for i in ids
        ]
        return sorted((*of_loose, *of_packs), key=lambda source: source.trial_id)

    def _read(
        self, group: Sequence[_Source], old: Sequence[Pack]
    ) -> tuple[dict[str, pa.Table], dict[str, bytes]]:
        """The rows of a group by trial, and the digests of the files among them."""
        parts: dict[str, pa.Table] = {}
        digests: dict[str, bytes] = {}
        loose = [source.trial_id for source in group if source.pack is None]
        with ThreadPoolExecutor(THREADS) as pool:
            for trial_id, read in zip(loose, pool.map(self._one, loose), strict=True):
                if read is not None:
                    parts[trial_id], digests[trial_id] = read
        by_pack: dict[int, tuple[Pack, list[str]]] = {}
        for source in group:
            # A file that can't be read is left, and so is what an old pack has of its trial.
            having = (p for p in old if source.trial_id in p.spots)
            pack = source.pack or next(having, None)
            if source.trial_id not in parts and pack is not None:
                by_pack.setdefault(id(pack), (pack, []))[1].append(source.trial_id)
        for pack, ids in by_pack.values():
            for block in pack.blocks(ids):
                for trial_id, spot in block.spots:
                    parts[trial_id] = decoded(block.table.slice(spot.start, spot.rows))
        return parts, digests

    def _one(self, trial_id: str) -> tuple[pa.Table, bytes] | None:
        """A trial's own file as a table and its digest; None where it is to be left alone."""
        relative = f"{self.table}/{trial_id}{SUFFIX}"
        name = as_place(self.store.url).name(relative)
        try:
            data = self.store.read(relative)
            table = table_from_bytes(data, name)
            owners = table[OWNER[self.table]].unique().to_pylist()
        except FileNotFoundError:
            return None  # somebody deleted it
        except (InputError, KeyError) as error:
            known = error if isinstance(error, InputError) else InputError(f"{name}: no ids")
            self.done.left.append(unreadable(relative, known))
            return None
        rows = table.num_rows
        if owners not in ([trial_id], []) or (self.table == "trials" and rows != 1):
            self.done.left.append(Unread(relative, f"{name}: holds rows of another trial"))
            return None
        return table, hashlib.sha256(data).digest()

    def _publish(self, parts: Mapping[str, pa.Table], number: int) -> None:
        """Write a pack; from then on readers know it."""
        data = encode(self.table, parts)
        self.require()
        self.store.write(f"{self.table}/{new_pack_name(number)}", data)
        self.done.bytes_after += len(data)
        self._settle()

    def _settle(self) -> None:
        """Make what was published outlive a power cut, then tell that its sources may go."""
        if self.store.local is not None:
            sync_folder(self.store.local / self.table)
        self.require()
        write_stamp(self.store)

    def _erase(self, digests: Mapping[str, bytes], sizes: Mapping[str, int]) -> None:
        gone = erase(self.store, self.table, digests, self.final, self.require)
        self.done.bytes_before += sum(sizes.get(f"{i}{SUFFIX}", 0) for i in gone)

    def _drop(self, old: Sequence[Pack], sizes: Mapping[str, int]) -> None:
        """Delete packs whose rows are all in new ones."""
        self._settle()
        for pack in old:
            self.require()
            self.store.delete(f"{self.table}/{base_name(pack)}")
            self.done.bytes_before += sizes.get(base_name(pack), 0)


def _groups(sources: Iterable[_Source]) -> Iterator[list[_Source]]:
    """What goes into one pack each."""
    group: list[_Source] = []
    filled = 0
    for source in sources:
        if group and filled + source.bytes > PACK_BYTES:
            yield group
            group, filled = [], 0
        group.append(source)
        filled += source.bytes
    if group:
        yield group


def _agreeing(parts: Mapping[str, pa.Table]) -> list[dict[str, pa.Table]]:
    """The parts, those together whose columns have types that agree: mostly all."""
    groups: list[tuple[pa.Schema, dict[str, pa.Table]]] = []
    for trial_id, part in sorted(parts.items()):
        schema = part.schema.remove_metadata()
        for place, (fitting, mine) in enumerate(groups):
            try:
                both = pa.unify_schemas([fitting, schema], promote_options="permissive")
            except pa.ArrowException:
                continue
            groups[place] = both, mine
            mine[trial_id] = part
            break
        else:
            groups.append((schema, {trial_id: part}))
    return [mine for _, mine in groups]
