"""Trials of a cell -> a mean with its interval; differences paired by seed and image."""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from camsweep.methods.metrics import iou
from camsweep.reports import statistics
from camsweep.reports.counted import COUNTED
from camsweep.reports.kinds import counted_name
from camsweep.reports.load import Counts, Trial, read_counts
from camsweep.reports.statistics import Floats
from camsweep.sweeps.compacting.reading import Unread
from camsweep.sweeps.store import Store


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
        draws: draws of the mean ``[B]``, as wide as the interval; paired between estimates.
        jack: the metric of each seed without each image ``[S, I]``; None where that is not known.
    """

    mean: float
    low: float
    high: float
    seeds: tuple[int, ...]
    images: int
    points: Floats
    values: Floats
    draws: Floats
    jack: Floats | None = None

    @property
    def noise(self) -> bool:
        """For a difference: whether its interval does not exclude 0."""
        return not (self.low > 0 or self.high < 0)

    @property
    def one_seed(self) -> bool:
        """Whether nothing is known of the noise between trainings."""
        return len(self.seeds) < 2


@dataclass(frozen=True)
class _Of:
    """A metric of one trial: the number, and where counts are known its draws and jackknife."""

    point: float
    draws: Floats | None = None
    jack: Floats | None = None


@dataclass(frozen=True)
class _Known:
    """What is known of one trial from its counts."""

    images: int
    number: int
    metrics: dict[str, _Of]
    class_iou: Floats


#: Trials whose resamples are one product of matrices. Many small products keep a BLAS of several
#: threads waiting for itself; much larger ones would need much memory.
_BATCH = 16


def _by_regions(names: Iterable[str]) -> Iterable[list[str]]:
    """Metrics of `COUNTED`, those together that are about the same regions."""
    found: dict[Any, list[str]] = {}
    for name in names:
        found.setdefault(COUNTED[name].regions, []).append(name)
    return found.values()


def _alike(first: Counts, second: Counts) -> bool:
    """Whether two trials were evaluated on the same images and classes."""
    return first.keys == second.keys and first.values.shape == second.values.shape


class Measurements:
    """Points and image-bootstrap draws of trials; counts are read when they are first asked for.

    Every trial that was evaluated on the same images sees the same image resamples, and every cell
    with the same seeds the same seed resamples: two estimates are paired draw by draw.
    """

    def __init__(
        self,
        store: Store,
        trials: Iterable[Trial] = (),
        *,
        resamples: int = 1000,
        seed: int = 0,
        metrics: Collection[str] = tuple(COUNTED),
    ) -> None:
        """Nothing is read yet.

        Args:
            store: where the counts are.
            trials: read at once, with those that are first asked for.
            resamples: of the bootstrap.
            seed: of the bootstrap.
            metrics: of `COUNTED`, all that will be asked for; fewer are quicker.
        """
        self.resamples = resamples
        self.seed = seed
        self.metrics = metrics
        #: Files of counts that could not be read; their trials have the numbers of their rows.
        self.unread: list[Unread] = []
        self._store = store
        self._known: dict[str, _Known | None] = {}
        self._weights: dict[int, Floats] = {}
        self._shares: dict[tuple[int, ...], Floats] = {}

    def prefetch(self, trials: Iterable[Trial], metrics: Collection[str] | None = None) -> None:
        """Read the counts of many trials at once, which is quicker than one after the other.

        Args:
            trials: whose counts will be asked for.
            metrics: of `COUNTED`, those that will be asked for; all if not given.
        """
        names = [n for n in (self.metrics if metrics is None else metrics) if n in self.metrics]
        missing = {t.id: t for t in trials if self._lacks(t.id, names)}
        if not missing:
            return
        batch: list[tuple[str, Counts]] = []
        for trial_id, counts in read_counts(self._store, missing.values(), self.unread.append):
            del missing[trial_id]
            if len(batch) == _BATCH or (batch and not _alike(batch[0][1], counts)):
                self._measure(batch, names)
                batch = []
            batch.append((trial_id, counts))
        self._measure(batch, names)
        self._known |= dict.fromkeys(missing)

    def _lacks(self, trial_id: str, metrics: Iterable[str]) -> bool:
        if trial_id not in self._known:
            return True
        known = self._known[trial_id]
        return known is not None and any(name not in known.metrics for name in metrics)

    def _measure(self, batch: Sequence[tuple[str, Counts]], names: Iterable[str]) -> None:
        """Metrics of trials on the same images: all of their resamples in one product."""
        if not batch:
            return
        keys = batch[0][1].keys
        images = zlib.crc32("\n".join(keys).encode())
        if images not in self._weights:
            rng = np.random.default_rng([self.seed, 0, images])
            self._weights[images] = statistics.image_weights(rng, len(keys), self.resamples)
        of_all = np.stack([counts.values for _, counts in batch], axis=1)
        found: dict[str, tuple[Floats, Floats, Floats]] = {}
        for some in _by_regions(names):
            # Of each trial all counts, or those of the regions that some metrics are about.
            kept = COUNTED[some[0]].kept(of_all)
            # Resampled with tp, fp and fn each in one piece: adding them up is much quicker then.
            pieces = statistics.resample(self._weights[images], np.moveaxis(kept, -1, 1))
            drawn = np.moveaxis(pieces, 1, -1)
            for name in some:
                of = COUNTED[name].of
                jack = statistics.leave_one_out(kept, of)
                found[name] = of(kept.sum(axis=0)), of(drawn).T.copy(), jack.T.copy()
        whole = iou(of_all.sum(axis=0))
        for place, (trial_id, _) in enumerate(batch):
            before = self._known.get(trial_id)
            metrics = {} if before is None else dict(before.metrics)
            for name, (point, draws, jack) in found.items():
                metrics[name] = _Of(float(point[place]), draws[place], jack[place])
            self._known[trial_id] = _Known(images, len(keys), metrics, whole[place])

    def _of(self, trial: Trial, metrics: Collection[str] = ()) -> _Known | None:
        self.prefetch([trial], metrics)
        return self._known[trial.id]

    def images(self, trial: Trial) -> int:
        """How many images the trial was evaluated on (0 where no counts are stored)."""
        known = self._of(trial)
        return known.number if known else 0

    def of_trial(self, trial: Trial, metric: str) -> _Of | None:
        """The metric of a trial, its image draws ``[B]`` and its jackknife ``[I]``.

        Per-image counts belong to the headline map at all scales summed; other maps and single
        scales have one number a trial. None where the trial has neither.
        """
        name = counted_name(trial, metric)
        known = self._of(trial, (name,)) if name in self.metrics else None
        if known is not None:
            found = known.metrics[name]
            return None if math.isnan(found.point) else found
        return self._stored(trial, metric)

    @staticmethod
    def _stored(trial: Trial, metric: str) -> _Of | None:
        value = trial.metrics.get(metric)
        return None if value is None or math.isnan(value) else _Of(value)

    def shares(self, seeds: Sequence[int]) -> Floats:
        """The seed resamples ``[B, S]`` that every cell with these seeds uses."""
        same = tuple(seeds)
        if same not in self._shares:
            rng = np.random.default_rng([self.seed, 1, zlib.crc32(repr(same).encode())])
            self._shares[same] = statistics.seed_weights(rng, len(same), self.resamples)
        return self._shares[same]

    def build(
        self,
        seeds: tuple[int, ...],
        points: Floats,
        values: Floats,
        images: int,
        jack: Floats | None = None,
    ) -> Estimate:
        """An estimate from each seed's point ``[S]``, image draws ``[S, B]``, jackknife ``[S, I]``.

        Any linear combination of estimates over common seeds is built from theirs (`combine`).
        """
        low, high, draws = statistics.two_level(points, values, self.shares(seeds), jack)
        return Estimate(float(points.mean()), low, high, seeds, images, points, values, draws, jack)

    def estimate(self, trials: Sequence[Trial], metric: str) -> Estimate | None:
        """Mean and interval over one trial a seed; None where no trial has the metric."""
        names = {counted_name(t, metric) for t in trials}
        if not names.isdisjoint(self.metrics):
            self.prefetch(trials, names)
        return self._mean([(t, self.of_trial(t, metric)) for t in trials])

    def _mean(self, found: Sequence[tuple[Trial, _Of | None]]) -> Estimate | None:
        known = [(t, value) for t, value in found if value is not None]
        if not known:
            return None
        points = np.array([value.point for _, value in known])
        counted = all(value.draws is not None for _, value in known)
        rows = [v.draws for _, v in known if v.draws is not None] if counted else None
        values = np.stack(rows) if rows else np.repeat(points[:, None], self.resamples, axis=1)
        # Trials that left out damaged samples were evaluated on other images.
        one = {self._set(t) for t, _ in known} if counted else set()
        jacks = [v.jack for _, v in known if v.jack is not None] if len(one) == 1 else []
        images = self.images(known[0][0]) if counted else 0
        jack = np.stack(jacks) if jacks else None
        return self.build(tuple(t.seed for t, _ in known), points, values, images, jack)

    def _set(self, trial: Trial) -> int:
        known = self._of(trial)
        return known.images if known else 0

    def class_iou(self, trials: Sequence[Trial]) -> Floats:
        """IoU of each class, mean over seeds ``[C]``; NaN for a class that is nowhere."""
        self.prefetch(trials, ())
        found = [known.class_iou for t in trials if (known := self._of(t)) is not None]
        if not found:
            return np.empty(0)
        stacked = np.stack(found)
        there = ~np.isnan(stacked)
        total = np.where(there, stacked, 0.0).sum(axis=0)
        number = there.sum(axis=0)
        return np.where(number > 0, total / np.maximum(number, 1), np.nan)

    def combine(self, weights: Sequence[float], estimates: Sequence[Estimate]) -> Estimate | None:
        """The sum of weighted estimates over the seeds that all have, None if there are none.

        Differences, means and contrasts of any kind are such sums; they stay paired by seed and
        image, and get their own interval.
        """
        common = tuple(s for s in estimates[0].seeds if all(s in e.seeds for e in estimates))
        if not common:
            return None
        pairs = [
            (w, e, [e.seeds.index(s) for s in common])
            for w, e in zip(weights, estimates, strict=True)
        ]
        points = np.sum([w * e.points[r] for w, e, r in pairs], axis=0)
        values = np.sum([w * e.values[r] for w, e, r in pairs], axis=0)
        jack = None
        known = [e.jack.shape[-1] for e in estimates if e.jack is not None]
        if len(known) == len(estimates) and len(set(known)) == 1:
            jack = np.sum([w * e.jack[r] for w, e, r in pairs if e.jack is not None], axis=0)
        return self.build(common, points, values, min(e.images for e in estimates), jack)

    def difference(self, first: Estimate, second: Estimate) -> Estimate:
        """First minus second: by the seeds both have; unpaired where they share fewer than two.

        With one seed each, sharing it is enough to pair.
        """
        common = [s for s in first.seeds if s in second.seeds]
        if len(common) >= min(2, len(first.seeds), len(second.seeds)):
            paired = self.combine((1.0, -1.0), (first, second))
            assert paired is not None
            return paired
        draws = first.draws - second.draws
        images = min(first.images, second.images)
        known = images > 0 or min(len(first.seeds), len(second.seeds)) > 1
        low, high = statistics.interval(draws) if known else (math.nan, math.nan)
        mean = first.mean - second.mean
        seeds = min(first.seeds, second.seeds, key=len)
        return Estimate(mean, low, high, seeds, images, np.array([mean]), draws[None], draws)

    def average(self, estimates: Sequence[Estimate]) -> Estimate | None:
        """The mean of several estimates over the seeds that all have, None if there are none."""
        if not estimates:
            return None
        return self.combine([1 / len(estimates)] * len(estimates), estimates)
