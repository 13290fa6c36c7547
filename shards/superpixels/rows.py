"""The Arrow file of a side set: where each image's label map lies in the tar."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Rows:
    """One row an image: superpixels, and where its label map lies; length -1 = there is none."""

    segments: NDArray[np.int64]
    offset: NDArray[np.int64]
    length: NDArray[np.int64]
    crc32: NDArray[np.uint32]


def encode_rows(rows: Rows) -> bytes:
    """The rows as an Arrow IPC file; the same rows give the same bytes."""
    import pyarrow as pa

    table = pa.table({name: pa.array(column) for name, column in vars(rows).items()})
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=max(1, len(table)))
    return bytes(sink.getvalue())


def decode_rows(content: bytes) -> Rows:
    """What ``encode_rows`` wrote.

    Raises:
        ValueError: it is anything else.
    """
    import pyarrow as pa

    try:
        table = pa.ipc.open_file(pa.BufferReader(content)).read_all()
        columns = {field.name: table[field.name].to_numpy() for field in fields(Rows)}
    except (pa.ArrowException, KeyError, OSError) as error:
        raise ValueError(f"no rows of a side set ({error})") from None
    for name, column in columns.items():
        if column.dtype != (np.uint32 if name == "crc32" else np.int64):
            raise ValueError(f"column {name} is {column.dtype}")
    return Rows(**columns)
