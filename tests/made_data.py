"""A small data set of random pictures, and the ways to damage it; shared by the tests of shards."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from camsweep.shards.colours import colour_map
from camsweep.shards.digests import file_sha256
from camsweep.shards.index import encode, scan_shard
from camsweep.shards.manifest import IndexEntry, load_manifest, write_manifest
from camsweep.shards.writing.writer import Source, SourceSample, build

SIZE = (24, 32)
Members = list[tuple[str, bytes]]


def make_sample(split: str, index: int, size: tuple[int, int] = SIZE) -> SourceSample:
    """Random pixels; classes 0, 1 and 2, the first row ignored."""
    rng = np.random.default_rng([index, len(split)])
    stream = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(stream, "JPEG")
    mask = rng.integers(0, 3, size, dtype=np.uint8)
    mask[0] = 255
    labels = tuple(sorted({int(value) for value in np.unique(mask[1:])} - {0}))
    return SourceSample(f"{split}_{index}", stream.getvalue(), mask, labels, size, "made")


def make_source(
    count: int = 10, size: tuple[int, int] = SIZE, splits: dict[str, int] | None = None
) -> Source:
    """A source of three classes, with one split ``train`` unless ``splits`` says otherwise."""
    return Source(
        name="made",
        source="made for a test",
        classes=("background", "cat", "dog"),
        colours=colour_map(3),
        settings={"labels": "masks"},
        splits={
            split: [partial(make_sample, split, index, size) for index in range(number)]
            for split, number in (splits or {"train": count}).items()
        },
    )


def made(folder: Path, count: int = 9, shard_samples: int = 4) -> Path:
    """A built data set with one split ``train``."""
    build(make_source(count), folder, shard_samples=shard_samples, workers=1)
    return folder


def edit_members(shard: Path, edit: Callable[[Members], Members]) -> None:
    """Write a tar file anew with other members."""
    with tarfile.open(shard) as tar:
        members = [(item.name, tar.extractfile(item).read()) for item in tar]  # type: ignore[union-attr]
    with tarfile.open(shard, "w") as tar:
        for name, content in edit(members):
            item = tarfile.TarInfo(name)
            item.size = len(content)
            tar.addfile(item, io.BytesIO(content))


def flip(path: Path, name: bytes, offset: int = 600) -> None:
    """Change one bit ``offset`` bytes behind where a member's header begins."""
    content = bytearray(path.read_bytes())
    content[content.index(name) + offset] ^= 0x40
    path.write_bytes(content)


def seal_again(root: Path, *, index: bool) -> None:
    """Make the manifest agree with its shards as they are now, with a new index or none."""
    manifest = load_manifest(root)
    splits, indexes = {}, {}
    for name, split in manifest.splits.items():
        shards = tuple(
            shard.model_copy(
                update={
                    "bytes": (root / shard.file).stat().st_size,
                    "sha256": file_sha256(root / shard.file),
                }
            )
            for shard in split.shards
        )
        splits[name] = split.model_copy(update={"shards": shards})
        if index:
            paths = [root / shard.file for shard in shards]
            content = encode(scan_shard(path, number, 3) for number, path in enumerate(paths))
            indexes[name] = put_index(root, name, content)
    write_manifest(root, manifest.model_copy(update={"splits": splits, "indexes": indexes}))


def put_index(root: Path, split: str, content: bytes) -> IndexEntry:
    """Write an index file."""
    file = f"{split}.index.arrow"
    (root / file).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return IndexEntry(file=file, bytes=len(content), sha256=digest)


def as_format_1(root: Path) -> None:
    """Turn a data set into what camsweep wrote before there were indexes."""
    manifest = load_manifest(root)
    for entry in manifest.indexes.values():
        (root / entry.file).unlink()
    write_manifest(root, manifest.model_copy(update={"format": 1, "indexes": {}}))


def die(*_: object) -> None:
    """End a process as the system ends one that takes too much memory."""
    os._exit(137)
