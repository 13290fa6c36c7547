"""One SQL query over the tables of a store, by DuckDB, which can reach nothing else."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from camsweep.shards.errors import InputError
from camsweep.sweeps.results import load_curves, load_epochs, load_images, load_trials
from camsweep.sweeps.store import TABLES, Store

Loader = Callable[[Store], pa.Table]
LOADERS: dict[str, Loader] = {
    "trials": load_trials,
    "epochs": load_epochs,
    "images": load_images,
    "curves": load_curves,
}
#: The query sees registered tables: no files, no network, no Python variables, no settings.
CLOSED = (
    "SET python_enable_replacements = false",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)


@dataclass(frozen=True)
class Answer:
    """What a query gave: names and whether numeric ``[K]``, ``rows [N][K]``."""

    columns: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: Sequence[tuple[Any, ...]]

    def texts(self) -> list[list[str]]:
        """Every value as text; nothing for a null, JSON for lists and maps."""
        return [[_text(value) for value in row] for row in self.rows]

    def csv(self) -> str:
        """As CSV with a header."""
        sink = io.StringIO()
        writer = csv.writer(sink, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.texts())
        return sink.getvalue()

    def json(self) -> str:
        """As a JSON list of one object a row; what is no number is null."""
        rows = [
            {name: plain(value) for name, value in zip(self.columns, row, strict=True)}
            for row in self.rows
        ]
        return json.dumps(rows, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def ask(store: Store, query: str) -> Answer:
    """The answer to one query over `trials`, `epochs`, `images` and `curves`.

    Only tables that the query names are read.

    Args:
        store: where.
        query: one SELECT in DuckDB's SQL.

    Raises:
        InputError: DuckDB is not installed, the query is wrong, or it is more than one SELECT.
    """
    try:
        import duckdb
    except ImportError:
        raise InputError(
            "`camsweep results sql` needs DuckDB; install it with: pip install 'camsweep[sql]'"
        ) from None
    with duckdb.connect(":memory:") as connection:
        try:
            statements = connection.extract_statements(query)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise InputError("the query must be one SELECT; results are never changed by SQL")
            for line in CLOSED:
                connection.execute(line)
            for name in _tables(connection, query):
                connection.register(name, LOADERS[name](store))
            found = connection.execute(statements[0])
            columns = tuple(entry[0] for entry in found.description)
            kinds = [str(entry[1]) for entry in found.description]
            rows = found.fetchall()
        except duckdb.Error as error:
            line = str(error).strip().splitlines()[0] if str(error).strip() else "wrong"
            raise InputError(f"the query can't be answered: {line}") from None
    numeric = tuple(any(word in kind.upper() for word in _NUMBERS) for kind in kinds)
    return Answer(_distinct(columns), numeric, rows)


_NUMBERS = ("NUMBER", "INT", "DOUBLE", "FLOAT", "DECIMAL")


def _tables(connection: Any, query: str) -> list[str]:
    """The store's tables that a query names; DuckDB itself tells of names that are none."""
    named = {name.lower() for name in connection.get_table_names(query)}
    return [name for name in TABLES if name in named]


def _distinct(columns: Sequence[str]) -> tuple[str, ...]:
    """Column names told apart, so that a JSON object keeps all of them."""
    found: list[str] = []
    for name in columns:
        number = 2
        new = name
        while new in found:
            new, number = f"{name}_{number}", number + 1
        found.append(new)
    return tuple(found)


def plain(value: Any) -> Any:
    """A value as JSON knows it: times and the like as text, what is no number as null."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | str):
        return str(value)
    found = plain(value)
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
