"""Columns of an Arrow table as Python values, quickly: what repeats is made once and shared.

A store of ten thousand trials has a hundred columns, so a million values; asking Arrow for each
takes seconds.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


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
    plain: list[Any] = array.to_pylist()
    return plain


def _shared(indices: pa.Array, pool: list[Any]) -> list[Any]:
    pool = [*pool, None]
    return [pool[i] for i in indices.fill_null(len(pool) - 1).to_numpy().tolist()]


def _numbers(array: pa.Array) -> list[Any]:
    encoded = pc.dictionary_encode(array)
    if len(encoded.dictionary) * 4 < len(array):
        return _shared(encoded.indices, encoded.dictionary.to_pylist())
    if not array.null_count:
        found: list[Any] = array.to_numpy(zero_copy_only=False).tolist()
        return found
    missing = array.is_null().to_numpy(zero_copy_only=False)
    numbers = array.fill_null(0).to_numpy(zero_copy_only=False).astype(object)
    numbers[missing] = None
    plain: list[Any] = numbers.tolist()
    return plain


def _parts(array: pa.Array, inner: list[Any]) -> list[Any]:
    """The inner values of each list of a list or map array; None for a null."""
    ends = array.offsets.to_numpy().tolist()
    known = np.ones(len(array), bool)
    if array.null_count:
        known = array.is_valid().to_numpy(zero_copy_only=False)
    return [
        inner[start:end] if there else None
        for start, end, there in zip(ends, ends[1:], known.tolist(), strict=False)
    ]


class Columns:
    """The columns of the trial rows as lists; what is missing in older stores is None."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._empty: list[Any] = [None] * table.num_rows
        self._known: dict[str, list[Any]] = {}

    def __getitem__(self, name: str) -> list[Any]:
        if name not in self._table.column_names:
            return self._empty
        if name not in self._known:
            self._known[name] = values(self._table[name])
        return self._known[name]

    def names(self, prefix: str) -> list[str]:
        """The columns of a family."""
        return [name for name in self._table.column_names if name.startswith(prefix)]

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
