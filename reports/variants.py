"""The variants of many trials: all settings but the seed as canonical JSON, quickly."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from camsweep.reports.rows import Columns, known_rows, plain_numbers, values

#: How a variant is written.
CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
#: Codes of several columns are told by one number of 64 bits, as long as they fit.
LARGEST = 2**63 - 1
#: A setting with so many values varies from row to row.
MANY = 16


def _as_json(value: Any) -> str:
    """A config's value as `CANONICAL` writes it."""
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return repr(value)
    return CANONICAL.encode(value)


def configs(table: pa.Table) -> tuple[list[dict[str, Any]], list[str]]:
    """The settings of each row but the seed, without nulls, and the same as `CANONICAL` JSON.

    Rows that differ only in settings of many values, a search's, are made after one pattern. What
    is made once is shared: equal values are mostly one object.
    """
    names = [n for n in table.column_names if n.startswith("config.") and n != "config.seed"]
    codes = {name: _codes(table[name]) for name in names}
    many = {name for name in names if int(codes[name].max(initial=0)) >= MANY}
    there = [[v is not None for v in values(table[name])] for name in sorted(many)]
    few = [codes[name] for name in names if name not in many]
    rows = np.zeros(table.num_rows, np.int64)
    first, place = _numbered([rows, *few, *(np.array(known, np.int64) for known in there)])
    kinds = Columns(table.take(_indices(first)))
    varying = {name: values(table[name]) for name in many}
    patterns = [
        _Pattern({n: kinds[n][kind] for n in names if kinds[n][kind] is not None}, many)
        for kind in range(len(first))
    ]
    texts = {name: _written(name, column) for name, column in varying.items()}
    made = [patterns[kind] for kind in place.tolist()]
    return (
        [pattern.config(varying, row) for row, pattern in enumerate(made)],
        [pattern.text(texts, row) for row, pattern in enumerate(made)],
    )


class _Pattern:
    """What rows have in common that have the same values, and nulls in the same varying columns."""

    def __init__(self, columns: Mapping[str, Any], varying: Collection[str]) -> None:
        self._config = {name.removeprefix("config."): value for name, value in columns.items()}
        self._varying = [(n, n.removeprefix("config.")) for n in columns if n in varying]
        # Between commas what is the same, one piece as long as can be; empty where it varies.
        self._pieces: list[str] = []
        self._places: list[tuple[int, str]] = []
        for varies, some in groupby(sorted(columns), lambda name: name in varying):
            if varies:
                for name in some:
                    self._places.append((len(self._pieces), name))
                    self._pieces.append("")
            else:
                told = (_written(name, [columns[name]])[0] for name in some)
                self._pieces.append(",".join(told))

    def config(self, varying: Mapping[str, Sequence[Any]], row: int) -> dict[str, Any]:
        """The settings of a row."""
        found = self._config.copy()
        for column, name in self._varying:
            found[name] = varying[column][row]
        return found

    def text(self, texts: Mapping[str, Sequence[str]], row: int) -> str:
        """The same as JSON, without the braces."""
        pieces = self._pieces.copy()
        for place, column in self._places:
            pieces[place] = texts[column][row]
        return ",".join(pieces)


def _written(column: str, found: Sequence[Any]) -> list[str]:
    """`"name":value` of each value of a config's column, written once for each object."""
    key = CANONICAL.encode(column.removeprefix("config."))
    places = list(map(id, found))
    texts = {
        one: f"{key}:{_as_json(value)}"
        for one, value in dict(zip(places, found, strict=True)).items()
    }
    return [texts[one] for one in places]


def variants(configs: Sequence[str], methods: Sequence[str], recipes: Sequence[str]) -> list[str]:
    """`load.variant_key` of each row; ``configs`` as `configs` writes them."""
    heads = {value: CANONICAL.encode(value) for value in {*methods, *recipes}}
    return [
        f'{{"config":{{{config}}},"method":{heads[method]},"recipe":{heads[recipe]}}}'
        for config, method, recipe in zip(configs, methods, recipes, strict=True)
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
    return table.take(_indices(first)), inverse


def _indices(rows: NDArray[np.int64]) -> pa.Array:
    """Rows for `take` as an array of Arrow's own: numpy's would import pandas."""
    whole = np.ascontiguousarray(rows, np.int64)
    return pa.Array.from_buffers(pa.int64(), len(whole), [None, pa.py_buffer(whole)])


def _numbered(columns: Sequence[NDArray[np.int64]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The first of each kind of row ``[U]``, and which kind each row is ``[N]``.

    Args:
        columns: codes 0.. of each column ``[N]``, one column at least.
    """
    whole, size = np.zeros(len(columns[0]), np.int64), 1
    for codes in columns:
        values = int(codes.max(initial=0)) + 1
        if values == 1:
            continue
        if size * values > LARGEST:
            _, whole = np.unique(whole, return_inverse=True)
            size = int(whole.max(initial=0)) + 1
        whole, size = whole * values + codes, size * values
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
