"""Tables of a store as the bytes of Arrow IPC files."""

from __future__ import annotations

import pyarrow as pa

from camsweep.shards.errors import InputError
from camsweep.sweeps.tables import SCHEMA_VERSION

# Without threads of their own: a trial's tables are small, and many are read at once.
_WRITE = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)
_READ = pa.ipc.IpcReadOptions(use_threads=False)


def table_to_bytes(table: pa.Table) -> bytes:
    """The Arrow IPC file (zstd) of a table."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema, options=_WRITE) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def table_from_bytes(data: bytes, name: str) -> pa.Table:
    """The table of an Arrow IPC file.

    Args:
        data: the file.
        name: how error lines call it.

    Raises:
        InputError: it is not a whole Arrow file, or a newer camsweep wrote it.
    """
    try:
        reader = pa.ipc.open_file(pa.BufferReader(data), options=_READ)
        version = _version(reader.schema)
        if version > SCHEMA_VERSION:
            raise InputError(
                f"{name}: written by a newer camsweep (table format {version}, this one knows "
                f"{SCHEMA_VERSION}); use that version here, too"
            )
        return reader.read_all()
    except pa.ArrowInvalid as error:
        raise InputError(
            f"{name}: not a whole Arrow file ({error}); delete it and run again"
        ) from error


def _version(schema: pa.Schema) -> int:
    """The format of a table of the store, 0 where it does not tell."""
    told = (schema.metadata or {}).get(b"camsweep.schema", b"").decode("ascii", "replace")
    version = told.rpartition("/")[2]
    return int(version) if version.isdecimal() else 0
