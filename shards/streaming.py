"""One pass over a split from front to back, through webdataset."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import webdataset

from camsweep.shards.decoding import Sample, decode_facts, decode_image, decode_mask
from camsweep.shards.errors import InputError
from camsweep.shards.manifest import ShardEntry, find_split, load_manifest, shard_path


def stream(root: Path, split: str, rank: int = 0, world: int = 1) -> Iterator[Sample]:
    """Every sample of a split once, in stored order, read from front to back by webdataset.

    Whole shards are dealt to the ranks in turn (and to the workers of a DataLoader within a
    rank), so over all ranks each sample comes exactly once; their numbers may differ.

    Args:
        root: the data folder.
        split: a split's name.
        rank: this process, 0 to world-1.
        world: how many processes share the split.

    Raises:
        InputError: as ``open_split``.
    """
    root = Path(root)
    check_rank(rank, world)
    manifest = load_manifest(root)
    shards = find_split(root, manifest, split).shards[rank::world]
    for shard in shards:
        shard_path(root, shard)
    return _stream(root, shards, len(manifest.classes))


def _stream(root: Path, shards: tuple[ShardEntry, ...], classes: int) -> Iterator[Sample]:
    urls = [str((root / shard.file).absolute()) for shard in shards]
    if not urls:
        return
    # The ranks are dealt above: webdataset's own node splitter would read environment variables.
    data = webdataset.WebDataset(
        urls,
        shardshuffle=False,
        nodesplitter=lambda source: source,
        workersplitter=webdataset.split_by_worker,
        empty_check=False,
    )
    done: dict[str, int] = dict.fromkeys(urls, 0)
    iterator = iter(data)
    while True:
        try:
            raw = next(iterator, None)
        except (tarfile.TarError, OSError, ValueError) as error:
            raise InputError(
                f"{root}: a shard is damaged ({error}); run `camsweep shards verify {root}`"
            ) from None
        if raw is None:
            break
        where = f"{raw['__url__']}, sample {raw['__key__']}"
        done[raw["__url__"]] += 1
        yield _decode_sample(raw, classes, where)
    _check_complete(shards, urls, done)


def _check_complete(shards: tuple[ShardEntry, ...], urls: list[str], done: dict[str, int]) -> None:
    for shard, url in zip(shards, urls, strict=True):
        # A shard of which nothing came belongs to another DataLoader worker.
        if done[url] not in (0, shard.samples):
            raise InputError(
                f"{url}: {done[url]} samples read, its manifest says {shard.samples}; "
                "build the data again"
            )


def _decode_sample(raw: dict[str, Any], classes: int, where: str) -> Sample:
    for member in ("jpg", "json"):
        if member not in raw:
            raise InputError(f"{where}: no .{member}; build the data again")
    labels, _ = decode_facts(raw["json"], classes, where)
    mask = decode_mask(raw["mask.png"], where) if "mask.png" in raw else None
    return Sample(raw["__key__"], decode_image(raw["jpg"], where), mask, labels)


def check_rank(rank: int, world: int) -> None:
    """Refuse a rank outside 0..world-1 (InputError)."""
    if not 0 <= rank < world:
        raise InputError(f"rank {rank} of {world} processes; 0..{world - 1} is right")
