"""Side sets: the superpixels of one split and one setting, in files beside the shards.

``superpixels/SPLIT-spS_N-HASH`` names three files: ``.tar`` (``KEY.png`` for every image, in the
split's order), ``.arrow`` (where each one lies, its CRC-32 and its number of superpixels) and
``.json`` (what they were computed from and with, how long it took, and the digests of the other
two). The JSON is written last: without it there is no set.
"""

from __future__ import annotations

import hashlib
import os
import time
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from camsweep.shards.errors import DamagedSample, InputError
from camsweep.shards.manifest import canonical_json
from camsweep.shards.places import Place, as_place
from camsweep.shards.places.cache import cache_folder

FOLDER = "superpixels"


class Wanted(BaseModel):
    """What decides the labels of a side set; its hash is part of the files' names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    split: str
    s_n: int
    compactness: float
    scaling: str

    @property
    def stem(self) -> str:
        """The files' name without its ending."""
        digest = hashlib.sha256(canonical_json(self.model_dump())).hexdigest()
        return f"{self.split}-sp{self.s_n}-{digest[:12]}"


class Facts(BaseModel):
    """The JSON of a side set.

    Attributes:
        wanted: what it was computed for; ``data`` is the digest of the data.
        images: label maps in it; fewer than the split has where images were damaged.
        superpixels: all of them together.
        seconds: what segmenting took, summed over the images (not divided by the workers).
        workers: threads that shared the work.
        versions: of the libraries that decide the labels.
        bytes: of the tar.
        sha256: of the tar.
        index_sha256: of the Arrow file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    wanted: Wanted
    images: int
    superpixels: int
    seconds: float
    workers: int
    versions: dict[str, str]
    bytes: int
    sha256: str
    index_sha256: str

    @property
    def digest(self) -> str:
        """Names the set: its settings and every label in it."""
        named = canonical_json({"wanted": self.wanted.model_dump(), "sha256": self.sha256})
        return hashlib.sha256(named).hexdigest()


@dataclass(frozen=True)
class Rows:
    """One row an image: superpixels, and where its label map lies; length -1 = there is none."""

    segments: NDArray[np.int64]
    offset: NDArray[np.int64]
    length: NDArray[np.int64]
    crc32: NDArray[np.uint32]


class SideSet:
    """The label maps of a side set as files' bytes. Picklable, safe under threads and forks."""

    def __init__(self, place: Place, facts: Facts, rows: Rows, keys: list[str]) -> None:
        self.place, self.facts, self.rows, self.keys = place, facts, rows, keys
        self._file: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("place", "facts", "rows", "keys")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            os.close(self._file)  # type: ignore[arg-type]

    @property
    def name(self) -> str:
        """The tar's full name, for people."""
        return self.place.name(_file(self.facts.wanted, "tar"))

    def where(self, index: int) -> str:
        """How error lines call a label map: the file, the key, and what helps."""
        return f"{self.name}, sample {self.keys[index]} (delete the file to compute it again)"

    def read(self, index: int) -> bytes:
        """The PNG of an image, compared with its CRC-32.

        Raises:
            DamagedSample: it has none, it cannot be read, or its bytes have changed.
        """
        length = int(self.rows.length[index])
        if length < 0:
            raise DamagedSample(f"{self.where(index)}: its image was damaged")
        try:
            content = os.pread(self._descriptor(), length, int(self.rows.offset[index]))
        except OSError as error:
            problem = f"cannot be read ({error.strerror or error})"
            raise DamagedSample(f"{self.where(index)}: {problem}") from None
        except InputError as error:
            problem = str(error).removeprefix(f"{self.name}: ")
            raise DamagedSample(f"{self.where(index)}: {problem}") from None
        if len(content) != length or zlib.crc32(content) != self.rows.crc32[index]:
            raise DamagedSample(f"{self.where(index)}: its superpixels have changed (CRC-32)")
        return content

    def content(self) -> bytes:
        """All of the tar.

        Raises:
            InputError: it cannot be fetched.
            OSError: it cannot be read.
        """
        return os.pread(self._descriptor(), self.facts.bytes, 0)

    def _descriptor(self) -> int:
        if self._file is None:
            file, facts = _file(self.facts.wanted, "tar"), self.facts
            if self.place.local is not None:
                path = self.place.local / file
            else:
                path = self.place.fetch(file, facts.bytes, facts.sha256)
            opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            if self._file is None:
                self._file = opened
            else:  # another thread was faster
                os.close(opened)
        return self._file


def load(place: Place, wanted: Wanted, keys: list[str]) -> SideSet | None:
    """A side set of a place; None where there is none, or one that is not whole.

    Args:
        place: where ``superpixels/`` lies.
        wanted: what decides its labels.
        keys: of the split, in its order.
    """
    try:
        facts = Facts.model_validate_json(place.read(_file(wanted, "json")))
        index = place.read(_file(wanted, "arrow"))
        if facts.wanted != wanted or hashlib.sha256(index).hexdigest() != facts.index_sha256:
            return None
        if place.size(_file(wanted, "tar")) != facts.bytes:
            return None
    except (OSError, ValidationError):
        return None
    rows = decode_rows(index)
    if len(rows.segments) != len(keys):
        return None
    if place.local is not None and place == as_place(cache_folder()):
        with suppress(OSError):
            os.utime(place.local / _file(wanted, "json"))
    return SideSet(place, facts, rows, keys)


def forget_old(folder: Path, days: float) -> None:
    """Delete the side sets of the cache folder that nobody has used for ``days``.

    Args:
        folder: the cache folder, whose sets ``load`` marks at every use; never a data folder.
        days: since the last use.
    """
    oldest = time.time() - 86400 * days
    for facts in (folder / FOLDER).glob("*.json"):
        with suppress(OSError):
            if facts.stat().st_mtime < oldest:
                # The JSON first: without it the others are no set.
                for kind in ("json", "arrow", "tar"):
                    facts.with_suffix(f".{kind}").unlink(missing_ok=True)


def copy_to(found: SideSet, place: Place) -> SideSet:
    """Copy a side set that lies on this machine to another place, its JSON last.

    Raises:
        InputError: the place cannot be written.
    """
    folder, wanted = found.place.local, found.facts.wanted
    assert folder is not None
    try:
        for kind in ("tar", "arrow", "json"):
            place.upload(folder / _file(wanted, kind), _file(wanted, kind))
    except OSError as error:
        name = place.name(FOLDER)
        raise InputError(f"{name}: cannot be written ({error.strerror or error})") from None
    return SideSet(place, found.facts, found.rows, found.keys)


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
    """What ``encode_rows`` wrote; its SHA-256 is checked before."""
    import pyarrow as pa

    table = pa.ipc.open_file(pa.BufferReader(content)).read_all()
    return Rows(**{name: table[name].to_numpy() for name in table.column_names})


def _file(wanted: Wanted, kind: str) -> str:
    return f"{FOLDER}/{wanted.stem}.{kind}"
