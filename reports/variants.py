"""The variants of many trials: all settings but the seed as canonical JSON, quickly."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from camsweep.reports.rows import Columns, known_rows, plain_numbers, values

#: How a variant is written.
CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def _as_json(value: Any) -> str:
    """A config's value as `CANONICAL` writes it."""
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return repr(value)
    return CANONICAL.encode(value)


def variants(columns: Columns, methods: Sequence[str], recipes: Sequence[str]) -> list[str]:
    """`load.variant_key` of each row, its parts made once for each value of a column."""
    names = [n for n in columns.names("config.") if n != "config.seed"]
    parts = []
    for name in sorted(names):
        key = CANONICAL.encode(name.removeprefix("config."))
        # By identity: equal values are mostly one object (`rows.values`), and 1 is not 1.0 here.
        texts: dict[int, str] = {id(None): ""}
        lists: dict[str, str] = {}
        column = columns[name]
        for one, value in zip(map(id, column), column, strict=True):
            if one in texts:
                continue
            if isinstance(value, list):
                told = repr(value)
                if told not in lists:
                    lists[told] = f"{key}:{CANONICAL.encode(value)}"
                texts[one] = lists[told]
            else:
                texts[one] = f"{key}:{_as_json(value)}"
        parts.append([texts[one] for one in map(id, column)])
    configs = [",".join(filter(None, row)) for row in zip(*parts, strict=True)]
    heads = {value: CANONICAL.encode(value) for value in {*methods, *recipes}}
    return [
        f'{{"config":{{{config}}},"method":{heads[method]},"recipe":{heads[recipe]}}}'
        for config, method, recipe in zip(
            configs or [""] * len(methods), methods, recipes, strict=True
        )
    ]


def alike(table: pa.Table) -> tuple[pa.Table, NDArray[np.int64]]:
    """The different rows of a table, and which of them each row is.

    Seeds of a variant have the same settings: thousands of trials are some hundreds of configs.

    Returns:
        A table of U rows, and ``[N]`` with 0..U-1.
    """
    if not table.num_rows or not table.num_columns:
        return table, np.arange(table.num_rows)
    first, inverse = _numbered([_codes(column) for column in table.columns])
    # `take` with Arrow's own indices: numpy's would import pandas.
    return table.take(pa.Array.from_buffers(*_indices(first))), inverse


def _indices(rows: NDArray[np.int64]) -> tuple[pa.DataType, int, list[pa.Buffer | None]]:
    whole = np.ascontiguousarray(rows, np.int64)
    return pa.int64(), len(whole), [None, pa.py_buffer(whole)]


def _numbered(columns: Sequence[NDArray[np.int64]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The first of each kind of row ``[U]``, and which kind each row is ``[N]``.

    Args:
        columns: codes 0.. of each column ``[N]``, one column at least.
    """
    inverse, first = np.zeros(len(columns[0]), np.int64), np.zeros(0, np.int64)
    for codes in columns:
        # Numbered anew after each column: all codes side by side would not fit in 64 bits.
        whole = inverse * (int(codes.max(initial=0)) + 1) + codes
        _, first, inverse = np.unique(whole, return_index=True, return_inverse=True)
    return first, inverse


def _codes(column: pa.ChunkedArray | pa.Array) -> NDArray[np.int64]:
    """A number from 0 on for each value of a column; equal ones have the same, nulls their own."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if not isinstance(array, pa.ChunkedArray):
        kind = array.type
        if pa.types.is_null(kind):
            return np.zeros(len(array), np.int64)
        if pa.types.is_list(kind) and len(array):
            return _list_codes(array)
        if not pa.types.is_nested(kind):
            encoded = pc.dictionary_encode(array, null_encoding="encode")
            return plain_numbers(encoded.indices).astype(np.int64)
    known: dict[str, int] = {}
    told = (repr(value) for value in values(column))
    return np.array([known.setdefault(text, len(known)) for text in told], np.int64)


def _list_codes(array: pa.ListArray) -> NDArray[np.int64]:
    ends = plain_numbers(array.offsets).astype(np.int64)
    lengths = np.diff(ends)
    inner = np.append(_codes(array.values) + 1, 0)
    place = np.arange(int(lengths.max()))
    inside = place < lengths[:, None]
    # A place behind the end of a list, and all of a null, is 0; inner values count from 1.
    padded = inner[np.where(inside, ends[:-1, None] + place, len(inner) - 1)]
    return _numbered([known_rows(array).astype(np.int64), lengths, *padded.T])[1]
