"""Writing a data set as webdataset shards: all of it or nothing, going on where it was stopped."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from camsweep.shards.errors import InputError
from camsweep.shards.index import encode
from camsweep.shards.manifest import IndexEntry, Manifest, sealed
from camsweep.shards.places import Place, as_place
from camsweep.shards.superpixels.slic import COMPACTNESS, SCALING, check_settings
from camsweep.shards.writing.members import (
    IGNORE,
    Source,
    SourceSample,
    Superpixels,
    name_of,
)
from camsweep.shards.writing.pool import Job, make_shards, refuse_unguarded_script
from camsweep.shards.writing.publishing import (
    check_target,
    index_file,
    is_whole,
    publish,
    recall,
    remember,
    require_same,
)
from camsweep.shards.writing.staging import Staging, staging_for
from camsweep.shards.writing.tasks import ShardTask, fingerprint, plan, splits_of

__all__ = ["Source", "SourceSample", "build"]

Progress = Callable[[str, int, int], None]


def build(
    source: Source,
    out: Place | Path | str,
    *,
    shard_samples: int = 256,
    superpixels: Sequence[int] = (),
    scaling: str = SCALING,
    compactness: float = COMPACTNESS,
    workers: int | None = None,
    on_progress: Progress | None = None,
) -> Manifest:
    """Write a source as shards, one index a split and a manifest into ``out``.

    A local ``out`` is whole or absent: everything goes into ``.NAME.building`` beside it, which
    becomes ``out`` at the end. At a URL, shards are sent as they get done and the manifest, which
    makes them data, comes last. A build that was stopped or killed goes on with the finished
    shards when it is run again. Equal sources give byte-identical files, whatever ``workers`` is.

    Args:
        source: what to write.
        out: the new folder, or an ``s3://`` or ``gs://`` URL. It may exist when empty, or when it
            holds the same data: then it is left as it is, but files in it that are damaged or
            missing are replaced.
        shard_samples: samples a shard, at least 1.
        superpixels: numbers S_N whose SLIC labels are stored with each image.
        scaling: of their colours, ``modern`` or ``released``; see ``slic.segment``.
        compactness: their weight of space against colour.
        workers: processes that make shards; default one a core, or this one for small sources.
        on_progress: called with (split, samples done, samples in the split).

    Returns:
        The manifest written.

    Raises:
        InputError: a sample is wrong, ``out`` holds something else or cannot be written.
    """
    refuse_unguarded_script()
    place = as_place(out)
    place.require_writable()
    if shard_samples < 1 or (workers is not None and workers < 1):
        raise InputError(f"shard_samples is {shard_samples}, workers {workers}; 1 or more is right")
    wanted = Superpixels(tuple(sorted(set(superpixels))), float(compactness), scaling)
    for s_n in wanted.numbers:
        check_settings(s_n, compactness, scaling)
    tasks = plan(source, shard_samples, wanted)
    try:
        with staging_for(place) as staging:
            return _build(source, place, staging, tasks, wanted, workers, on_progress)
    except OSError as error:
        raise InputError(f"{place}: cannot be written ({error.strerror or error})") from None


def _build(
    source: Source,
    place: Place,
    staging: Staging,
    tasks: list[ShardTask],
    superpixels: Superpixels,
    workers: int | None,
    on_progress: Progress | None,
) -> Manifest:
    """Build under the lock; nothing else writes this target now."""
    expected = Manifest(
        name=source.name,
        source=source.source,
        classes=source.classes,
        colours=source.colours,
        ignore=IGNORE,
        splits=splits_of(tasks),
        superpixels=superpixels.numbers,
        settings=dict(source.settings) | superpixels.settings(),
    )
    name = fingerprint(expected, tasks)
    try:
        held = check_target(place, expected)
        if held and recall(name) == held.digest and is_whole(place, held):
            _tell_all(tasks, on_progress)
            staging.close()  # there only where a build was killed at its very end
            return held
        staging.open()
        staging.keep_only([task.file for task in tasks])
        # Data that a manifest describes are replaced only when the new ones are known to be equal.
        upload_to = place if place.local is None and held is None else None
        there = place.sizes() if upload_to is not None else None
        finished = {
            task.file for task in tasks if staging.holds(task.file, task.stamp, there or {})
        }
        to_make = [task for task in tasks if task.file not in finished]
        count = _counter(tasks, finished, on_progress)
        make_shards(to_make, Job(staging, upload_to), workers, len(source.splits), count)
        manifest, indexes = _describe(staging, tasks, expected)
        if held is not None:
            require_same(place, held, manifest)
        remember(name, manifest.digest)
        publish(place, staging, manifest, indexes, held)
        staging.close()
        return manifest
    finally:
        if staging.folder.exists() and not (name and staging.holds_any()):
            staging.close()  # nothing that the next build could go on with


def _tell_all(tasks: Sequence[ShardTask], on_progress: Progress | None) -> None:
    if on_progress is not None:
        for split, entry in splits_of(tasks).items():
            on_progress(split, entry.count, entry.count)


def _counter(
    tasks: Sequence[ShardTask], finished: set[str], on_progress: Progress | None
) -> Callable[[int], None]:
    """What counts the samples of each split, those of finished shards first."""
    names = list(dict.fromkeys(task.split for task in tasks))
    totals, done = [0] * len(names), [0] * len(names)
    for task in tasks:
        totals[task.split_number] += len(task.loaders)
        done[task.split_number] += len(task.loaders) * (task.file in finished)

    def count(split: int) -> None:
        done[split] += 1
        if on_progress is not None:
            on_progress(names[split], done[split], totals[split])

    for split, name in enumerate(names):
        if on_progress is not None and done[split]:
            on_progress(name, done[split], totals[split])
    return count


def _describe(
    staging: Staging, tasks: Sequence[ShardTask], expected: Manifest
) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest of the finished shards, and the content of the index files by name."""
    made = {task.file: staging.finished(task.file).entry for task in tasks}
    contents: dict[str, bytes] = {}
    entries: dict[str, IndexEntry] = {}
    for split in expected.splits:
        own = [task for task in tasks if task.split == split]
        rows = [staging.rows(task.file) for task in own]
        _refuse_twice(own, rows)
        file, content = index_file(split), encode(rows)
        contents[file] = content
        entries[split] = IndexEntry(
            file=file, bytes=len(content), sha256=hashlib.sha256(content).hexdigest()
        )
    changes = {"splits": splits_of(tasks, made), "indexes": entries}
    return sealed(expected.model_copy(update=changes)), contents


def _refuse_twice(tasks: Sequence[ShardTask], rows: Sequence[Any]) -> None:
    """Refuse a key that two shards of a split have; within one shard its maker has seen it."""
    seen: set[str] = set()
    for task, table in zip(tasks, rows, strict=True):
        for number, key in enumerate(table["key"].to_pylist()):
            if key in seen:
                where = name_of(task.loaders[number]())
                raise InputError(f"{where}: key {key} twice in '{task.split}'")
            seen.add(key)
