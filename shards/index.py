"""The index of a split: where each member of each sample lies, and the facts of its JSON.

One Arrow table a split, one row a sample in stored order, so that opening data reads neither tar
headers nor samples. Columns: ``key``, ``shard`` (number in the split), ``labels``, ``height``,
``width`` and for each member extension ``EXT.offset``, ``EXT.length`` (bytes) and ``EXT.crc32``,
null where a sample has no such member.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camsweep.shards.decoding import decode_facts
from camsweep.shards.errors import DamagedSample, InputError
from camsweep.shards.tarindex import Found, Member, survey

FIXED = ("key", "shard", "labels", "height", "width")


@dataclass(frozen=True)
class Column:
    """One member extension over a split: int64 [N] offset and length (-1 = absent), uint32 crc."""

    offset: NDArray[np.int64]
    length: NDArray[np.int64]
    crc32: NDArray[np.uint32]


@dataclass(frozen=True)
class SplitIndex:
    """The rows of an index as columns.

    Attributes:
        keys: the samples' names, in stored order.
        shards: int32 [N], the number of the shard that holds each.
        label_ends: int64 [N+1]; sample i has the labels ``label_values[ends[i]:ends[i + 1]]``.
        label_values: int16, class indices from 1, ascending within a sample.
        sizes: int64 [N, 2], (H, W).
        members: by extension.
    """

    keys: list[str]
    shards: NDArray[np.int32]
    label_ends: NDArray[np.int64]
    label_values: NDArray[np.int16]
    sizes: NDArray[np.int64]
    members: dict[str, Column]

    def __len__(self) -> int:
        return len(self.keys)

    def labels(self, index: int) -> tuple[int, ...]:
        """The labels of a sample, ascending."""
        start, end = self.label_ends[index], self.label_ends[index + 1]
        return tuple(self.label_values[start:end].tolist())

    def find(self, index: int, member: str) -> Member | None:
        """Where a member of a sample lies; None where it has none."""
        column = self.members.get(member)
        if column is None or column.length[index] < 0:
            return None
        return Member(
            int(column.offset[index]), int(column.length[index]), int(column.crc32[index])
        )


def scan_shard(path: Path, number: int, classes: int, name: str | None = None) -> Any:
    """Make a shard's rows of the index by reading all of it.

    Args:
        path: the shard on this machine.
        number: its place in the split, from 0.
        classes: length of the class list.
        name: what error lines call the shard; ``path`` where None.

    Returns:
        A ``pyarrow.Table``, one row a sample.

    Raises:
        DamagedSample: a sample is cut short, has no image or no JSON, its key comes twice, its
            members are interleaved with others or its JSON is wrong.
        InputError: the shard is cut short or broken between two samples; the line names the one
            before.
    """
    name = name or str(path)
    found = survey(path)
    facts = []
    with path.open("rb") as content:
        for key, sample in found.samples.items():
            where = f"{name}, sample {key}"
            if sample.problem:
                more = f" (its shard is {found.problem})" if found.problem else ""
                raise DamagedSample(f"{where}: {sample.problem}{more}; build the data again")
            member = sample.members["json"]
            content.seek(member.offset)
            facts.append(decode_facts(content.read(member.length), classes, where))
    if found.problem:
        raise InputError(f"{name}: {found.problem}; build the data again")
    return _table(found.samples, number, facts)


def _table(
    samples: dict[str, Found], number: int, facts: list[tuple[tuple[int, ...], tuple[int, int]]]
) -> Any:
    import pyarrow as pa

    columns = {
        "key": pa.array(list(samples), pa.string()),
        "shard": pa.array([number] * len(samples), pa.int32()),
        "labels": pa.array([labels for labels, _ in facts], pa.list_(pa.int16())),
        "height": pa.array([size[0] for _, size in facts], pa.int32()),
        "width": pa.array([size[1] for _, size in facts], pa.int32()),
    }
    for extension in sorted({name for sample in samples.values() for name in sample.members}):
        members = [sample.members.get(extension) for sample in samples.values()]
        for part, kind in (("offset", pa.int64()), ("length", pa.int64()), ("crc32", pa.uint32())):
            values = [None if member is None else getattr(member, part) for member in members]
            columns[f"{extension}.{part}"] = pa.array(values, kind)
    return pa.table(columns)


def encode(tables: Iterable[Any]) -> bytes:
    """The index of a split as a file's content: an Arrow IPC file with zstd compression.

    The same rows give the same bytes (with one version of pyarrow), however they are divided over
    the tables.

    Args:
        tables: from ``scan_shard``, in the order of the shards.

    Raises:
        InputError: a key comes twice.
    """
    import pyarrow as pa

    table = pa.concat_tables(list(tables), promote_options="default")
    members = sorted(set(table.column_names) - set(FIXED))
    table = table.select([*FIXED, *members]).combine_chunks()
    seen: set[str] = set()
    for key in table["key"].to_pylist():
        if key in seen:
            raise InputError(f"sample {key}: key comes twice in the split")
        seen.add(key)
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=max(1, len(table)))
    return bytes(sink.getvalue())


def decode(content: bytes, where: str = "index") -> SplitIndex:
    """Read what ``encode`` wrote.

    Args:
        content: the file's bytes.
        where: what error lines call it.

    Raises:
        InputError: it is no such file.
    """
    import pyarrow as pa

    try:
        table = pa.ipc.open_file(pa.BufferReader(content)).read_all()
        names = set(table.column_names) - set(FIXED)
        columns = {name: table[name].combine_chunks() for name in table.column_names}
        lists = columns["labels"]
        return SplitIndex(
            keys=columns["key"].to_pylist(),
            shards=_numbers(columns["shard"], np.int32),
            label_ends=_numbers(lists.offsets, np.int64),
            label_values=_numbers(lists.values, np.int16),
            sizes=np.stack(
                [_numbers(columns[side], np.int64) for side in ("height", "width")], axis=1
            ),
            members={
                extension: Column(
                    _numbers(columns[f"{extension}.offset"], np.int64),
                    _numbers(columns[f"{extension}.length"], np.int64),
                    _numbers(columns[f"{extension}.crc32"], np.uint32),
                )
                for extension in sorted({name.rpartition(".")[0] for name in names})
            },
        )
    except (pa.ArrowException, KeyError, ValueError, TypeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{where}: not an index ({first}); build the data again") from None


def _numbers(column: Any, dtype: Any) -> NDArray[Any]:
    """A column as numpy; absent members get -1 (0 where the type has no sign).

    Read from Arrow's buffers: its own conversion imports pandas, half of the time of an opening.
    """
    validity, values = column.buffers()
    first, count = column.offset, len(column)
    width = np.dtype(column.type.to_pandas_dtype())
    numbers = np.frombuffer(values, width, count, first * width.itemsize).astype(dtype)
    if column.null_count:
        bits = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")
        absent = bits[first : first + count] == 0
        numbers[absent] = 0 if np.issubdtype(dtype, np.unsignedinteger) else -1
    return numbers
