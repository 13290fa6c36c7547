"""Computing side sets: chunks of images over threads, kept until all of them are there."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import tarfile
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from camsweep.shards.errors import DamagedSample, InputError
from camsweep.shards.places.files import write_whole
from camsweep.shards.reader import SplitReader
from camsweep.shards.superpixels.facts import Facts, Wanted
from camsweep.shards.superpixels.labelmaps import encode_labels
from camsweep.shards.superpixels.rows import Rows, encode_rows
from camsweep.shards.superpixels.slic import segment

CHUNK = 32  # images; what an interruption costs each thread at most
DECIDING = ("scikit-image", "numpy", "pillow")
BLOCK = 512

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Work:
    """What is to be made, and from what.

    Attributes:
        reader: of the split.
        sets: the side sets that are missing, of this split.
        folder: where their files go.
        skip_damaged: leave out images that cannot be read.
        chunk: images that are kept at once.
    """

    reader: SplitReader
    sets: tuple[Wanted, ...]
    folder: Path
    skip_damaged: bool
    chunk: int = field(default_factory=lambda: CHUNK)

    def __len__(self) -> int:
        """Number of chunks."""
        return -(-len(self.reader) // self.chunk)

    def images(self, chunk: int) -> range:
        """The images of a chunk."""
        return range(len(self.reader))[chunk * self.chunk : (chunk + 1) * self.chunk]

    def parts(self, wanted: Wanted) -> Path:
        """The folder of a set's finished chunks; other versions and sizes have another."""
        facts = json.dumps([_versions(), self.chunk]).encode()
        digest = hashlib.sha256(facts).hexdigest()[:8]
        return self.folder / f".{wanted.stem}-{digest}.parts"


def compute(work: Work, workers: int, on_progress: Progress | None) -> None:
    """Make the files of all sets, decoding each image once; finished chunks are not made again.

    The caller holds the locks of the sets.

    Args:
        work: what to make.
        workers: threads. SLIC does nearly all of its work without the interpreter's lock.
        on_progress: called with (what, images done, images in all).

    Raises:
        DamagedSample: an image cannot be read.
        InputError: the folder cannot be written.
    """
    numbers = ",".join(str(wanted.s_n) for wanted in work.sets)
    what = f"superpixels {numbers} {work.reader.split}"
    total = len(work.reader)
    try:
        for wanted in work.sets:
            work.parts(wanted).mkdir(parents=True, exist_ok=True)
        left = [chunk for chunk in range(len(work)) if not _finished(work, chunk)]
        done = total - sum(len(work.images(chunk)) for chunk in left)
        for count in _run(work, left, workers):
            done += count
            if on_progress is not None:
                on_progress(what, done, total)
        for wanted in work.sets:
            _assemble(work, wanted, workers)
    except OSError as error:
        raise InputError(f"{work.folder}: cannot be written ({error.strerror or error})") from None


def _run(work: Work, left: list[int], workers: int) -> Iterator[int]:
    """The images that have become done, as chunks (with one worker, images) are finished."""
    if workers <= 1:
        for chunk in left:
            yield from _segment_chunk(work, chunk)
        return
    pool = ThreadPoolExecutor(min(workers, max(1, len(left))))
    try:
        futures = [pool.submit(lambda c: sum(_segment_chunk(work, c)), chunk) for chunk in left]
        for future in as_completed(futures):
            yield future.result()
    finally:
        # Chunks that were begun are finished, and kept.
        pool.shutdown(cancel_futures=True)


def _segment_chunk(work: Work, chunk: int) -> Iterator[int]:
    """Segment the images of a chunk for all sets; 1 after each image."""
    tars: list[list[bytes]] = [[] for _ in work.sets]
    rows: list[list[tuple[float, ...]]] = [[] for _ in work.sets]
    for index in work.images(chunk):
        try:
            image = work.reader.image(index)
        except DamagedSample:
            if not work.skip_damaged:
                raise
            for found in rows:
                found.append((0, 0, -1, 0, 0.0))
            yield 1
            continue
        for wanted, tar, found in zip(work.sets, tars, rows, strict=True):
            started = time.perf_counter()
            labels = segment(image, wanted.s_n, wanted.compactness, wanted.scaling)
            seconds = time.perf_counter() - started
            png = encode_labels(labels)
            offset = sum(map(len, tar)) + BLOCK
            tar += [
                _header(f"{work.reader.keys[index]}.png", len(png)),
                png,
                bytes(-len(png) % BLOCK),
            ]
            found.append((int(labels.max()), offset, len(png), zlib.crc32(png), seconds))
        yield 1
    for wanted, tar, found in zip(work.sets, tars, rows, strict=True):
        base = work.parts(wanted) / f"{chunk:06d}"
        write_whole(base.with_suffix(".tar"), b"".join(tar))
        # The rows come last: with them the chunk is finished.
        write_whole(base.with_suffix(".json"), json.dumps(found).encode())


def _header(name: str, size: int) -> bytes:
    facts = tarfile.TarInfo(name)
    facts.size, facts.mode = size, 0o444
    return facts.tobuf(tarfile.PAX_FORMAT)  # one block, more for a long name


def _finished(work: Work, chunk: int) -> bool:
    """Whether an earlier run has made all of a chunk.

    One without some images, which were damaged then, is made anew: the data may be repaired by
    now, and a run that leaves nothing out has to meet the damage itself.
    """
    for wanted in work.sets:
        try:
            rows = json.loads((work.parts(wanted) / f"{chunk:06d}.json").read_bytes())
        except FileNotFoundError:
            return False
        if any(length < 0 for _, _, length, _, _ in rows):
            return False
    return True


def _assemble(work: Work, wanted: Wanted, workers: int) -> None:
    """Join the chunks of a set into its files, and remove them."""
    parts, base = work.parts(wanted), work.folder / wanted.stem
    columns: list[list[Any]] = []
    digest, size = hashlib.sha256(), 0
    temporary = work.folder / f".{wanted.stem}.{uuid.uuid4().hex}.tmp"
    try:
        with temporary.open("wb") as stream:
            for chunk in range(len(work)):
                found = json.loads((parts / f"{chunk:06d}.json").read_bytes())
                columns += [[row[0], row[1] + size, *row[2:]] for row in found]
                content = (parts / f"{chunk:06d}.tar").read_bytes()
                stream.write(content)
                digest.update(content)
                size += len(content)
            stream.write(bytes(2 * BLOCK))
            digest.update(bytes(2 * BLOCK))
            stream.flush()
            os.fsync(stream.fileno())  # on the disk before the JSON that says it is whole
        temporary.replace(_with(base, "tar"))
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    segments, offset, length, crc32, seconds = (
        list(column) for column in zip(*columns, strict=True)
    )
    rows = Rows(
        np.array(segments, np.int64),
        np.array(offset, np.int64),
        np.array(length, np.int64),
        np.array(crc32, np.uint32),
    )
    index = encode_rows(rows)
    write_whole(_with(base, "arrow"), index)
    facts = Facts(
        wanted=wanted,
        images=int((rows.length >= 0).sum()),
        superpixels=int(rows.segments.sum()),
        seconds=round(sum(seconds), 3),
        workers=workers,
        versions=_versions(),
        bytes=size + 2 * BLOCK,
        sha256=digest.hexdigest(),
        index_sha256=hashlib.sha256(index).hexdigest(),
    )
    write_whole(_with(base, "json"), facts.model_dump_json(indent=1).encode())
    for old in work.folder.glob(f".{wanted.stem}-*.parts"):  # those of other versions, too
        shutil.rmtree(old, ignore_errors=True)


def _with(base: Path, kind: str) -> Path:
    return base.with_name(f"{base.name}.{kind}")


@functools.cache
def _versions() -> dict[str, str]:
    return {name: version(name) for name in DECIDING}
