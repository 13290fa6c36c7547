"""Tables of numbers as CSV and JSON text."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from camsweep.reports.exhibit import Records

#: What spreadsheets take for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_text(records: Records) -> str:
    """Records as CSV by RFC 4180, with a heading; lists are joined by semicolons.

    A missing value and NaN are empty, numbers are written in full. Text that a spreadsheet would
    run as a formula has an apostrophe before it.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([csv_cell(name) for name in records.columns])
    for record in records.rows:
        writer.writerow([csv_cell(record.get(name)) for name in records.columns])
    return out.getvalue()


def csv_cell(value: Any) -> Any:
    """A value as it stands in a CSV file."""
    if isinstance(value, list | tuple):
        value = "; ".join("" if v is None else str(v) for v in value)
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, str) and value.lstrip(" ").startswith(_FORMULA):
        return "'" + value
    return value


def json_text(records: Iterable[Mapping[str, Any]]) -> str:
    """Records as indented JSON; NaN and infinity, which JSON does not know, are null."""
    rows = [{name: _json_value(value) for name, value in row.items()} for row in records]
    return json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _json_value(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list | tuple):
        return [_json_value(v) for v in value]
    return value
