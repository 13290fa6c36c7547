"""Tables of numbers as typed Arrow tables with units and provenance, for notebooks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from camsweep.reports.exhibit import Records

_FLOATS = (
    "mean", "low", "high", "published", "difference", "effect_mean", "effect_low",
    "effect_high", "background_iou", "foreground_iou", "precision", "recall", "iou",
    "iou_small", "iou_medium", "iou_large", "train_seconds", "images_per_second",
    "peak_memory_bytes", "parameters", "gpu_hours", "cpu_hours", "better_than_next",
    "no_skill_floor", "repeat_spread", "share",
)  # fmt: skip
_INTEGERS = (
    "rank", "rank_low", "rank_high", "seeds", "seed", "images", "images_resampled",
    "repeated_trials", "repeats_differing", "class", "point", "points", "best_points",
)  # fmt: skip
_FLAGS = ("ours", "comparable", "known_before")
_LISTS = {"tied": pa.list_(pa.int64()), "labels": pa.list_(pa.string())}
_PERCENT = (
    "published", "background_iou", "foreground_iou", "precision", "recall", "iou", "iou_small",
    "iou_medium", "iou_large", "no_skill_floor",
)  # fmt: skip
_POINTS = ("difference", "effect_mean", "effect_low", "effect_high", "repeat_spread")
_UNITS = {
    "train_seconds": "seconds", "images_per_second": "images per second",
    "peak_memory_bytes": "bytes", "gpu_hours": "hours", "cpu_hours": "hours",
    "better_than_next": "share, 0 to 1", "share": "share, 0 to 1",
}  # fmt: skip


def arrow_table(records: Records, about: Mapping[str, str]) -> pa.Table:
    """Records as an Arrow table; nulls where there is no value.

    A column has the same type in every store: what is measured is float64, even where all of it is
    missing; counts and places are int64, lists are lists. The metadata of a field has its ``unit``.

    Args:
        records: the numbers.
        about: goes into the schema's metadata.
    """
    columns = [[_given(row.get(name)) for row in records.rows] for name in records.columns]
    fields, arrays = [], []
    for name, values in zip(records.columns, columns, strict=True):
        kind = _type(name, values)
        unit = unit_of(name, records.columns)
        fields.append(pa.field(name, kind, metadata={"unit": unit} if unit else None))
        arrays.append(pa.array([_as(value, kind) for value in values], kind))
    return pa.table(arrays, schema=pa.schema(fields, metadata=dict(about)))


def unit_of(name: str, columns: Sequence[str]) -> str:
    """What a column's numbers are in; empty for what has no unit.

    Args:
        name: the column's.
        columns: all of its table: ends of an interval are in the unit of what they belong to.
    """
    if name in ("mean", "low", "high"):
        return "share, 0 to 1" if "share" in columns else "percent"
    if name in _PERCENT:
        return "percent"
    return "percentage points" if name in _POINTS else _UNITS.get(name, "")


def _given(value: Any) -> Any:
    """A value; None for NaN, which means that there is none."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _type(name: str, values: Sequence[Any]) -> pa.DataType:
    there = [value for value in values if value is not None]
    kinds = {type(value) for value in there}
    number = kinds <= {int, float}
    if number and (name in _FLOATS or name.startswith("metric.")):
        return pa.float64()
    if not there:
        return _empty(name)
    if kinds == {bool}:
        return pa.bool_()
    if number:
        return pa.int64() if kinds == {int} else pa.float64()
    if kinds <= {list, tuple}:
        inside = {type(value) for some in there for value in some}
        return pa.list_(pa.int64()) if inside == {int} else _LISTS.get(name, pa.list_(pa.string()))
    return pa.string()


def _empty(name: str) -> pa.DataType:
    if name in _INTEGERS:
        return pa.int64()
    if name in _FLAGS:
        return pa.bool_()
    return _LISTS.get(name, pa.string())


def _as(value: Any, kind: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_list(kind) and pa.types.is_string(kind.value_type):
        return [str(item) for item in value]
    if pa.types.is_string(kind):
        return value if isinstance(value, str) else str(value)
    return value
