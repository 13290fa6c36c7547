"""What a build has to make: one task a shard, each with a stamp of all it is made of."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from camsweep.shards.errors import InputError
from camsweep.shards.manifest import Manifest, ShardEntry, Split, canonical_json
from camsweep.shards.writing.members import Loader, Source, Superpixels, check_key, palette

LAYOUT = 1  # raise whenever equal samples would give other shards


@dataclass(frozen=True)
class ShardTask:
    """One shard to make.

    Attributes:
        file: its name.
        split: its split's name.
        split_number: the place of that split among all, for progress.
        number: its place in the split, from 0.
        loaders: its samples.
        classes: number of classes.
        palette: of the masks' PNGs.
        superpixels: to store with each image.
        stamp: changes with everything the shard is made of; empty = cannot be told.
    """

    file: str
    split: str
    split_number: int
    number: int
    loaders: tuple[Loader, ...]
    classes: int
    palette: bytes
    superpixels: Superpixels
    stamp: str


def plan(source: Source, shard_samples: int, superpixels: Superpixels) -> list[ShardTask]:
    """The shards that a source becomes.

    Raises:
        InputError: a split is empty or has a name that no file can have.
    """
    tasks = []
    for split_number, (split, loaders) in enumerate(source.splits.items()):
        check_key(split, f"split of {source.name}")
        if not loaders:
            raise InputError(f"split '{split}' of {source.name} has no samples")
        for number, start in enumerate(range(0, len(loaders), shard_samples)):
            part = tuple(loaders[start : start + shard_samples])
            tasks.append(
                ShardTask(
                    file=f"{split}-{number:06d}.tar",
                    split=split,
                    split_number=split_number,
                    number=number,
                    loaders=part,
                    classes=len(source.classes),
                    palette=palette(source.colours),
                    superpixels=superpixels,
                    stamp=_stamp(part, source, superpixels),
                )
            )
    return tasks


def _stamp(loaders: Sequence[Loader], source: Source, superpixels: Superpixels) -> str:
    """Names everything a shard is made of; empty where a loader cannot tell."""
    stamps = [getattr(load, "stamp", None) for load in loaders]
    if None in stamps:
        return ""
    packages = ["camsweep", "pillow", *(["scikit-image"] if superpixels.numbers else [])]
    parts = [
        str(LAYOUT),
        *(f"{package} {version(package)}" for package in packages),
        repr((source.classes, source.colours, superpixels)),
        canonical_json(dict(source.settings)).decode(),
        *(stamp() for stamp in stamps if stamp is not None),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def splits_of(
    tasks: Sequence[ShardTask], made: Mapping[str, ShardEntry] | None = None
) -> dict[str, Split]:
    """The splits of the manifest.

    Args:
        tasks: all shards.
        made: entries of those that are made, by file; others get no size and no digest.
    """
    shards: dict[str, list[ShardEntry]] = {}
    for task in tasks:
        planned = ShardEntry(file=task.file, samples=len(task.loaders), bytes=0, sha256=64 * "0")
        shards.setdefault(task.split, []).append((made or {}).get(task.file, planned))
    return {
        split: Split(count=sum(entry.samples for entry in own), shards=tuple(own))
        for split, own in shards.items()
    }


def fingerprint(expected: Manifest, tasks: Sequence[ShardTask]) -> str:
    """Names what a build makes, before it is made; empty where that cannot be told."""
    if not all(task.stamp for task in tasks):
        return ""
    content = expected.model_dump(mode="json", exclude={"digest"})
    stamps = "".join(task.stamp for task in tasks)
    return hashlib.sha256(canonical_json(content) + stamps.encode()).hexdigest()
