"""Work that is repeated beside a run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def every(seconds: float, work: Callable[[], object]) -> Iterator[None]:
    """Call `work` every so many seconds in a thread while the block runs.

    Args:
        seconds: between two calls; the first comes after one interval.
        work: must not raise.
    """
    stop = threading.Event()

    def repeat() -> None:
        while not stop.wait(seconds):
            work()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
