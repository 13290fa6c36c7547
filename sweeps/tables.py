"""The schemas of a store's Arrow tables, and a trial's tables made by them.

The layout is a contract (docs/decisions/0003-results.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

import pyarrow as pa
from pydantic import BaseModel

SCHEMA_VERSION = 1
#: The format of packs (`sweeps.compacting`): higher, so that versions without packs refuse them.
PACK_VERSION = 2

#: Columns every trial row has; `config.*` and those of `FAMILIES` are added by name.
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
        ("owner", pa.string()),
        ("workers", pa.int32()),
        ("accumulation", pa.int32()),
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
    "workers.": pa.int32(),
    "accumulation.": pa.int32(),
    "loss.": pa.float64(),
}


def versioned(schema: pa.Schema, table: str) -> pa.Schema:
    """The schema of a table with its name and version."""
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
    # As one array of structs: a third of the time of a column after the other, of which a trial's
    # row has over a hundred.
    found = pa.Table.from_struct_array(pa.array([dict(row) for row in rows], pa.struct(fields)))
    return found.replace_schema_metadata(versioned(schema, table).metadata)


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
    return pa.table(dict(columns), schema=versioned(IMAGE, "images"))


def curve_table(columns: Mapping[str, Any]) -> pa.Table:
    """One row a map, scale, threshold and class: tp, fp, fn in pixels over the set."""
    return pa.table(dict(columns), schema=versioned(CURVE, "curves"))
