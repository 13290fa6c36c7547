"""The tables of a store as Parquet or CSV files, written whole, in an order that never differs."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc_csv
import pyarrow.parquet as pq

from camsweep.shards.errors import InputError, nearest
from camsweep.sweeps.compacting.listing import Listing, reading
from camsweep.sweeps.compacting.reading import Files
from camsweep.sweeps.query import plain
from camsweep.sweeps.results import load_curves, load_epochs, load_images, load_trials
from camsweep.sweeps.store import TABLES, Store
from camsweep.sweeps.tables import CURVE, EPOCH, IMAGE, TRIAL

FORMATS = ("parquet", "csv")
#: Trials whose rows are in memory at a time.
CHUNK = 256
FIRST = {"trials": TRIAL, "epochs": EPOCH, "images": IMAGE, "curves": CURVE}
SORTED = {
    "epochs": ("trial_id", "epoch"),
    "images": ("trial_id", "image", "class"),
    "curves": ("trial_id", "map", "scale", "threshold", "class"),
}
LOADERS = {"epochs": load_epochs, "images": load_images, "curves": load_curves}

OnProgress = Callable[[str, int, int], None]


def parse_tables(text: str | None) -> tuple[str, ...]:
    """``"trials,images"`` as names; all without.

    Raises:
        InputError: no table of that name.
    """
    names = tuple(part.strip() for part in (text or ",".join(TABLES)).split(",") if part.strip())
    for name in names:
        if name not in TABLES:
            raise InputError(f"--table {name}: not a table{nearest(name, TABLES)}")
    if not names:
        raise InputError(f"--table: empty; one of: {', '.join(TABLES)}")
    return tuple(dict.fromkeys(names))


def export_tables(
    store: Store,
    out: Path,
    form: str,
    tables: Sequence[str] = TABLES,
    on_progress: OnProgress = lambda what, done, total: None,
) -> Iterator[tuple[Path, int]]:
    """Write tables, one file each; yields the file and its rows when one is written.

    Rows are sorted: by trial, then epoch, image, class, …. Fixed columns come first, then the
    families by name. Tables without rows give a file with a header alone.

    Args:
        store: where from.
        out: a folder, made where it is missing.
        form: of `FORMATS`.
        tables: of `TABLES`.
        on_progress: called with (table, trials done, trials in all).

    Raises:
        InputError: no such format, or a file of the store can't be read.
        OSError: the folder can't be written.
    """
    if form not in FORMATS:
        raise InputError(f"--format {form}: not a format{nearest(form, FORMATS)}")
    out.mkdir(parents=True, exist_ok=True)
    for name in tables:
        path = out / f"{name}.{form}"
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
        try:
            rows = _write(store, name, temporary, form, on_progress)
            temporary.replace(path)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        yield path, rows


def _write(store: Store, name: str, path: Path, form: str, on_progress: OnProgress) -> int:
    if name == "trials":
        table = load_trials(store)
        with _Sink(path, form, _ordered(table.schema, TRIAL)) as sink:
            return sink.write(table)
    ids = _ids(store, name)
    schema = _ordered(_schema(store, name, ids), FIRST[name])
    rows = 0
    with _Sink(path, form, schema) as sink:
        for start in range(0, len(ids), CHUNK):
            table = LOADERS[name](store, ids[start : start + CHUNK])
            rows += sink.write(table.sort_by([(key, "ascending") for key in SORTED[name]]))
            on_progress(name, min(len(ids), start + CHUNK), len(ids))
    return rows


def _ids(store: Store, table: str) -> list[str]:
    def look(listing: Listing) -> list[str]:
        files = Files(store, listing)
        return sorted({*files.loose(), *(i for _, mine in files.packed() for i in mine)})

    return reading(store, table, look)


def _schema(store: Store, table: str, ids: Sequence[str]) -> pa.Schema:
    """The columns that any trial has; only those of `epochs` differ between trials."""
    if table != "epochs":
        return FIRST[table]
    return load_epochs(store, ids).schema


def _ordered(schema: pa.Schema, first: pa.Schema) -> pa.Schema:
    """The fixed columns in their order, then all others by name."""
    more = sorted(set(schema.names) - set(first.names))
    kept = [schema.field(n) if n in schema.names else first.field(n) for n in first.names]
    return pa.schema([*kept, *(schema.field(n) for n in more)])


class _Sink:
    """A file that takes tables of one schema."""

    def __init__(self, path: Path, form: str, schema: pa.Schema) -> None:
        self._form = form
        self._schema = schema
        if form == "csv":
            flat = [pa.field(f.name, pa.string()) if _nested(f.type) else f for f in schema]
            self._writer: Any = pc_csv.CSVWriter(path, pa.schema(flat))
        else:
            self._writer = pq.ParquetWriter(path, schema, compression="zstd")

    def __enter__(self) -> _Sink:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def write(self, table: pa.Table) -> int:
        missing = [f for f in self._schema if f.name not in table.column_names]
        for field in missing:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
        table = table.select(self._schema.names).cast(self._schema)
        if self._form == "csv":
            table = _flat(table)
        self._writer.write_table(table)
        return int(table.num_rows)


def _nested(kind: pa.DataType) -> bool:
    return bool(pa.types.is_nested(kind))


def _flat(table: pa.Table) -> pa.Table:
    """Lists and maps as JSON."""
    for place, field in enumerate(table.schema):
        if _nested(field.type):
            told = [_json(value, field.type) for value in table.column(place).to_pylist()]
            table = table.set_column(place, field.name, pa.array(told, pa.string()))
    return table


def _json(value: Any, kind: pa.DataType) -> str | None:
    if value is None:
        return None
    given = dict(value) if pa.types.is_map(kind) else value
    return json.dumps(plain(given), ensure_ascii=False, allow_nan=False)
