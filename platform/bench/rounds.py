"""Measuring by turns: every round measures everything once, in an order that moves on."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Generator, Mapping

import numpy as np
from numpy.typing import NDArray

WARM = 64  # images delivered before the clock starts: more than any of the queues holds

Image = NDArray[np.uint8]


def alternate(
    measurements: Mapping[str, Callable[[], float]], repeat: int
) -> dict[str, tuple[float, ...]]:
    """Call every measurement once a round, each round beginning with the next one.

    The machine's mood changes within minutes: things measured by turns share it.

    Returns:
        By name, one value a round.
    """
    names = list(measurements)
    values: dict[str, list[float]] = {name: [] for name in names}
    for round_number in range(repeat):
        first = round_number % len(names)
        for name in names[first:] + names[:first]:
            values[name].append(measurements[name]())
    return {name: tuple(found) for name, found in values.items()}


def milliseconds(make: Callable[[], object], seconds: float) -> float:
    """What one call takes: the median of as many as fit into ``seconds``, at least one.

    A first call warms up and does not count.
    """
    make()
    costs: list[float] = []
    begun = time.perf_counter()
    while not costs or time.perf_counter() - begun < seconds:
        started = time.perf_counter()
        make()
        costs.append(1000 * (time.perf_counter() - started))
    return statistics.median(costs)


def rate(images: Generator[Image], seconds: float) -> float:
    """Images a second that an endless stream delivers, once it is under way.

    Every byte of every image is read, so that what is only mapped is fetched too.
    """
    try:
        for _ in range(WARM):
            touch(next(images))
        started = time.perf_counter()
        count, passed = 0, 0.0
        while passed < seconds or not count:
            touch(next(images))
            count += 1
            passed = time.perf_counter() - started
        return count / passed
    finally:
        images.close()


def touch(image: Image) -> int:
    """Read every byte of an image."""
    return int(image.max())
