"""Methods ranked by a metric, with groups that a paired test cannot separate and their cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from camsweep.reports.cells import newest_per_seed
from camsweep.reports.load import Selection, Trial
from camsweep.reports.measure import COUNTED, Estimate, Measurements
from camsweep.reports.naming import variant_names
from camsweep.reports.repeated import MARK, Repeated, Repeats, repeated
from camsweep.reports.statistics import block_variance, holm, paired_p
from camsweep.shards.errors import InputError, nearest

LEVEL = 0.05
# Every pair among this many is tested; the pairs of thousands of search trials would say nothing
# after the adjustment, and take minutes.
TESTED = 60
# Behind the name of a variant whose labels are the argmax with the maps' own background.
ESTIMATED = " †"


@dataclass(frozen=True)
class Entry:
    """A variant's place.

    Attributes:
        rank: 1 for the best; equal for none.
        name: short name from what sets the variant apart.
        estimate: the metric ranked by.
        background: IoU of the background.
        foreground: mean IoU of the foreground classes.
        tied: ranks of the entries that the paired test does not separate from this one, itself
            among them; empty for places that are not tested.
        trials: one a seed.
        labels: where the variant stands in sweeps, ``cpn/table4 p_h=0.5``.
        train_seconds: mean training time of a trial, seconds.
        images_per_second: mean training throughput.
        peak_memory: largest peak of a trial, bytes.
        parameters: of the network.
        repeated: what repeats of its trials gave; None where there are none.
    """

    rank: int
    name: str
    estimate: Estimate
    background: Estimate | None
    foreground: Estimate | None
    tied: tuple[int, ...]
    trials: tuple[Trial, ...]
    labels: tuple[str, ...]
    train_seconds: float
    images_per_second: float
    peak_memory: float
    parameters: float
    repeated: Repeated | None = None


@dataclass(frozen=True)
class Leaderboard:
    """Entries from best to worst.

    ``pairs`` is the number of tests that Holm adjusted for, ``left_out`` how many done trials a
    newer one of the same variant and seed replaces, ``floor`` the mIoU without any skill (uniform
    maps with the true image labels; NaN where no trial recorded it).
    """

    metric: str
    selection: Selection
    entries: tuple[Entry, ...]
    pairs: int
    images: int
    left_out: int = 0
    floor: float = math.nan


def _check(metric: str, trials: Sequence[Trial]) -> None:
    known = {*COUNTED, *(name for t in trials for name in t.metrics)}
    if metric not in known:
        raise InputError(f"--metric {metric}: no trial has it{nearest(metric, known)}")


def _estimated(trials: Sequence[Trial]) -> bool:
    """Whether the mIoU is that of labels estimated by the maps' own background, no threshold."""
    return all("miou_estimated" in t.metrics and "threshold" not in t.metrics for t in trials)


def _marks(trials: Sequence[Trial], again: Repeated | None) -> str:
    """What stands behind a variant's name."""
    unsteady = again is not None and not again.reproducible
    return (ESTIMATED if _estimated(trials) else "") + (MARK if unsteady else "")


def _mean(values: Sequence[float]) -> float:
    finite = [v for v in values if not math.isnan(v)]
    return float(np.mean(finite)) if finite else math.nan


def separated(estimates: Sequence[Estimate], measurements: Measurements) -> tuple[np.ndarray, int]:
    """Which pairs a paired test separates: bool ``[N, N]`` and the number of tests.

    Student's t on the differences of the seeds that both have, with the images' noise, adjusted by
    Holm over all pairs. The noise of a training is pooled over the variants with these seeds. One
    seed says nothing about another training: variants with fewer than two common seeds are never
    separated.
    """
    first, second = np.triu_indices(len(estimates), k=1)
    pools: dict[tuple[int, ...], tuple[np.ndarray, int] | None] = {}
    p = []
    for i, j in zip(first.tolist(), second.tolist(), strict=True):
        difference = measurements.difference(estimates[i], estimates[j])
        seeds = difference.seeds
        if seeds not in pools:
            pools[seeds] = _pool(estimates, seeds)
        p.append(float(paired_p(difference.points, difference.values, pools[seeds])))
    apart = np.zeros((len(estimates), len(estimates)), dtype=bool)
    apart[first, second] = holm(np.array(p)) < LEVEL
    return apart | apart.T, len(p)


def _pool(estimates: Sequence[Estimate], seeds: tuple[int, ...]) -> tuple[np.ndarray, int] | None:
    """The noise of a training over all variants that have these seeds, None for a single seed."""
    if len(seeds) < 2:
        return None
    having = [e for e in estimates if set(seeds) <= set(e.seeds)]
    points = np.array([[e.points[e.seeds.index(s)] for s in seeds] for e in having])
    return block_variance(points) if len(having) > 1 else None


def _tied(apart: np.ndarray, place: int) -> tuple[int, ...]:
    if place >= len(apart):
        return ()
    return tuple(int(other) + 1 for other in np.flatnonzero(~apart[place]))


def leaderboard(
    selection: Selection,
    measurements: Measurements,
    metric: str = "miou",
    repeats: Repeats | None = None,
) -> Leaderboard:
    """Rank the variants (configs without the seed) of a selection.

    Args:
        selection: the trials of one profile and data set.
        measurements: numbers of those trials.
        metric: a metric column, higher is better.
        repeats: of the trials that were run again, by id.

    Raises:
        InputError: no trial has the metric.
    """
    done = [t for t in selection.trials if t.done]
    if done:
        _check(metric, done)
    variants: dict[str, list[Trial]] = {}
    for trial in done:
        variants.setdefault(trial.variant, []).append(trial)
    chosen = {key: newest_per_seed(some) for key, some in variants.items()}
    names = variant_names(
        {k: (v[0].method, v[0].config) for k, v in chosen.items()},
        {k: v[0].settings for k, v in chosen.items()},
        {k: v[0].recipe for k, v in chosen.items()},
    )
    measured = []
    for key, trials in chosen.items():
        estimate = measurements.estimate(trials, metric)
        if estimate is not None:
            measured.append((key, trials, estimate))
    measured.sort(key=lambda item: (-item[2].mean, names[item[0]]))
    apart, pairs = separated([e for _, _, e in measured[:TESTED]], measurements)
    entries = []
    for place, (key, trials, estimate) in enumerate(measured):
        labels = dict.fromkeys(f"{s} {label}" for t in trials for s, label in t.memberships)
        again = repeated(trials, repeats or {})
        memory = [t.peak_memory for t in trials if not math.isnan(t.peak_memory)]
        entries.append(
            Entry(
                rank=place + 1,
                name=names[key] + _marks(trials, again),
                estimate=estimate,
                background=measurements.estimate(trials, "background_iou"),
                foreground=measurements.estimate(trials, "foreground_iou"),
                tied=_tied(apart, place),
                trials=trials,
                labels=tuple(labels),
                train_seconds=_mean([t.train_seconds for t in trials]),
                images_per_second=_mean([t.images_per_second for t in trials]),
                peak_memory=max(memory, default=math.nan),
                parameters=_mean([t.parameters for t in trials]),
                repeated=again,
            )
        )
    images = max((e.estimate.images for e in entries), default=0)
    left_out = len(done) - sum(len(trials) for trials in chosen.values())
    # The same for every variant, up to images that a --set left out: the highest is the honest one.
    floors = [t.metrics["miou_floor"] for t in done if "miou_floor" in t.metrics]
    floor = max((f for f in floors if not math.isnan(f)), default=math.nan)
    return Leaderboard(metric, selection, tuple(entries), pairs, images, left_out, floor)
