"""Fetching samples ahead of their use by threads, delivered in order.

Threads, not processes: Pillow decodes, resizes and filters without the interpreter's lock, so two
threads keep two cores busy, and what they make needs no copy into the process that wants it.
Measured against worker processes in docs/benchmarks/README.md.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from camsweep.shards.node.allocation import keep_freed_memory

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD_PER_WORKER = 4


def load(
    fetch: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int = 2,
    ahead: int | None = None,
) -> Generator[Result]:
    """``fetch(item)`` of every item, in the order of the items, fetched before it is asked for.

    The items are taken one by one in the consumer's thread, never more than ``ahead`` beyond the
    result that it holds, so that they may be endless and memory stays bounded. When the consumer
    stops early (``close()``, or the iterator is dropped), what was not begun is not fetched, and
    no thread outlives the iterator.

    Args:
        fetch: called by several threads at once where ``workers`` is above 1.
        items: what to fetch.
        workers: threads that fetch; 0 fetches in the consumer's thread, when it asks.
        ahead: results in the making or waiting, at most; by default four a worker.

    Yields:
        The results. An error of ``fetch``, or of ``items``, is raised where its result would have
        come, after all results before it, and ends the iterator.

    Raises:
        ValueError: ``workers`` below 0, or ``ahead`` below 1.
    """
    if workers < 0:
        raise ValueError(f"workers is {workers}; 0 or more is right")
    if ahead is not None and ahead < 1:
        raise ValueError(f"ahead is {ahead}; 1 or more is right")
    if workers == 0:
        return (fetch(item) for item in items)
    return _threaded(fetch, items, workers, ahead or AHEAD_PER_WORKER * workers)


def _threaded(
    fetch: Callable[[Item], Result], items: Iterable[Item], workers: int, ahead: int
) -> Generator[Result]:
    keep_freed_memory()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="camsweep-load")
    begun = _begin(pool, fetch, items)
    waiting: deque[Future[Result]] = deque()
    try:
        waiting.extend(islice(begun, ahead))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(islice(begun, 1))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(
    pool: ThreadPoolExecutor, fetch: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[Future[Result]]:
    """One future an item, begun when it is taken; a failure of ``items`` is the last future."""
    try:
        for item in items:
            yield pool.submit(fetch, item)
    except Exception as error:
        failed: Future[Result] = Future()
        failed.set_exception(error)
        yield failed
