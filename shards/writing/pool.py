"""Making shards: one by one in this process, or by several processes at once."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from camsweep.shards.digests import file_sha256
from camsweep.shards.errors import InputError
from camsweep.shards.index import scan_shard
from camsweep.shards.manifest import ShardEntry
from camsweep.shards.node.cores import usable_cores
from camsweep.shards.places import Place
from camsweep.shards.tarindex import tar_writer
from camsweep.shards.writing.members import members, name_of
from camsweep.shards.writing.staging import Finished, Staging
from camsweep.shards.writing.tasks import ShardTask

# Processes take some 3 s to start, mostly for imports; fewer samples are done by then.
FEW_SAMPLES = 1500
POLL_SECONDS = 0.2

Count = Callable[[int], None]
"""Called after each sample with the number of its split."""


@dataclass(frozen=True)
class Job:
    """Where finished shards go: the staging folder, and the target where they are sent at once."""

    staging: Staging
    upload_to: Place | None


class StoppedError(Exception):
    """Another shard has failed, so this one need not be finished."""


def make_shards(
    tasks: Sequence[ShardTask], job: Job, workers: int | None, splits: int, count: Count
) -> None:
    """Make all shards of ``tasks``; each one is in the staging folder or at the target when done.

    Args:
        tasks: in any order.
        job: where they go.
        workers: processes; 1 = this one. None = one a core, but this process for a data set that
            is small or whose loaders cannot be pickled.
        splits: number of splits.
        count: called in this process as samples get done.

    Raises:
        InputError: a sample is wrong, a shard cannot be written, or a process has died.
    """
    if workers is None:
        workers = _choose_workers(tasks)
    workers = min(workers, len(tasks))
    if workers > 1 and not _picklable(tasks):
        raise InputError(f"workers is {workers}; 1 is right for loaders that cannot be pickled")
    if workers > 1:
        _make_in_processes(tasks, job, workers, splits, count)
        return
    for task in tasks:
        _make(task, job, count, lambda: False)


def _choose_workers(tasks: Sequence[ShardTask]) -> int:
    samples = sum(len(task.loaders) for task in tasks)
    slow = any(task.superpixels.numbers for task in tasks)  # a tenth of a second each
    if samples < (FEW_SAMPLES // 30 if slow else FEW_SAMPLES) or not _picklable(tasks):
        return 1
    return usable_cores()


def _picklable(tasks: Sequence[ShardTask]) -> bool:
    try:
        for task in tasks:
            pickle.dumps(task.loaders[0])
    except Exception:  # pickle raises many kinds
        return False
    return True


def _make(task: ShardTask, job: Job, count: Count, stopped: Callable[[], bool]) -> None:
    """Write one shard under a temporary name, survey it, and hand it over whole."""
    partial = job.staging.partial / f"{task.file}.{os.getpid()}"
    try:
        _write(task, partial, count, stopped)
        rows = scan_shard(partial, task.number, task.classes, task.file)
        entry = ShardEntry(
            file=task.file,
            samples=len(task.loaders),
            bytes=partial.stat().st_size,
            sha256=file_sha256(partial),
        )
        if job.upload_to is not None:
            job.upload_to.upload(partial, task.file)
            partial.unlink()
        else:
            partial.replace(job.staging.data / task.file)
        job.staging.keep(
            Finished(stamp=task.stamp, entry=entry, uploaded=bool(job.upload_to)), rows
        )
    except OSError as error:
        where = error.filename or partial
        raise InputError(f"{where}: cannot be written ({error.strerror or error})") from None
    finally:
        partial.unlink(missing_ok=True)


def _write(task: ShardTask, path: Any, count: Count, stopped: Callable[[], bool]) -> None:
    seen: set[str] = set()
    with path.open("wb") as stream:
        with tar_writer(stream) as tar:
            for load in task.loaders:
                if stopped():
                    raise StoppedError
                sample = load()
                if sample.key in seen:
                    raise InputError(f"{name_of(sample)}: key {sample.key} twice in '{task.split}'")
                seen.add(sample.key)
                tar.write(members(sample, task.classes, task.palette, task.superpixels))
                count(task.split_number)
        stream.flush()
        os.fsync(stream.fileno())


def _make_in_processes(
    tasks: Sequence[ShardTask], job: Job, workers: int, splits: int, count: Count
) -> None:
    # Not fork: it would copy this process's memory, and locks that other threads hold.
    context = multiprocessing.get_context("spawn")
    counters, stop = context.Array("q", splits), context.Event()
    told = [0] * splits

    def tell() -> None:
        for number, done in enumerate(counters[:]):
            for _ in range(done - told[number]):
                count(number)
            told[number] = done

    pool = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_begin, initargs=(counters, stop)
    )
    try:
        waiting = {pool.submit(_make_here, task, job) for task in tasks}
        while waiting:
            finished, waiting = wait(waiting, POLL_SECONDS, return_when=FIRST_EXCEPTION)
            tell()
            # The first error that is no consequence of another one.
            for future in finished:
                future.result()
    except BrokenProcessPool:
        raise InputError(
            f"{job.staging.folder}: a process that made shards has died (out of memory?); the "
            "same command goes on with the finished shards, fewer --workers need less memory"
        ) from None
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def refuse_unguarded_script() -> None:
    """Refuse a build by a process that a build has only started (InputError).

    It would come from a script without a main guard, and wait for the build that waits for it.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise InputError(
            "build: called while a process starts; put the script's calls under "
            "`if __name__ == '__main__':`, or build with workers=1"
        )


class _Worker:
    """What a process that makes shards was started with."""

    counters: Any = None
    stop: Any = None


def _begin(counters: Any, stop: Any) -> None:
    _Worker.counters, _Worker.stop = counters, stop
    # Ctrl-C reaches all processes of a terminal: the first one tells the others to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process when the one that started it was killed: nobody waits for its work."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _make_here(task: ShardTask, job: Job) -> None:
    def count(split: int) -> None:
        with _Worker.counters.get_lock():
            _Worker.counters[split] += 1

    _make(task, job, count, _Worker.stop.is_set)
