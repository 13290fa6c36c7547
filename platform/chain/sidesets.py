"""A picture for each image of a split, in shards of the store: maps, pseudo masks, predictions.

The shards are webdataset's: `KEY.png` under the keys of the data set's own shards, so that both can
be read side by side. A shard is written whole, and one that is there is not made again; the set is
there once its facts are. Nothing in it depends on when, where or by how many it was made.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from camsweep.methods.team import Team
from camsweep.shards.decoding import decode_mask
from camsweep.shards.errors import DamagedSample, InputError
from camsweep.shards.reader import SplitReader
from camsweep.sweeps.pictures import FACTS
from camsweep.sweeps.results import artefact_name
from camsweep.sweeps.store import Store

FORMAT = 1
#: Images a shard, at least: what an interruption costs, and what a team's ranks are dealt.
SHARD = 64

#: Shards that a process holds open: COCO's are more than the files that a process may have.
OPEN = 64

INDEX = pa.schema(
    [
        ("key", pa.string()),
        ("shard", pa.int32()),
        ("start", pa.int64()),
        ("length", pa.int64()),
        ("crc", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Facts:
    """What a set is.

    Attributes:
        what: `maps`, `labels`, `masks` or `predictions`.
        split: of the data set.
        data_digest: of the data set.
        images: how many pictures it has; images that could not be read have none.
        shards: how many files.
        digest: SHA-256 of the names, the lengths and the bytes of all pictures.
        seconds: what making it took; of one that was interrupted, from when it was gone on with.
        quality: metrics against the masks, where the split has them: fractions 0..1.
        format: of these files.
    """

    what: str
    split: str
    data_digest: str
    images: int
    shards: int
    digest: str
    seconds: float
    quality: dict[str, float]
    format: int = FORMAT


@dataclass(frozen=True)
class Target:
    """Where a set is, or is to be.

    Attributes:
        store: the store.
        stage_id: the stage whose artefact it is; a folder of the store's `artefacts`.
        what: see `Facts`.
        split: of the data set.
    """

    store: Store
    stage_id: str
    what: str
    split: str

    def name(self, file: str) -> str:
        """The relative name of one of its files."""
        return artefact_name(self.stage_id, f"{self.what}-{self.split}/{file}")

    def shard(self, number: int) -> str:
        """The relative name of a shard."""
        return self.name(f"{number:05d}.tar")

    def facts(self) -> Facts | None:
        """What is known of the set; None where it is not whole.

        Raises:
            InputError: a newer camsweep wrote it.
        """
        name = self.name(FACTS)
        if not self.store.exists(name):
            return None
        values: dict[str, Any] = json.loads(self.store.read(name))
        if values["format"] > FORMAT:
            raise InputError(
                f"{self.store}/{name}: format {values['format']}, this version knows {FORMAT}; "
                "use a newer camsweep"
            )
        return Facts(**values)


class SideSet:
    """The pictures of a whole set by the images' index in their split. Picklable."""

    def __init__(self, target: Target, reader: SplitReader, *, indexed: bool = False) -> None:
        """Open a set.

        Args:
            target: where it is.
            reader: of its split.
            indexed: open what has its index and no facts yet.

        Raises:
            InputError: it is not there, or damaged.
        """
        if not indexed and target.facts() is None:
            raise InputError(f"{target.store}/{target.name('')}: is not there; run the trial again")
        self.target, self.keys = target, reader.keys

    @cached_property
    def _rows(self) -> dict[str, tuple[int, int, int, int]]:
        table = self.target.store.read_table(self.target.name("index.arrow"))
        columns = [table[name].to_pylist() for name in INDEX.names]
        return {key: tuple(row) for key, *row in zip(*columns, strict=True)}

    @cached_property
    def _files(self) -> OrderedDict[int, Any]:
        return OrderedDict()

    def __len__(self) -> int:
        return len(self.keys)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state.pop("_files", None)  # each process opens its own
        return state

    @property
    def lacking(self) -> list[str]:
        """Keys of the images that have no picture, as they could not be read."""
        return [key for key in self.keys if key not in self._rows]

    def read(self, index: int) -> bytes:
        """The file of one picture.

        Raises:
            DamagedSample: it has none, or its bytes have changed.
        """
        key = self.keys[index]
        where = f"{self.target.store}/{self.target.name(key)}"
        row = self._rows.get(key)
        if row is None:
            raise DamagedSample(f"{where}: has no picture, as its image could not be read")
        shard, start, length, crc = row
        content: bytes = self._file(shard).read_at(length, start)
        if zlib.crc32(content) != crc:
            raise DamagedSample(f"{where}: its bytes have changed; delete the set and run again")
        return content

    def picture(self, index: int) -> npt.NDArray[np.uint8]:
        """One picture of 8 bits, grey or of class indices, uint8 [H, W], read-only.

        Raises:
            DamagedSample: as ``read``, or it is none.
        """
        return decode_mask(self.read(index), self.target.name(self.keys[index]))

    def _file(self, shard: int) -> Any:
        """An open shard. Threads may open one twice, which does no harm."""
        file = self._files.get(shard)
        if file is None:
            file = self._files[shard] = self.target.store.open(self.target.shard(shard))
            if len(self._files) > OPEN:
                self._files.popitem(last=False)  # closed once nobody reads from it
        return file


def ensure_set(
    target: Target, make: Callable[[Callable[[], None]], Facts], on_wait: Callable[[], object]
) -> Facts:
    """The set: found, or made by one process while the others wait for it.

    Args:
        target: where.
        make: called where it is not there, with what to call before it is published
            (`Store.lock`).
        on_wait: called now and then while another process makes it.
    """
    found = target.facts()
    if found is not None:
        return found
    name = f"{target.stage_id}-{target.what}-{target.split}"
    with target.store.lock(name, on_wait) as require:
        return target.facts() or make(require)


#: Makes the picture of an image; None where the image can't be read and is left out.
Make = Callable[[int], bytes | None]


def unasked() -> None:
    """For ranks that hold no lock: nothing is asked before they write."""


def write_share(
    target: Target,
    keys: Sequence[str],
    shards: Sequence[Sequence[int]],
    team: Team,
    make: Make,
    require: Callable[[], None] = unasked,
) -> None:
    """Write the shards that are this process's and not there yet.

    Args:
        target: where.
        keys: of all images of the split.
        shards: indices of the images of each shard, the same on every rank.
        team: whose ranks divide the shards.
        make: called once for each image.
        require: called before each shard is written. Whoever slept through the end of its lease
            must not put its bytes in the place of those that another has indexed.
    """
    for number in range(team.rank, len(shards), team.world):
        if not target.store.exists(target.shard(number)):
            found = [(keys[i], make(i)) for i in shards[number]]
            require()
            write_shard(target, number, found)


def write_shard(target: Target, number: int, pictures: Iterable[tuple[str, bytes | None]]) -> None:
    """Write one shard, whole or not at all."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for key, content in pictures:
            if content is not None:
                member = tarfile.TarInfo(f"{key}.png")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    target.store.write(target.shard(number), stream.getvalue())


def publish(
    target: Target,
    data_digest: str,
    shards: int,
    seconds: float,
    quality: Callable[[], dict[str, float]] = dict,
) -> Facts:
    """Make the set whole, once all its shards are there: its index, then its facts.

    Args:
        target: where.
        data_digest: of the data set.
        shards: how many there are.
        seconds: what making them took.
        quality: called between both, see `Facts`.
    """
    table = indexed(target, shards)
    target.store.write_table(target.name("index.arrow"), table)
    digest = hashlib.sha256()
    for name in ("key", "length", "crc"):
        digest.update("\n".join(map(str, table[name].to_pylist())).encode())
    facts = Facts(
        target.what,
        target.split,
        data_digest,
        table.num_rows,
        shards,
        digest.hexdigest(),
        round(seconds, 3),
        quality(),
    )
    target.store.write(target.name(FACTS), json.dumps(asdict(facts), indent=1).encode())
    return facts


def indexed(target: Target, shards: int) -> pa.Table:
    """Where each picture lies; every shard is read once."""
    rows: list[tuple[str, int, int, int, int]] = []
    for number in range(shards):
        content = target.store.read(target.shard(number))
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for member in archive:
                start, end = member.offset_data, member.offset_data + member.size
                crc = zlib.crc32(content[start:end])
                key = member.name.removesuffix(".png")
                rows.append((key, number, start, member.size, crc))
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(INDEX)
    arrays = [pa.array(c, field.type) for c, field in zip(columns, INDEX, strict=True)]
    return pa.table(arrays, schema=INDEX)


def shards_of(groups: Sequence[Sequence[int]]) -> list[list[list[int]]]:
    """Groups of images that run together, dealt to shards of at least `SHARD` images in order."""
    shards: list[list[list[int]]] = []
    size = SHARD
    for group in groups:
        if size >= SHARD:
            shards.append([])
            size = 0
        shards[-1].append(list(group))
        size += len(group)
    return shards
