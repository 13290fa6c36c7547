"""The Arrow tables of a store: writing one trial's files, and reading many of them back.

Every number of a report is computed from these files, so that mIoU, intervals and paired tests
need no re-run. Their columns are in `sweeps.tables`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pyarrow as pa

from camsweep.sweeps.leasing.leases import LeaseLost
from camsweep.sweeps.store import Store
from camsweep.sweeps.tables import CURVE, EPOCH, IMAGE, TRIAL, versioned


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
    name = f"trials/{trial_id}.arrow"
    if not store.exists(name):
        return None
    return store.read_table(name).to_pylist()[0]


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
    table = store.read_table(f"trials/{trial_id}.arrow")
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


def load_trials(store: Store) -> pa.Table:
    """All trial rows in one table; columns that a trial lacks are null."""
    return _load(store, "trials", None, TRIAL)


def load_epochs(store: Store, ids: Iterable[str] | None = None) -> pa.Table:
    """The epoch rows of the trials `ids` (default: all)."""
    return _load(store, "epochs", ids, EPOCH)


def load_images(store: Store, ids: Iterable[str] | None = None) -> pa.Table:
    """The per-image counts of the trials `ids` (default: all)."""
    return _load(store, "images", ids, IMAGE)


def load_curves(store: Store, ids: Iterable[str] | None = None) -> pa.Table:
    """The per-threshold counts of the trials `ids` (default: all)."""
    return _load(store, "curves", ids, CURVE)


def _load(store: Store, table: str, ids: Iterable[str] | None, schema: pa.Schema) -> pa.Table:
    names = store.names(table, ".arrow")
    if ids is not None:
        there = set(names)  # one listing: a request for each would be slow on object storage
        names = [name for name in (f"{i}.arrow" for i in ids) if name in there]
    if not names:
        return versioned(schema, table).empty_table()
    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda n: store.read_table(f"{table}/{n}"), names))
    return pa.concat_tables(parts, promote_options="permissive")


def artefact_name(stage_id: str, name: str) -> str:
    """The relative file of an artefact of a stage."""
    return f"artefacts/{stage_id}/{name}"
