"""Verifying data: all of them, or their digests alone at the start of a run."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from camsweep.shards.checks import Checked, Checker
from camsweep.shards.digests import shard_problems
from camsweep.shards.errors import InputError
from camsweep.shards.manifest import Manifest, load_manifest
from camsweep.shards.opening import damaged_samples
from camsweep.shards.places import Place, as_place
from camsweep.shards.superpixels.checking import side_set_problems

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Report:
    """What ``verify`` found: samples looked at, and one line a problem."""

    samples: int
    problems: list[str]


def check_digests(
    root: Place | Path | str, splits: Iterable[str], *, raise_: bool = True
) -> list[str]:
    """Compare the shards of some splits with the manifest; for a run's start.

    Of local shards the SHA-256 is compared, of remote ones the size: fetching compares theirs.

    Args:
        root: the data folder or URL.
        splits: names of splits.
        raise_: whether a difference is an error; else the caller says it.

    Returns:
        One line a shard that differs; it names the samples that are damaged.

    Raises:
        InputError: no data there, no such split, or with ``raise_`` a shard that differs.
    """
    place = as_place(root)
    manifest = load_manifest(place)
    found = [
        (split, number, line)
        for split in splits
        for number, line in shard_problems(place, manifest, split).items()
    ]
    # An error names the samples of the first shard alone: remote ones are fetched for it.
    problems = [
        line + damaged_samples(place, manifest, split, number)
        for split, number, line in (found[:1] if raise_ else found)
    ]
    if problems and raise_:
        more = len(found) - 1
        end = f" (and {more} more shard{'s' if more > 1 else ''})" if more else ""
        raise InputError(problems[0] + end)
    return problems


def verify(
    root: Place | Path | str, on_progress: Progress | None = None, *, workers: int = 1
) -> Report:
    """Check all of a data set.

    Every shard's size and SHA-256; every sample: its members lie side by side and are what the
    index says (place, CRC-32, labels, size), image, mask and superpixels decode, their sizes agree
    with each other and with the JSON, mask values and labels lie in the class list, no key comes
    twice, and, where the data were built with labels from the masks, the labels are the classes of
    the mask. Of the superpixels' side sets beside the shards: every label map, and their SHA-256.

    Args:
        root: the data folder or URL; remote shards are fetched into the node's cache.
        on_progress: called with (split, samples done, samples in the split) after each shard.
        workers: processes; each checks whole shards.

    Returns:
        The number of samples looked at and the problems, each one line with shard and sample.

    Raises:
        InputError: there is no readable manifest.
    """
    place = as_place(root)
    manifest = load_manifest(place)
    checker = Checker(place, manifest)
    problems = [line for split in manifest.splits for line in checker.index_problems(split)]
    results: dict[tuple[str, int], Checked] = {}
    done = dict.fromkeys(manifest.splits, 0)
    for split, number, result in _results(checker, workers):
        results[split, number] = result
        done[split] += len(result.keys)
        if on_progress is not None:
            on_progress(split, done[split], manifest.splits[split].count)
    for name, split_entry in manifest.splits.items():
        seen: set[str] = set()
        for number, shard in enumerate(split_entry.shards):
            result = results[name, number]
            problems += result.problems
            problems += [
                f"{place.name(shard.file)}, sample {key}: key comes twice in '{name}'"
                for key in result.keys
                if key in seen
            ]
            seen.update(result.keys)
        if done[name] != split_entry.count:
            problems.append(
                f"{place}: split '{name}' holds {done[name]} samples, "
                f"its manifest says {split_entry.count}"
            )
    problems += side_set_problems(place, manifest.digest, checker.indexes)
    return Report(sum(done.values()), problems)


def _results(checker: Checker, workers: int) -> Iterator[tuple[str, int, Checked]]:
    """The result of every shard, in no order."""
    splits = checker.manifest.splits
    tasks = [(name, number) for name in splits for number in range(len(splits[name].shards))]
    if min(workers, len(tasks)) <= 1:
        for name, number in tasks:
            yield name, number, checker.shard(name, number)
        return
    # Not forked: the caller may hold threads (a progress bar) and connections.
    pool = ProcessPoolExecutor(
        min(workers, len(tasks)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(checker.place, checker.manifest),
    )
    try:
        futures = {pool.submit(_work, name, number): (name, number) for name, number in tasks}
        for future in as_completed(futures):
            yield (*futures[future], future.result())
    except BrokenProcessPool:
        raise InputError(
            f"{checker.place}: a process that checked shards has died (out of memory?); "
            "fewer workers need less"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


_checker: Checker | None = None


def _start(place: Place, manifest: Manifest) -> None:
    global _checker
    # Ctrl-C reaches all processes of a terminal: the first one tells the others to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _checker = Checker(place, manifest)


def _work(split: str, number: int) -> Checked:
    assert _checker is not None
    return _checker.shard(split, number)
