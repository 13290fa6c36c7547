"""One pass over a split from front to back, through webdataset."""

from __future__ import annotations

import sys
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from camsweep.shards.decoding import Sample, decode_image, decode_mask
from camsweep.shards.epochs import check_rank
from camsweep.shards.errors import DamagedSample, InputError
from camsweep.shards.index import SplitIndex
from camsweep.shards.manifest import find_split, load_manifest, size_problems
from camsweep.shards.opening import damaged_samples, load_index
from camsweep.shards.places import Place, as_place
from camsweep.shards.shardfiles import ShardFiles, sample_problem
from camsweep.shards.tarindex import GONE_OR_DAMAGED


def stream(
    root: Place | Path | str, split: str, rank: int = 0, world: int = 1, *, strict: bool = True
) -> Iterable[Sample]:
    """Every sample of a split once, in stored order, read from front to back by webdataset.

    Whole shards are dealt to the ranks in turn, and to the workers of a DataLoader within a rank,
    so over all of them each sample comes exactly once, whatever their numbers; some may get none.
    Remote shards are fetched one by one. Each sample is compared with the index, so that nothing
    is lost or cut in silence.

    Args:
        root: the data folder or URL.
        split: a split's name.
        rank: this process, 0 to world-1.
        world: how many processes share the split.
        strict: whether a shard of the wrong size, or a missing one, is an error here. If not, the
            samples before the damage still come.

    Returns:
        A webdataset pipeline: each iteration is one pass, and it can be a DataLoader's data set.
        At the first sample that is damaged it raises DamagedSample; an InputError that names the
        sample where its shard cannot be reached or read now.

    Raises:
        InputError: as ``open_split``.
    """
    import webdataset

    check_rank(rank, world)
    place = as_place(root)
    manifest = load_manifest(place)
    shards = find_split(place, manifest, split).shards
    problems = size_problems(place, shards)
    dealt = range(len(shards))[rank::world]
    for number in dealt:
        if strict and number in problems:
            raise InputError(problems[number] + damaged_samples(place, manifest, split, number))
    index = load_index(place, manifest, split)
    return webdataset.DataPipeline(partial(_samples, ShardFiles(place, shards), index, dealt))


def _samples(files: ShardFiles, index: SplitIndex, dealt: range) -> Iterator[Sample]:
    worker, workers = _worker()
    for number in dealt[worker::workers]:
        yield from _shard(files, index, number)


def _worker() -> tuple[int, int]:
    """Which worker of a DataLoader this process is, and of how many; (0, 1) outside of one.

    webdataset's own splitters believe variables such as ``RANK`` and ``WORKER`` first, which a
    cluster may set for its own ends: shards would be left out in silence.
    """
    data = sys.modules.get("torch.utils.data")
    info = data.get_worker_info() if data is not None else None
    return (info.id, info.num_workers) if info is not None else (0, 1)


def _shard(files: ShardFiles, index: SplitIndex, number: int) -> Iterator[Sample]:
    """The samples of one shard, in step with their rows of the index."""
    rows = (index.shards == number).nonzero()[0].tolist()
    done = 0
    try:
        raws = _raw_samples(files, number)
        for row in rows:
            raw = next(raws, None)
            if raw is None or not _as_indexed(raw, index, row):
                break
            yield _decode(raw, index, row, files.where(index, row))
            done += 1
        if done == len(rows) and next(raws, None) is None:
            return
    except (tarfile.TarError, ValueError):
        pass  # said below, better
    except (OSError, InputError) as error:
        if isinstance(error, DamagedSample) or not rows:
            raise
        if isinstance(error, InputError) or error.errno not in GONE_OR_DAMAGED:
            raise files.failure(index, rows[min(done, len(rows) - 1)], error) from None
    if rows:
        try:
            files.renewed(number)
        except InputError as error:
            raise files.failure(index, rows[min(done, len(rows) - 1)], error) from None
    yield from _by_index(files, index, number, rows[done:])


def _by_index(
    files: ShardFiles, index: SplitIndex, number: int, rows: list[int]
) -> Iterator[Sample]:
    """The rest of a shard that is not as it was written; ends in an error unless it was its copy.

    webdataset drops the sample before the damage too, and cannot say which one is damaged.
    """
    suspect = ShardFiles(files.place, files.shards, [number])
    for row in rows:
        members = [name for name in index.members if index.find(row, name) is not None]
        raw = {name: suspect.read(index, row, name) for name in members}
        yield _decode(raw, index, row, suspect.where(index, row))
    found = suspect.survey(number)
    all_rows = (index.shards == number).nonzero()[0].tolist()
    for row in all_rows:
        problem = sample_problem(found, index, row)
        if problem:
            raise DamagedSample(f"{files.where(index, row)}: {problem}; build the data again")
    if not found.problem and list(found.samples) == [index.keys[row] for row in all_rows]:
        return  # this node's copy was damaged, and is another one by now
    raise InputError(
        f"{files.name(number)}: holds other samples than its index, or has changed behind the "
        "last one; build or copy the data again"
    )


def _raw_samples(files: ShardFiles, number: int) -> Iterator[dict[str, Any]]:
    """The samples of a shard as webdataset groups them: extension -> bytes."""
    import webdataset

    samples: Iterator[dict[str, Any]] = webdataset.tariterators.tarfile_samples(
        iter([{"url": str(files.path(number))}])
    )
    return samples


def _as_indexed(raw: dict[str, Any], index: SplitIndex, row: int) -> bool:
    """Whether a raw sample is, bit for bit, the one that the index has."""
    held = {name: content for name, content in raw.items() if not name.startswith("__")}
    wanted = {name: index.find(row, name) for name in index.members}
    crcs = {name: member.crc32 for name, member in wanted.items() if member is not None}
    return raw["__key__"] == index.keys[row] and crcs == {
        name: zlib.crc32(content) for name, content in held.items()
    }


def _decode(raw: dict[str, Any], index: SplitIndex, row: int, where: str) -> Sample:
    mask = decode_mask(raw["mask.png"], where) if "mask.png" in raw else None
    return Sample(index.keys[row], decode_image(raw["jpg"], where), mask, index.labels(row))
