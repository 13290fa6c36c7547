"""Trials of a cell -> a mean with its interval; differences paired by seed and image."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from camsweep.reports import statistics
from camsweep.reports.load import Trial, read_counts
from camsweep.reports.statistics import Floats
from camsweep.sweeps.store import Store

COUNTED = {
    "miou": statistics.miou,
    "background_iou": statistics.background_iou,
    "foreground_iou": statistics.foreground_iou,
}


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, as a fraction.

    Attributes:
        mean: mean over seeds of the metric of each seed's summed counts.
        low: lower end of the 95 % interval, NaN where nothing can be said (one seed, no counts).
        high: its upper end.
        seeds: the seeds behind it (of an unpaired difference: those of the side with fewer).
        images: images resampled; 0 where the interval is over seeds alone.
        points: the metric of each seed ``[S]``.
        values: the metric of each seed on each image resample ``[S, B]``.
        draws: draws of the mean ``[B]``.
    """

    mean: float
    low: float
    high: float
    seeds: tuple[int, ...]
    images: int
    points: Floats
    values: Floats
    draws: Floats

    @property
    def noise(self) -> bool:
        """For a difference: whether its interval does not exclude 0."""
        return not (self.low > 0 or self.high < 0)

    @property
    def one_seed(self) -> bool:
        """Whether nothing is known of the noise between trainings."""
        return len(self.seeds) < 2


class Measurements:
    """Points and image-bootstrap draws of each trial, computed once for a whole report.

    Every trial that was evaluated on the same images sees the same image resamples, and every cell
    with the same seeds the same seed resamples: two estimates are paired draw by draw.
    """

    def __init__(
        self,
        store: Store,
        trials: Iterable[Trial],
        *,
        resamples: int = 1000,
        seed: int = 0,
    ) -> None:
        self.resamples = resamples
        self.seed = seed
        self._counted: dict[str, dict[str, tuple[float, Floats]]] = {}
        self._images: dict[str, tuple[int, int]] = {}
        weights: dict[int, Floats] = {}
        for trial_id, counts in read_counts(store, trials):
            images = zlib.crc32("\n".join(counts.keys).encode())
            if images not in weights:
                rng = np.random.default_rng([seed, 0, images])
                weights[images] = statistics.image_weights(rng, len(counts.keys), resamples)
            drawn = statistics.resample(weights[images], counts.values)
            whole = counts.values.sum(axis=0)
            self._counted[trial_id] = {
                name: (float(metric(whole)), metric(drawn)) for name, metric in COUNTED.items()
            }
            self._images[trial_id] = (images, len(counts.keys))

    def images(self, trial: Trial) -> int:
        """How many images the trial was evaluated on (0 where no counts are stored)."""
        return self._images.get(trial.id, (0, 0))[1]

    def of_trial(self, trial: Trial, metric: str) -> tuple[float, Floats | None] | None:
        """The metric of a trial and its image draws ``[B]``, None where only a number is known.

        Per-image counts belong to the headline map at all scales summed; other maps and single
        scales have one number a trial.
        """
        headline = f"miou_{trial.config.get('map', 'raw')}"
        counted = self._counted.get(trial.id, {})
        name = "miou" if metric == headline else metric
        if name in counted:
            return counted[name]
        value = trial.metrics.get(metric)
        return None if value is None or math.isnan(value) else (value, None)

    def shares(self, seeds: Sequence[int]) -> Floats:
        """The seed resamples ``[B, S]`` that every cell with these seeds uses."""
        rng = np.random.default_rng([self.seed, 1, zlib.crc32(repr(tuple(seeds)).encode())])
        return statistics.seed_weights(rng, len(seeds), self.resamples)

    def build(
        self, seeds: tuple[int, ...], points: Floats, values: Floats, images: int
    ) -> Estimate:
        """An estimate from each seed's point ``[S]`` and image draws ``[S, B]``."""
        draws = statistics.combine(values, self.shares(seeds))
        known = images > 0 or len(seeds) > 1
        low, high = statistics.interval(draws) if known else (math.nan, math.nan)
        return Estimate(float(points.mean()), low, high, seeds, images, points, values, draws)

    def estimate(self, trials: Sequence[Trial], metric: str) -> Estimate | None:
        """Mean and interval over one trial a seed; None where no trial has the metric."""
        found = [(t, self.of_trial(t, metric)) for t in trials]
        known = [(t, value) for t, value in found if value is not None]
        if not known:
            return None
        points = np.array([value[0] for _, value in known])
        counted = all(value[1] is not None for _, value in known)
        values = np.stack(
            [
                draws if counted and draws is not None else np.full(self.resamples, point)
                for _, (point, draws) in known
            ]
        )
        images = self.images(known[0][0]) if counted else 0
        return self.build(tuple(t.seed for t, _ in known), points, values, images)

    def difference(self, first: Estimate, second: Estimate) -> Estimate:
        """First minus second: by the seeds both have; unpaired where they share fewer than two.

        With one seed each, sharing it is enough to pair.
        """
        common = tuple(s for s in first.seeds if s in second.seeds)
        images = min(first.images, second.images)
        if len(common) >= min(2, len(first.seeds), len(second.seeds)):
            a = [first.seeds.index(s) for s in common]
            b = [second.seeds.index(s) for s in common]
            return self.build(
                common,
                first.points[a] - second.points[b],
                first.values[a] - second.values[b],
                images,
            )
        draws = first.draws - second.draws
        known = images > 0 or min(len(first.seeds), len(second.seeds)) > 1
        low, high = statistics.interval(draws) if known else (math.nan, math.nan)
        mean = first.mean - second.mean
        points = np.array([mean])
        seeds = min(first.seeds, second.seeds, key=len)
        return Estimate(mean, low, high, seeds, images, points, draws[None], draws)

    def average(self, estimates: Sequence[Estimate]) -> Estimate | None:
        """The mean of several estimates over the seeds that all have, None if there are none."""
        if not estimates:
            return None
        common = tuple(s for s in estimates[0].seeds if all(s in e.seeds for e in estimates))
        if not common:
            return None
        rows = [[e.seeds.index(s) for s in common] for e in estimates]
        pairs = list(zip(estimates, rows, strict=True))
        points = np.mean([e.points[r] for e, r in pairs], axis=0)
        values = np.mean([e.values[r] for e, r in pairs], axis=0)
        return self.build(common, points, values, min(e.images for e in estimates))
