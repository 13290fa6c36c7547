"""Opening a large data set and planning an epoch of it, against reading its tar headers.

Run as ``python -m camsweep.platform.bench.opening HOW PLACE SPLIT``: opens it once in a fresh
process and prints the seconds that took and the most memory the process held, in MB.
"""

from __future__ import annotations

import io
import os
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from camsweep.platform.bench.fresh import numbers
from camsweep.platform.bench.rounds import alternate
from camsweep.platform.bench.table import Result, ratio, spread
from camsweep.shards.colours import colour_map
from camsweep.shards.digests import file_sha256
from camsweep.shards.epochs import epoch_order
from camsweep.shards.index import encode, scan_shard
from camsweep.shards.manifest import IndexEntry, find_split, load_manifest, sealed, write_manifest
from camsweep.shards.places import Place, as_place
from camsweep.shards.writing.writer import Source, SourceSample, build

SHARDS, SHARD_SAMPLES = 200, 500
SPLIT = "train"
CLASSES = 21

INDEX = "by the index"
HEADERS = "by the tar headers"


def run(data: Place | None, seconds: float, repeat: int) -> Result:
    """Measure both by turns; each lasts what it lasts, whatever ``seconds`` is."""
    with _place(data) as (place, split):
        count = find_split(place, load_manifest(place), split)
        memory: list[float] = []
        rounds = alternate(
            {
                INDEX: lambda: _opened("index", place, split, memory),
                HEADERS: lambda: _opened("headers", place, split, []),
            },
            repeat,
        )
        what = f"{count.count:,} samples in {len(count.shards)} shards"
    return Result(
        name="open",
        unit="seconds to open and to plan an epoch, in a new process",
        rounds=rounds,
        ratios=(ratio(rounds, HEADERS, INDEX),),
        notes=(
            f"{what}; for 100,000 samples in 200 shards the goal is under 1 s and 300 MB",
            f"by the index, the whole process holds {spread(memory).high:.0f} MB at most",
        ),
    )


@contextmanager
def _place(data: Place | None) -> Iterator[tuple[Place, str]]:
    if data is not None:
        yield data, next(iter(load_manifest(data).splits))
        return
    with TemporaryDirectory(prefix="camsweep-bench-") as scratch:
        place = as_place(Path(scratch) / "data")
        many_samples(Path(scratch) / "data", SHARDS, SHARD_SAMPLES)
        yield place, SPLIT


def _opened(how: str, place: Place, split: str, memory: list[float]) -> float:
    """Seconds; the megabytes are appended to ``memory``."""
    took, held = numbers("opening", how, place.url, split, what=f"opening {place}")
    memory.append(held)
    return took


def many_samples(folder: Path, shards: int, shard_samples: int) -> None:
    """Make a valid data set out of one shard: all shards are links to it, under their own keys.

    The keys in the tar files repeat, those of the index don't: enough for opening, not for
    reading.

    Args:
        folder: the new data folder.
        shards: how many, at least 1.
        shard_samples: samples in each.
    """
    samples = [partial(_sample, number) for number in range(shard_samples)]
    manifest = build(
        Source(
            name="many samples",
            source="camsweep bench",
            classes=("background", *(f"class {number}" for number in range(1, CLASSES))),
            colours=colour_map(CLASSES),
            settings={"shards": shards},
            splits={SPLIT: samples},
        ),
        folder,
        shard_samples=shard_samples,
        workers=1,
    )
    entry = manifest.splits[SPLIT].shards[0]
    first = folder / entry.file
    rows = scan_shard(first, 0, CLASSES)
    tables, entries = [], []
    for number in range(shards):
        name = f"{SPLIT}-{number:06d}.tar"
        if name != entry.file:
            os.link(first, folder / name)
        entries.append(entry.model_copy(update={"file": name}))
        tables.append(_renumbered(rows, number, shard_samples))
    index = folder / manifest.indexes[SPLIT].file
    index.write_bytes(encode(tables))
    split = manifest.splits[SPLIT].model_copy(
        update={"count": shards * shard_samples, "shards": tuple(entries)}
    )
    held = IndexEntry(file=index.name, bytes=index.stat().st_size, sha256=file_sha256(index))
    changed = {"splits": {SPLIT: split}, "indexes": {SPLIT: held}}
    write_manifest(folder, sealed(manifest.model_copy(update=changed)))


def _sample(number: int) -> SourceSample:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, format="JPEG")
    labels = (1 + number % (CLASSES - 1),)
    return SourceSample(f"{number:08d}", stream.getvalue(), None, labels, (8, 8), str(number))


def _renumbered(rows, number: int, samples: int):  # type: ignore[no-untyped-def]
    """The rows of another shard: its number, and keys of its own."""
    import pyarrow as pa

    keys = [f"{number * samples + sample:08d}" for sample in range(samples)]
    changed = {"key": pa.array(keys), "shard": pa.array([number] * samples, pa.int32())}
    for name, values in changed.items():
        rows = rows.set_column(rows.column_names.index(name), name, values)
    return rows


def by_index(place: Place, split: str) -> int:
    """Open the split as everybody does; how many samples the epoch has."""
    from camsweep.shards.reader import open_split

    return len(epoch_order(len(open_split(place, split)), 0, 0))


def by_headers(place: Place, split: str) -> int:
    """Learn the samples' keys from the tar files, as readers without an index have to."""
    keys: set[str] = set()
    count = 0
    for shard in find_split(place, load_manifest(place), split).shards:
        with tarfile.open(place.fetch(shard.file, shard.bytes, shard.sha256), "r:") as tar:
            found = {member.name.partition(".")[0] for member in tar}
        count += len(found)
        keys |= found
    assert len(keys) <= count
    return len(epoch_order(count, 0, 0))


def peak_megabytes() -> float:
    """The most memory that this process has held (not its parent's, as ``ru_maxrss`` may be)."""
    status = Path("/proc/self/status").read_text("ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


if __name__ == "__main__":
    way: Callable[[Place, str], int] = by_index if sys.argv[1] == "index" else by_headers
    begun = time.perf_counter()
    way(as_place(sys.argv[2]), sys.argv[3])
    print(time.perf_counter() - begun, peak_megabytes())
