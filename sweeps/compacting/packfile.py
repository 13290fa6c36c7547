"""The bytes of a pack: the rows of many trials in one Arrow IPC file, each found without the rest.

A pack is an ordinary Arrow file of the table's columns. Its record batches hold whole trials,
sorted by id; the schema's metadata says how many rows each trial has (`camsweep.pack`), so that one
trial costs one batch. Text that repeats (trial ids, image names) is dictionary-encoded. The format
number is above that of a trial's own files: a camsweep that knows no packs refuses them by name,
where it would else see only the trials that are still loose.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from camsweep.shards.errors import InputError
from camsweep.sweeps.arrowfiles import check_version
from camsweep.sweeps.tables import PACK_VERSION

#: A batch holds as many whole trials as fit into this many rows, one at least.
BATCH_ROWS = 16_384
#: A batch of `trials`, which has a hundred columns and one row a trial.
BATCH_TRIALS = 1_024
#: The column that says whose a row is, and the others whose text repeats.
OWNER = {"trials": "id", "epochs": "trial_id", "images": "trial_id", "curves": "trial_id"}
REPEATING = {"images": ("image",), "curves": ("map", "scale")}
INDEX = b"camsweep.pack"
_WRITE = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)


@dataclass(frozen=True)
class Spot:
    """Where a trial's rows are: the batch, the first row in it, how many."""

    batch: int
    start: int
    rows: int


@dataclass(frozen=True)
class Block:
    """Rows of some trials: a table in memory, and where each trial's are in it."""

    table: pa.Table
    spots: tuple[tuple[str, Spot], ...]


class Pack:
    """An open pack.

    Attributes:
        spots: where each of its trials is, in the order of ids.
        schema: of its table.
    """

    def __init__(self, table: str, name: str, source: pa.NativeFile) -> None:
        """Open a pack.

        Args:
            table: which of the store's tables it is of.
            name: how error lines call it.
            source: its bytes, for random access.

        Raises:
            InputError: it is damaged, or a newer camsweep wrote it.
        """
        self.table, self.name = table, name
        self._source = source
        try:
            self._reader = pa.ipc.open_file(source)
            self.schema: pa.Schema = self._reader.schema
            check_version(self.schema, name, PACK_VERSION)
            index = json.loads((self.schema.metadata or {})[INDEX])
            rows = [[int(n) for n in batch] for batch in index["rows"]]
            self.spots: Mapping[str, Spot] = dict(zip(self._ids(), _spots(rows), strict=True))
        except (pa.ArrowException, OSError, ValueError, LookupError, TypeError) as error:
            raise damaged(name, error) from error

    @property
    def batches(self) -> int:
        """How many record batches there are."""
        return int(self._reader.num_record_batches)

    def _ids(self) -> list[str]:
        owner = self.schema.get_field_index(OWNER[self.table])
        options = pa.ipc.IpcReadOptions(included_fields=[owner], use_threads=False)
        reader = pa.ipc.open_file(self._source, options=options)
        if self.table != "trials":  # all ids are in the dictionary, also of trials without rows
            ids: list[str] = reader.get_batch(0).column(0).dictionary.to_pylist()
            return ids
        batches = range(reader.num_record_batches)
        return [i for n in batches for i in reader.get_batch(n).column(0).to_pylist()]

    def blocks(self, ids: Sequence[str]) -> Iterator[Block]:
        """The rows of trials that are in it, a record batch at a time.

        Raises:
            InputError: it is damaged.
        """
        by_batch: dict[int, list[tuple[str, Spot]]] = {}
        for trial_id in ids:
            spot = self.spots[trial_id]
            by_batch.setdefault(spot.batch, []).append((trial_id, spot))
        for number, found in sorted(by_batch.items()):
            yield Block(self.batch(number), tuple(found))

    def batch(self, number: int) -> pa.Table:
        """A record batch as a table.

        Raises:
            InputError: it is damaged.
        """
        try:
            table = pa.Table.from_batches([self._reader.get_batch(number)])
            table.validate()
        except (pa.ArrowException, OSError) as error:
            raise damaged(self.name, error) from error
        return table


def damaged(name: str, error: Exception) -> InputError:
    """The error of a pack that can't be read."""
    return InputError(
        f"{name}: not a whole pack of `camsweep results compact` ({error}); "
        "restore it from a backup, or delete it and run its trials again"
    )


def _spots(rows: Sequence[Sequence[int]]) -> Iterator[Spot]:
    for batch, counts in enumerate(rows):
        starts = accumulate(counts, initial=0)
        yield from (Spot(batch, start, n) for start, n in zip(starts, counts, strict=False))


def encode(table: str, parts: Mapping[str, pa.Table]) -> bytes:
    """The bytes of a pack.

    Args:
        table: which of the store's tables.
        parts: each trial's rows, by id; their schemas must agree (`agreeing`).

    Raises:
        pa.ArrowException: schemas that don't agree.
        ValueError: no trials, or what comes back from the bytes is not what went in.
    """
    if not parts:
        raise ValueError("a pack has one trial at least")
    ids = sorted(parts)
    whole = pa.concat_tables([parts[i] for i in ids], promote_options="permissive")
    counts = [parts[i].num_rows for i in ids]
    batches = _batches(counts, BATCH_TRIALS if table == "trials" else BATCH_ROWS)
    if table != "trials":
        index = pa.array(np.repeat(np.arange(len(ids), dtype=np.int32), counts))
        owners = pa.DictionaryArray.from_arrays(index, pa.array(ids, pa.string()))
        whole = _with(whole, OWNER[table], owners)
    for column in REPEATING.get(table, ()):
        whole = _with(whole, column, _sorted_dictionary(whole[column]))
    facts = {"rows": batches}
    metadata = {
        b"camsweep.schema": f"{table}/{PACK_VERSION}".encode(),
        INDEX: json.dumps(facts, separators=(",", ":")).encode(),
    }
    whole = whole.replace_schema_metadata(metadata).combine_chunks()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, whole.schema, options=_WRITE) as writer:
        start = 0
        for batch in batches:
            rows = whole.slice(start, sum(batch))
            writer.write_batch(_one_batch(rows))
            start += sum(batch)
    data = sink.getvalue()
    _check(data, whole)
    content: bytes = data.to_pybytes()
    return content


def _check(data: pa.Buffer, whole: pa.Table) -> None:
    """Whether the bytes give the table back: the files it came from are deleted on their word."""
    back = pa.ipc.open_file(pa.BufferReader(data)).read_all()
    plain = [_comparable(table) for table in (back, whole)]
    if not plain[0].equals(plain[1]):
        raise ValueError("a pack does not hold what was put in; nothing was deleted")


def _comparable(table: pa.Table) -> pa.Table:
    """The table with its floats as bits, as NaN is not equal to itself."""
    for place, field in enumerate(table.schema):
        if pa.types.is_float64(field.type):
            bits = [chunk.view(pa.int64()) for chunk in table.column(place).chunks]
            table = table.set_column(place, field.name, pa.chunked_array(bits, pa.int64()))
    return table


def _batches(counts: Sequence[int], limit: int) -> list[list[int]]:
    batches: list[list[int]] = [[]]
    filled = 0
    for count in counts:
        # Trials without rows count too, so that no batch holds thousands of them.
        if batches[-1] and (filled + count > limit or len(batches[-1]) >= limit):
            batches.append([])
            filled = 0
        batches[-1].append(count)
        filled += count
    return batches


def _with(table: pa.Table, column: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(column), column, values)


def _sorted_dictionary(column: pa.ChunkedArray) -> pa.DictionaryArray:
    encoded = column.combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = pa.concat_arrays(encoded.chunks)
    if not pa.types.is_dictionary(encoded.type):
        encoded = pc.dictionary_encode(encoded)
    order = pc.sort_indices(encoded.dictionary)
    place = np.empty(len(order), dtype=np.int32)
    place[order.to_numpy()] = np.arange(len(order), dtype=np.int32)
    indices = pc.take(pa.array(place), encoded.indices)
    return pa.DictionaryArray.from_arrays(indices, pc.take(encoded.dictionary, order))


def _one_batch(rows: pa.Table) -> pa.RecordBatch:
    batches = rows.to_batches()
    if len(batches) == 1:
        return batches[0]
    arrays = [column.combine_chunks() for column in rows.columns]
    arrays = [a.chunk(0) if isinstance(a, pa.ChunkedArray) else a for a in arrays]
    return pa.RecordBatch.from_arrays(arrays, schema=rows.schema)


def decoded(table: pa.Table) -> pa.Table:
    """The table with plain text in place of dictionaries, as a trial's own file has it."""
    for place, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            plain = table.column(place).cast(field.type.value_type)
            table = table.set_column(place, field.name, plain)
    return table
