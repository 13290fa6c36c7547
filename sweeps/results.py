"""The Arrow tables of a store: schemas, one trial's files, and reading many of them back.

Every number of a report is computed from these files, so that mIoU, intervals and paired tests
need no re-run. The layout is a contract (docs/decisions/0003-results.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal, get_args, get_origin

import pyarrow as pa
from pydantic import BaseModel

from camsweep.sweeps.store import Store

SCHEMA_VERSION = 1

#: Columns every trial row has; `config.*`, `metric.*`, `seconds.*`, `stage.*` are added by name.
TRIAL = pa.schema(
    [
        ("schema_version", pa.int32()),
        ("id", pa.string()),
        ("sweeps", pa.list_(pa.string())),
        ("labels", pa.list_(pa.string())),
        ("method", pa.string()),
        ("seed", pa.int64()),
        ("status", pa.string()),
        ("cause", pa.string()),
        ("traceback", pa.string()),
        ("attempts", pa.int32()),
        ("overrides", pa.map_(pa.string(), pa.string())),
        ("recipe", pa.string()),
        ("profile", pa.string()),
        ("data_name", pa.string()),
        ("data_digest", pa.string()),
        ("classes", pa.list_(pa.string())),
        ("train_images", pa.int64()),
        ("eval_images", pa.int64()),
        ("skipped", pa.list_(pa.string())),
        ("train_seconds", pa.float64()),
        ("images_per_second", pa.float64()),
        ("peak_memory_bytes", pa.int64()),
        ("parameters", pa.int64()),
        ("device", pa.string()),
        ("host", pa.string()),
        ("threads", pa.int32()),
        ("versions", pa.map_(pa.string(), pa.string())),
        ("git_commit", pa.string()),
        ("git_dirty", pa.bool_()),
        ("command", pa.string()),
        ("started", pa.timestamp("ms", tz="UTC")),
        ("finished", pa.timestamp("ms", tz="UTC")),
    ]
)
EPOCH = pa.schema(
    [
        ("trial_id", pa.string()),
        ("epoch", pa.int32()),
        ("lr", pa.float64()),
        ("seconds", pa.float64()),
    ]
)
COUNTS = [("tp", pa.int64()), ("fp", pa.int64()), ("fn", pa.int64())]
IMAGE = pa.schema(
    [("trial_id", pa.string()), ("image", pa.string()), ("class", pa.int16()), *COUNTS]
)
CURVE = pa.schema(
    [
        ("trial_id", pa.string()),
        ("map", pa.string()),
        ("scale", pa.string()),
        ("threshold", pa.float64()),
        ("class", pa.int16()),
        *COUNTS,
    ]
)
#: The dynamic columns and the Arrow type of each family; `config.*` takes the type of its value.
FAMILIES = {
    "metric.": pa.float64(),
    "seconds.": pa.float64(),
    "stage.": pa.string(),
    "loss.": pa.float64(),
}


def _version(schema: pa.Schema, table: str) -> pa.Schema:
    return schema.with_metadata({"camsweep.schema": f"{table}/{SCHEMA_VERSION}"})


def _column_type(name: str, values: list[Any]) -> pa.DataType:
    for prefix, kind in FAMILIES.items():
        if name.startswith(prefix):
            return kind
    if not name.startswith("config."):
        raise KeyError(f"'{name}' is no column of the store")
    return _value_type([v for v in values if v is not None])


def _value_type(values: list[Any]) -> pa.DataType:
    if not values:
        return pa.null()  # merges with whatever type another trial gives the column
    if isinstance(values[0], list | tuple):
        return pa.list_(_value_type([v for row in values for v in row]))
    return pa.infer_type(values)


def _table(
    rows: list[Mapping[str, Any]],
    schema: pa.Schema,
    table: str,
    types: Mapping[str, pa.DataType] | None = None,
) -> pa.Table:
    known = set(schema.names)
    extra = sorted({name for row in rows for name in row} - known)
    fields = list(schema)
    for name in extra:
        kind = (types or {}).get(name) or _column_type(name, [row.get(name) for row in rows])
        fields.append(pa.field(name, kind))
    full = _version(pa.schema(fields), table)
    return pa.Table.from_pylist([dict(row) for row in rows], schema=full)


def config_types(config: type[BaseModel]) -> dict[str, pa.DataType]:
    """The Arrow type of every `config.*` column of a method, also where the value is null.

    Without it a column that is null in one trial would have no type there, and a reader that takes
    its schema from that file (`pyarrow.dataset`) could not read the others.
    """
    return {f"config.{n}": _arrow(f.annotation) for n, f in config.model_fields.items()}


def _arrow(annotation: Any) -> pa.DataType:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _arrow(arguments[0])
    if origin is Literal:
        return pa.infer_type(list(arguments))
    if origin is tuple:
        return pa.list_(_arrow(arguments[0]))
    if arguments:  # X | None
        return _arrow(next(a for a in arguments if a is not type(None)))
    return {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}.get(annotation, pa.string())


def trial_table(row: Mapping[str, Any], types: Mapping[str, pa.DataType] | None = None) -> pa.Table:
    """One trial's row as a table of the store's schema.

    Args:
        row: values by column name; missing core columns become null.
        types: of the `config.*` columns, from `config_types`.

    Raises:
        KeyError: a column that is in no family of the schema.
    """
    return _table([{"schema_version": SCHEMA_VERSION, **row}], TRIAL, "trials", types)


def epoch_table(trial_id: str, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """One row an epoch: `epoch`, `lr`, `seconds` and `loss.<name>` columns."""
    return _table([{"trial_id": trial_id, **row} for row in rows], EPOCH, "epochs")


def image_table(columns: Mapping[str, Any]) -> pa.Table:
    """One row an image and class: tp, fp, fn in pixels at the chosen threshold."""
    return pa.table(dict(columns), schema=_version(IMAGE, "images"))


def curve_table(columns: Mapping[str, Any]) -> pa.Table:
    """One row a map, scale, threshold and class: tp, fp, fn in pixels over the set."""
    return pa.table(dict(columns), schema=_version(CURVE, "curves"))


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
    name = f"trials/{trial_id}.arrow"
    table = store.read_table(name)
    (row,) = table.select(["sweeps", "labels"]).to_pylist()
    merged = merged_uses(row, uses)
    if len(merged) == len(row["sweeps"]):
        return
    for index, column in enumerate(("sweeps", "labels")):
        place = table.schema.get_field_index(column)
        values = pa.array([[use[index] for use in merged]], pa.list_(pa.string()))
        table = table.set_column(place, table.schema.field(place), values)
    store.write_table(name, table)


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
        return _version(schema, table).empty_table()
    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda n: store.read_table(f"{table}/{n}"), names))
    return pa.concat_tables(parts, promote_options="permissive")


def artefact_name(stage_id: str, name: str) -> str:
    """The relative file of an artefact of a stage."""
    return f"artefacts/{stage_id}/{name}"
