"""The Arrow tables of a store: writing one trial's files, and reading many of them back.

Every number of a report is computed from these files, so that mIoU, intervals and paired tests
need no re-run. Their columns are in `sweeps.tables`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from camsweep.shards.errors import InputError
from camsweep.sweeps.compacting.listing import TRIES, Listing, listed, reading
from camsweep.sweeps.compacting.packfile import Block, decoded
from camsweep.sweeps.compacting.reading import Files, OnUnread, Unread, find_row, ignore, refuse
from camsweep.sweeps.leasing.leases import LeaseLost
from camsweep.sweeps.store import Store
from camsweep.sweeps.tables import CURVE, EPOCH, IMAGE, TRIAL, versioned

#: How every Arrow IPC file begins and ends.
MAGIC = b"ARROW1"


def write_trial(store: Store, trial_id: str, tables: Mapping[str, pa.Table]) -> None:
    """Write a trial's files; the row in `trials/` last, so that a row means all of it is there.

    Args:
        store: where.
        trial_id: the trial's id.
        tables: by table name; `"trials"` is required, a failed trial has nothing else.
    """
    for name in ("epochs", "images", "curves", "trials"):
        if name in tables:
            store.write_table(f"{name}/{trial_id}.arrow", tables[name])


def read_row(store: Store, trial_id: str) -> dict[str, Any] | None:
    """The trial's row, or None where the store has none."""
    table = find_row(store, trial_id)
    row: dict[str, Any] | None = None if table is None else table.to_pylist()[0]
    return row


def merged_uses(
    row: Mapping[str, Any] | None, uses: Iterable[tuple[str, str]]
) -> list[tuple[str, str]]:
    """The (sweep, label) pairs of a stored row, then the new ones."""
    before = zip(row["sweeps"], row["labels"], strict=True) if row else ()
    return list(dict.fromkeys([*before, *uses]))


def add_uses(store: Store, trial_id: str, uses: Iterable[tuple[str, str]]) -> None:
    """Tell a stored trial of the sweeps that use it now; nothing else of its row changes."""
    add_all_uses(store, {trial_id: uses})


def add_all_uses(store: Store, uses: Mapping[str, Iterable[tuple[str, str]]]) -> None:
    """Tell stored trials of the sweeps that use them now; nothing else of their rows changes.

    Two drivers that tell the same trial at once do so one after the other: neither is forgotten.

    Args:
        store: where.
        uses: (sweep, label) pairs by trial id.
    """
    wanted = {trial_id: list(pairs) for trial_id, pairs in uses.items()}
    while left := {i: pairs for i, pairs in wanted.items() if _with_uses(store, i, pairs)}:
        # Only a process that is paused for long loses the lock; then it looks at the rows again.
        with suppress(LeaseLost), store.lock("uses") as require:
            for trial_id, pairs in left.items():
                table = _with_uses(store, trial_id, pairs)
                if table is not None:
                    require()
                    store.write_table(f"trials/{trial_id}.arrow", table)


def _with_uses(store: Store, trial_id: str, uses: list[tuple[str, str]]) -> pa.Table | None:
    """A trial's table with further uses; None where it has them all."""
    table = find_row(store, trial_id)
    if table is None:
        raise FileNotFoundError(errno.ENOENT, "not there", f"trials/{trial_id}.arrow")
    table = table.replace_schema_metadata(versioned(TRIAL, "trials").metadata)
    (row,) = table.select(["sweeps", "labels"]).to_pylist()
    merged = merged_uses(row, uses)
    if len(merged) == len(row["sweeps"]):
        return None
    for index, column in enumerate(("sweeps", "labels")):
        place = table.schema.get_field_index(column)
        values = pa.array([[use[index] for use in merged]], pa.list_(pa.string()))
        table = table.set_column(place, table.schema.field(place), values)
    return table


def is_done(row: Mapping[str, Any] | None, skip_damaged: bool = False) -> bool:
    """Whether a trial's row stands, so that the trial need not run.

    Args:
        row: of `read_row`; None where the store has none.
        skip_damaged: whether a trial counts that left out damaged samples (`skipped`).
    """
    if row is None or row["status"] != "done":
        return False
    return skip_damaged or not row.get("skipped")


def done_ids(trials: pa.Table, skip_damaged: bool = False) -> set[str]:
    """Ids of the trials that ended well, of `load_trials`; see `is_done`."""
    columns = [name for name in ("id", "status", "skipped") if name in trials.column_names]
    rows = trials.select(columns).to_pylist()
    return {row["id"] for row in rows if is_done(row, skip_damaged)}


def load_trials(store: Store, on_unread: OnUnread = refuse) -> pa.Table:
    """All trial rows in one table, sorted by id; columns that a trial lacks are null.

    Args:
        store: where.
        on_unread: is given the files that can't be read, which are left out; by default they are
            an InputError.
    """
    return _load(store, "trials", None, TRIAL, on_unread)


def load_epochs(
    store: Store, ids: Iterable[str] | None = None, on_unread: OnUnread = refuse
) -> pa.Table:
    """The epoch rows of the trials `ids` (default: all)."""
    return _load(store, "epochs", ids, EPOCH, on_unread)


def load_images(
    store: Store, ids: Iterable[str] | None = None, on_unread: OnUnread = refuse
) -> pa.Table:
    """The per-image counts of the trials `ids` (default: all)."""
    return _load(store, "images", ids, IMAGE, on_unread)


def load_curves(
    store: Store, ids: Iterable[str] | None = None, on_unread: OnUnread = refuse
) -> pa.Table:
    """The per-threshold counts of the trials `ids` (default: all)."""
    return _load(store, "curves", ids, CURVE, on_unread)


def has_rows(
    store: Store, table: str, ids: Iterable[str], on_unread: OnUnread = ignore
) -> set[str]:
    """Those of the trials `ids` that have a whole file or a place in a pack of a table.

    Files are looked at, not read: what is cut off is seen, on this machine's file system.
    """
    wanted = list(ids)

    def look(listing: Listing) -> tuple[set[str], list[Unread]]:
        unread: list[Unread] = []
        files = Files(store, listing, unread.append)
        packed = {i for _, mine in files.packed(wanted) for i in mine}
        loose = files.loose(wanted)
        cut = {i for i in loose if store.local and not _ends(store.local / table / f"{i}.arrow")}
        for trial_id in sorted(cut):
            name = f"{table}/{trial_id}.arrow"
            unread.append(Unread(name, f"{name}: not a whole Arrow file"))
        return (packed | set(loose)) - cut, unread

    found, unread = reading(store, table, look)
    for one in unread:
        on_unread(one)
    return found


def _ends(path: Path) -> bool:
    """Whether an Arrow file has its end."""
    with path.open("rb") as stream:
        stream.seek(0, os.SEEK_END)
        stream.seek(max(0, stream.tell() - len(MAGIC)))
        return stream.read() == MAGIC


def image_blocks(store: Store, ids: Iterable[str], on_unread: OnUnread = refuse) -> Iterator[Block]:
    """The per-image counts of trials as they are stored, some trials in memory at a time.

    Its time is proportional to the trials asked for, however many the store has. Image names may
    be dictionary-encoded. A trial without counts is left out.

    Args:
        store: where.
        ids: of the trials.
        on_unread: as for `load_trials`.
    """
    left = dict.fromkeys(ids)
    for _ in range(TRIES):
        files = Files(store, listed(store, "images"), on_unread)
        try:
            for block in files.blocks(list(left)):
                for trial_id, _ in block.spots:
                    del left[trial_id]
                yield block
            return
        except FileNotFoundError:
            continue  # packed while the others were read
    raise InputError(f"{store}/images: its files change all the time; try again later")


def _load(
    store: Store, table: str, ids: Iterable[str] | None, schema: pa.Schema, on_unread: OnUnread
) -> pa.Table:
    wanted = None if ids is None else list(ids)

    def read(listing: Listing) -> list[tuple[str, pa.Table]]:
        unread.clear()
        files = Files(store, listing, unread.append)
        return [(b.spots[0][0], rows) for b in files.blocks(wanted) for rows in _rows(b)]

    unread: list[Unread] = []
    parts = reading(store, table, read)
    for one in unread:
        on_unread(one)
    if not parts:
        return versioned(schema, table).empty_table()
    whole = _joined(table, schema, parts, on_unread)
    if table == "trials":
        owners = whole["id"].to_pylist()
        if owners != sorted(owners):
            whole = whole.combine_chunks().take(pc.sort_indices(whole["id"]))
    return whole


def _rows(block: Block) -> Iterator[pa.Table]:
    """The rows of a block's trials; of trials side by side at once."""
    start = end = 0
    for _, spot in block.spots:
        if spot.start != end:
            if end > start:
                yield block.table.slice(start, end - start)
            start = spot.start
        end = spot.start + spot.rows
    yield block.table.slice(start, end - start)


def _joined(
    table: str,
    schema: pa.Schema,
    parts: Sequence[tuple[str, pa.Table]],
    on_unread: OnUnread,
) -> pa.Table:
    """One table of all; parts whose columns have other types than most are left out."""
    # `empty_table` would import pandas, which takes as long as reading the store.
    base = pa.Table.from_batches([], versioned(schema, table))
    fitting, kept = schema, [base]
    for ids, rows in sorted(_alike(parts), key=lambda group: len(group[0]), reverse=True):
        try:
            fitting = pa.unify_schemas([fitting, rows.schema], promote_options="permissive")
            kept.append(rows)
        except pa.ArrowException as error:
            for trial_id in ids:
                name = f"{table}/{trial_id}.arrow"
                on_unread(Unread(name, f"{name}: a column of another type ({error})"))
    return pa.concat_tables(kept, promote_options="permissive")


def _alike(parts: Sequence[tuple[str, pa.Table]]) -> list[tuple[list[str], pa.Table]]:
    """Parts of equal columns as one table of plain text each, with the ids of their first trials.

    Columns are compared and joined by name once for each such table, not for every trial.
    """
    groups: list[tuple[list[str], list[pa.Table]]] = []
    for trial_id, part in parts:
        place = next((i for i, (_, g) in enumerate(groups) if g[0].schema.equals(part.schema)), -1)
        if place < 0:
            groups.append(([], []))
        ids, tables = groups.pop(place)
        ids.append(trial_id)
        tables.append(part)
        groups.insert(0, (ids, tables))  # the next one is most likely like this one
    return [
        (ids, decoded(pa.concat_tables(tables)).replace_schema_metadata()) for ids, tables in groups
    ]


def artefact_name(stage_id: str, name: str) -> str:
    """The relative file of an artefact of a stage."""
    return f"artefacts/{stage_id}/{name}"
