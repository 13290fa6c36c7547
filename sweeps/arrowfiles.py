"""Tables of a store as the bytes of Arrow IPC files."""

from __future__ import annotations

import pyarrow as pa

from camsweep.shards.errors import InputError
from camsweep.sweeps.tables import SCHEMA_VERSION

# Without threads of their own: a trial's tables are small, and many are read at once.
_WRITE = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)
_READ = pa.ipc.IpcReadOptions(use_threads=False)


class NewerError(InputError):
    """A file of a format that this version does not know.

    Attributes:
        version: the file's format.
    """

    def __init__(self, line: str, version: int) -> None:
        super().__init__(line)
        self.version = version


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
        InputError: it is not a whole Arrow file, or (`NewerError`) a newer camsweep wrote it.
    """
    try:
        reader = pa.ipc.open_file(pa.BufferReader(data), options=_READ)
        check_version(reader.schema, name, SCHEMA_VERSION)
        table = reader.read_all()
        table.validate(full=True)
    # There is no disk behind the bytes: an OSError is what a damaged compressed buffer gives.
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{name}: not a whole Arrow file ({error}); delete it and run again"
        ) from error
    return table


def check_version(schema: pa.Schema, name: str, known: int) -> None:
    """Check that a table of the store is of a format that this version knows.

    Args:
        schema: of the file.
        name: how the error line calls it.
        known: the highest format that this version knows.

    Raises:
        NewerError: it is of a higher one.
    """
    version = format_version(schema)
    if version > known:
        raise NewerError(
            f"{name}: written by a newer camsweep (table format {version}, this one knows "
            f"{known}); use that version here, too",
            version,
        )


def format_version(schema: pa.Schema) -> int:
    """The format of a table of the store, 0 where it does not tell."""
    told = (schema.metadata or {}).get(b"camsweep.schema", b"").decode("ascii", "replace")
    version = told.rpartition("/")[2]
    return int(version) if version.isdecimal() else 0
