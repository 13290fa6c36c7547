"""Columns of an Arrow table as Python values, quickly: what repeats is made once and shared.

A store of ten thousand trials has a hundred columns, so a million values; asking Arrow for each
takes seconds.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TICKS = {
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
    "us": timedelta(microseconds=1),
}


def values(column: pa.ChunkedArray | pa.Array) -> list[Any]:
    """The values as `to_pylist` gives them, maps as dicts; equal ones may be one object."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):  # pyarrow keeps chunks where it can't join them
        return [value for chunk in array.chunks for value in values(chunk)]
    kind = array.type
    if pa.types.is_null(kind):
        return [None] * len(array)
    if pa.types.is_dictionary(kind):
        return _shared(array.indices, array.dictionary.to_pylist())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_boolean(kind):
        encoded = pc.dictionary_encode(array)
        return _shared(encoded.indices, encoded.dictionary.to_pylist())
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return _numbers(array)
    if pa.types.is_map(kind):
        pairs = list(zip(values(array.keys), values(array.items), strict=True))
        return [None if part is None else dict(part) for part in _parts(array, pairs)]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _parts(array, values(array.values))
    if pa.types.is_timestamp(kind) and kind.tz == "UTC" and kind.unit in TICKS:
        return [
            None if ticks is None else EPOCH + ticks * TICKS[kind.unit]
            for ticks in _numbers(array.cast(pa.int64()))
        ]
    plain: list[Any] = array.to_pylist()
    return plain


def plain_numbers(array: pa.Array) -> NDArray[Any]:
    """The numbers of an integer or float array ``[N]``, without a copy; anything at nulls.

    `to_numpy`, and Python numbers given to Arrow's functions, import pandas, which takes a tenth
    of the time of a whole leaderboard.
    """
    if array.null_count:
        buffers = [None, array.buffers()[1]]
        array = pa.Array.from_buffers(array.type, len(array), buffers, 0, array.offset)
    return np.from_dlpack(array) if len(array) else np.zeros(0, np.int64)


def known_rows(array: pa.Array) -> NDArray[np.bool_]:
    """Where the array has no nulls."""
    if not array.null_count:
        return np.ones(len(array), bool)
    return plain_numbers(array.is_valid().cast(pa.int8())).astype(bool)


def _shared(indices: pa.Array, pool: list[Any]) -> list[Any]:
    codes = plain_numbers(indices)
    if indices.null_count:
        codes = np.where(known_rows(indices), codes, len(pool))
    pool = [*pool, None]
    return [pool[code] for code in codes.tolist()]


def _numbers(array: pa.Array) -> list[Any]:
    encoded = pc.dictionary_encode(array)
    if len(encoded.dictionary) * 4 < len(array):
        return _shared(encoded.indices, encoded.dictionary.to_pylist())
    found: list[Any] = plain_numbers(array).tolist()
    if array.null_count:
        there = known_rows(array).tolist()
        return [value if known else None for value, known in zip(found, there, strict=True)]
    return found


def _parts(array: pa.Array, inner: list[Any]) -> list[Any]:
    """The inner values of each list of a list or map array; None for a null."""
    ends = plain_numbers(array.offsets).tolist()
    known = known_rows(array)
    return [
        inner[start:end] if there else None
        for start, end, there in zip(ends, ends[1:], known.tolist(), strict=False)
    ]


class Columns:
    """The columns of the trial rows as lists; what is missing in older stores is None."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._names = dict.fromkeys(table.column_names)
        self._empty: list[Any] = [None] * table.num_rows
        self._known: dict[str, list[Any]] = {}

    def __getitem__(self, name: str) -> list[Any]:
        if name not in self._names:
            return self._empty
        if name not in self._known:
            self._known[name] = values(self._table[name])
        return self._known[name]

    def names(self, prefix: str) -> list[str]:
        """The columns of a family."""
        return [name for name in self._names if name.startswith(prefix)]

    def text(self, name: str) -> list[str]:
        """Texts; empty for a null."""
        return [value or "" for value in self[name]]

    def whole(self, name: str) -> list[int]:
        """Whole numbers; 0 for a null."""
        return [int(value or 0) for value in self[name]]

    def numbers(self, name: str) -> list[float]:
        """Numbers; NaN for a null."""
        return [math.nan if value is None else float(value) for value in self[name]]

    def tuples(self, name: str) -> list[tuple[Any, ...]]:
        """Lists as tuples; () for a null."""
        return [tuple(value or ()) for value in self[name]]

    def dicts(self, name: str) -> list[dict[str, str]]:
        """Maps; {} for a null."""
        return [value or {} for value in self[name]]

    def family(self, prefix: str) -> list[dict[str, Any]]:
        """For each row what it has of a family of columns, by their names without the prefix."""
        names = self.names(prefix)
        keys = [name.removeprefix(prefix) for name in names]
        if not names:
            return [{} for _ in self._empty]
        rows = zip(*(self[name] for name in names), strict=True)
        return [
            {key: value for key, value in zip(keys, row, strict=True) if value is not None}
            for row in rows
        ]
