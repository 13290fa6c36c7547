"""Numbers of a variant from its rows alone, for places that no one looks at closely."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy.special import stdtrit

from camsweep.reports.load import Trial
from camsweep.reports.measure import Estimate


@lru_cache(maxsize=256)
def _student(seeds: int) -> float:
    return float(stdtrit(seeds - 1, 0.975))


def row_points(trials: Sequence[Trial], metric: str) -> tuple[tuple[int, ...], list[float]]:
    """The seeds whose row has the metric, and their numbers; NaN is none."""
    known = [(t.seed, t.metrics[metric]) for t in trials if metric in t.metrics]
    known = [(seed, value) for seed, value in known if not math.isnan(value)]
    return tuple(seed for seed, _ in known), [value for _, value in known]


def light(trials: Sequence[Trial], metric: str) -> Estimate | None:
    """Mean and Student's 95 % interval over seeds; None where no row has the metric.

    The numbers that a `Measurements` without counts gives, but no draws: thousands are made in no
    time, and they can't be compared with others draw by draw.
    """
    seeds, points = row_points(trials, metric)
    if not points:
        return None
    number = len(points)
    mean = sum(points) / number
    low = high = math.nan
    if number > 1:
        variance = sum((p - mean) ** 2 for p in points) / (number - 1)
        half = _student(number) * math.sqrt(variance / number)
        low, high = mean - half, mean + half
    array = np.array(points)
    return Estimate(mean, low, high, seeds, 0, array, array[:, None], np.array([mean]))
