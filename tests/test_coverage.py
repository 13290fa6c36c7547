"""How often the 95 % intervals hold the truth, over simulated trainings and images.

Images have classes of very different areas, an ease of their own that all networks share, and a
part that each network finds differently; trainings differ by their seed. The truth is the mean over
seeds on 30,000 images.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from camsweep.reports.counted import miou
from camsweep.reports.statistics import (
    image_weights,
    leave_one_out,
    resample,
    seed_weights,
    two_level,
)

LEVELS = np.array([0.85, 0.6, 0.5, 0.65])
Images = tuple[np.ndarray, np.ndarray, np.ndarray]


def images_of(rng: np.random.Generator, number: int) -> Images:
    """Areas, ease and how much is wrongly added, each [I, C]."""
    shape = (number, len(LEVELS))
    area = rng.lognormal(6, 0.8, shape) * (rng.random(shape) < 0.35)
    area[:, 0] = rng.lognormal(8, 0.3, number)
    return area, rng.normal(0, 0.15, shape), rng.lognormal(0, 0.6, shape)


def counts_of(rng: np.random.Generator, images: Images, better: float, own: float) -> np.ndarray:
    """Counts [I, C, 3] of a network that is ``better`` everywhere, and differs by ``own`` noise."""
    area, ease, added = images
    part = np.clip(LEVELS + better + ease + rng.normal(0, own, area.shape), 0.01, 0.99)
    return np.stack([area * part, area * (1 - part) * added, area * (1 - part)], axis=-1)


def truth(noise: float, own: float, better: float = 0.0) -> float:
    """The mean over seeds of the metric on the population."""
    rng = np.random.default_rng(99)
    world = images_of(rng, 30_000)
    nodes, weights = np.polynomial.hermite_e.hermegauss(7)
    values = [
        float(miou(counts_of(rng, world, better + noise * z, own).sum(axis=0))) for z in nodes
    ]
    return float(np.dot(weights / weights.sum(), values))


def covered(
    seeds: int, images: int, noise: float, own: float, gain: float | None, runs: int
) -> float:
    """The share of intervals that hold the truth: of a mean, or of a paired difference of two."""
    rng = np.random.default_rng(1)
    real = truth(noise, own)
    if gain is not None:
        real = truth(noise, own, gain) - real
    hits = 0
    for _ in range(runs):
        world = images_of(rng, images)
        weights = image_weights(rng, images, 400)
        parts = []
        for better, sign in ((0.0, 1.0),) if gain is None else ((gain, 1.0), (0.0, -1.0)):
            effects = rng.normal(better, noise, seeds)
            found = [counts_of(rng, world, effect, own) for effect in effects]
            points = np.array([float(miou(c.sum(axis=0))) for c in found])
            values = np.stack([miou(resample(weights, c)) for c in found])
            jack = np.stack([leave_one_out(c, miou) for c in found])
            parts.append((sign * points, sign * values, sign * jack))
        points, values, jack = (np.sum(each, axis=0) for each in zip(*parts, strict=True))
        low, high, _ = two_level(points, values, seed_weights(rng, seeds, 400), jack)
        hits += low <= real <= high
    return hits / runs


@pytest.mark.parametrize(
    ("seeds", "images", "noise", "own", "gain"),
    [(3, 60, 0.01, 0.02, None), (3, 60, 0.01, 0.05, 0.02)],
    ids=["mean", "paired difference"],
)
def test_intervals_hold_the_truth_in_95_of_100(
    seeds: int, images: int, noise: float, own: float, gain: float | None
) -> None:
    assert 0.93 <= covered(seeds, images, noise, own, gain, 2000) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("gain", [None, 0.02])
@pytest.mark.parametrize(
    ("seeds", "images", "noise", "own"),
    [
        (3, 100, 0.003, 0.02),
        (3, 300, 0.02, 0.05),
        (5, 100, 0.02, 0.02),
        (5, 300, 0.005, 0.05),
        (10, 60, 0.01, 0.02),
        (10, 300, 0.02, 0.02),
    ],
)
def test_in_many_designs(
    seeds: int, images: int, noise: float, own: float, gain: float | None
) -> None:
    assert 0.93 <= covered(seeds, images, noise, own, gain, 2000) <= 0.97


def test_seeds_alone_are_covered_by_students_interval() -> None:
    rng = np.random.default_rng(4)
    points = rng.normal(0, 1, (2000, 3))
    shares = seed_weights(rng, 3, 50)
    found = [two_level(p, np.repeat(p[:, None], 50, axis=1), shares, None) for p in points]
    hits = np.mean([one.low <= 0 <= one.high for one in found])
    assert hits == pytest.approx(0.95, abs=2.6 * math.sqrt(0.95 * 0.05 / 2000))
