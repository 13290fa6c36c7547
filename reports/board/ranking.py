"""Variants ranked by a metric: the best places closely, with images resampled, the rest by rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from camsweep.reports.board import facts
from camsweep.reports.board.entry import Entry, Leaderboard
from camsweep.reports.board.filters import Filters, backbone, fitting
from camsweep.reports.board.groups import letters, separated
from camsweep.reports.board.light import light, row_points
from camsweep.reports.cells import newest_per_seed
from camsweep.reports.counted import COUNTED
from camsweep.reports.kinds import MAPS, last_stage
from camsweep.reports.load import Selection, Trial
from camsweep.reports.measure import Estimate, Measurements
from camsweep.reports.naming import variant_names
from camsweep.reports.repeated import MARK, Repeated, Repeats, repeated
from camsweep.reports.statistics import probability_of_improvement, rank_intervals
from camsweep.shards.errors import InputError, nearest

# Every pair among this many is tested; the pairs of thousands of search trials would say nothing
# after the adjustment, and take minutes.
TESTED = 60
# Images are resampled for this many places: reading the counts of 10,000 trials takes minutes.
DETAILED = 100
# Behind the name of a variant whose labels are the argmax with the maps' own background.
ESTIMATED = " †"
_ALL = Filters()


@dataclass(frozen=True)
class _Measured:
    """A variant with its number."""

    key: str
    trials: tuple[Trial, ...]
    estimate: Estimate


def _check(metric: str, trials: Sequence[Trial]) -> None:
    known = {*COUNTED, *(name for t in trials for name in t.metrics)}
    if metric not in known:
        raise InputError(f"--metric {metric}: no trial has it{nearest(metric, known)}")


def _estimated(trials: Sequence[Trial]) -> bool:
    """Whether the mIoU is that of labels estimated by the maps' own background, no threshold."""
    if any(last_stage(t) != MAPS for t in trials):
        return False
    return all("miou_estimated" in t.metrics and "threshold" not in t.metrics for t in trials)


def _marks(trials: Sequence[Trial], again: Repeated | None) -> str:
    """What stands behind a variant's name."""
    unsteady = again is not None and not again.reproducible
    return (ESTIMATED if _estimated(trials) else "") + (MARK if unsteady else "")


def _variants(trials: Sequence[Trial]) -> dict[str, tuple[Trial, ...]]:
    """The newest trial of each seed of each variant."""
    found: dict[str, list[Trial]] = {}
    for trial in trials:
        found.setdefault(trial.variant, []).append(trial)
    return {key: newest_per_seed(some) for key, some in found.items()}


def _names(variants: Mapping[str, tuple[Trial, ...]]) -> dict[str, str]:
    firsts = {key: trials[0] for key, trials in variants.items()}
    return variant_names(
        {k: (t.method, t.config) for k, t in firsts.items()},
        {k: t.settings for k, t in firsts.items()},
        {k: t.recipe for k, t in firsts.items()},
    )


def _by_rows(
    variants: Mapping[str, tuple[Trial, ...]],
    keys: Sequence[str],
    names: Mapping[str, str],
    metric: str,
) -> tuple[list[str], int]:
    """Keys from best to worst by what the rows say, and how many have the metric in their rows.

    Those whose rows say nothing come last.
    """
    told = any(metric in trial.metrics for key in keys for trial in variants[key])
    points = {k: row_points(variants[k], metric if told else "miou")[1] for k in keys}
    means = {k: sum(p) / len(p) if p else -math.inf for k, p in points.items()}
    order = sorted(keys, key=lambda k: (-means[k], names[k]))
    return order, sum(map(bool, points.values())) if told else 0


def _ordered(found: Sequence[_Measured], names: Mapping[str, str]) -> list[_Measured]:
    def place(one: _Measured) -> tuple[bool, float, str]:
        mean = one.estimate.mean
        return math.isnan(mean), 0.0 if math.isnan(mean) else -mean, names[one.key]

    return sorted(found, key=place)


def _ranks(close: Sequence[_Measured]) -> list[tuple[int, int]]:
    """The 95 % interval of the rank of each; (0, 0) where nothing is known of its noise."""
    if not close:
        return []
    draws = np.stack([m.estimate.draws for m in close])
    means = np.array([[m.estimate.mean] for m in close])
    # A resample in which a number is missing says nothing of the rank.
    draws = np.where(np.isfinite(draws), draws, np.nan_to_num(means, nan=-np.inf))
    low, high = rank_intervals(draws)
    known = [not math.isnan(m.estimate.low) for m in close]
    return [(int(a), int(b)) if k else (0, 0) for a, b, k in zip(low, high, known, strict=True)]


def _better(one: _Measured, following: _Measured | None) -> float:
    """The probability that a training of one beats one of the next; NaN where a side has one."""
    if following is None or one.estimate.one_seed or following.estimate.one_seed:
        return math.nan
    found = probability_of_improvement(one.estimate.points, following.estimate.points)
    return float(found)


def _tied(apart: np.ndarray, place: int) -> tuple[int, ...]:
    return tuple(int(other) + 1 for other in np.flatnonzero(~apart[place]))


def _entry(
    place: int,
    measured: _Measured,
    name: str,
    metric: str,
    repeats: Repeats,
    measurements: Measurements | None,
) -> Entry:
    """A place without its groups; ``measurements`` are None where rows must do."""
    trials = measured.trials

    def number(what: str) -> Estimate | None:
        if measurements and what in measurements.metrics:
            return measurements.estimate(trials, what)
        return light(trials, what)

    again = repeated(trials, repeats)
    memory = [t.peak_memory for t in trials if not math.isnan(t.peak_memory)]
    labels = dict.fromkeys(f"{s} {label}" for t in trials for s, label in t.memberships)
    per_class = measurements.class_iou(trials).tolist() if measurements else []
    return Entry(
        rank=place + 1,
        name=name + _marks(trials, again),
        estimate=measured.estimate,
        background=number("background_iou"),
        foreground=number("foreground_iou"),
        tied=(),
        trials=trials,
        labels=tuple(labels),
        train_seconds=facts.mean(t.train_seconds for t in trials),
        images_per_second=facts.mean(t.images_per_second for t in trials),
        peak_memory=max(memory, default=math.nan),
        parameters=facts.mean(t.parameters for t in trials),
        repeated=again,
        method=trials[0].method,
        backbone=backbone(trials[0]),
        stage=facts.stage(trials[0], metric),
        precision=number("precision"),
        recall=number("recall"),
        small=number("iou_small"),
        medium=number("iou_medium"),
        large=number("iou_large"),
        class_iou=tuple(per_class),
        gpu_hours=facts.gpu_hours(trials),
        cpu_hours=facts.cpu_hours(trials),
        config=facts.settings(trials[0]),
        detailed=measured.estimate.images > 0,
    )


def leaderboard(
    selection: Selection,
    measurements: Measurements,
    metric: str = "miou",
    repeats: Repeats | None = None,
    filters: Filters = _ALL,
) -> Leaderboard:
    """Rank the variants (configs without the seed) of a selection.

    All are ordered by what their rows say. Of the best `DETAILED` the images' counts are read: they
    are ranked anew, with intervals over images and seeds, and the best `TESTED` of them are tested
    against each other. A metric that no row has (precision) is known of these alone; they are then
    the best by mIoU, and the others have no place.

    Args:
        selection: the trials of one profile and data set.
        measurements: numbers of those trials.
        metric: a metric column, higher is better.
        repeats: of the trials that were run again, by id.
        filters: which variants are ranked, and how many of the best are told.

    Raises:
        InputError: no trial has the metric, or no variant what is filtered by.
    """
    done = [t for t in selection.trials if t.done]
    if done:
        _check(metric, done)
    variants = _variants(done)
    # Named among all, so that a filter changes no name.
    names = _names(variants)
    order, known = _by_rows(variants, fitting(variants, filters, metric), names, metric)
    close = _closely(variants, order[:DETAILED], names, metric, measurements)
    later = order[DETAILED:known]
    # The place behind the last that is told is looked at, too.
    told = later if filters.top is None else later[: max(filters.top + 1 - len(close), 0)]
    rest = [
        _Measured(key, variants[key], found)
        for key in told
        if (found := light(variants[key], metric)) is not None
    ]
    entries = [
        _entry(place, one, names[one.key], metric, repeats or {}, measurements)
        for place, one in enumerate(close[: filters.top])
    ]
    more = rest[: filters.top - len(entries)] if filters.top is not None else rest
    entries += [
        _entry(len(close) + place, one, names[one.key], metric, repeats or {}, None)
        for place, one in enumerate(more)
    ]
    entries, pairs = _compared(entries, close, rest)
    newest = max(done, key=lambda t: t.age, default=None)
    return Leaderboard(
        metric=metric,
        selection=selection,
        entries=tuple(entries),
        pairs=pairs,
        images=max((e.estimate.images for e in entries), default=0),
        left_out=len(done) - sum(len(trials) for trials in variants.values()),
        floor=_floor(done),
        classes=newest.classes if newest else (),
        resamples=measurements.resamples,
        asked=filters.text(),
        variants=len(close) + len(later),
        unknown=len(order) - len(close) - len(later),
    )


def _closely(
    variants: Mapping[str, tuple[Trial, ...]],
    keys: Sequence[str],
    names: Mapping[str, str],
    metric: str,
    measurements: Measurements,
) -> list[_Measured]:
    # Read at once: one after the other would take as long as all else.
    measurements.prefetch([trial for key in keys for trial in variants[key]])
    found = [(key, measurements.estimate(variants[key], metric)) for key in keys]
    return _ordered([_Measured(k, variants[k], e) for k, e in found if e is not None], names)


def _compared(
    entries: Sequence[Entry], close: Sequence[_Measured], rest: Sequence[_Measured]
) -> tuple[list[Entry], int]:
    """The entries with their groups, rank intervals and chances, and the number of tests."""
    apart, pairs = separated([m.estimate for m in close[:TESTED]])
    groups = letters(apart)
    ranks = _ranks(close)
    order = [*close, *rest]
    found = []
    for place, entry in enumerate(entries):
        following = order[place + 1] if place + 1 < len(order) else None
        low, high = ranks[place] if place < len(ranks) else (0, 0)
        tested = place < len(groups)
        found.append(
            replace(
                entry,
                tied=_tied(apart, place) if tested else (),
                group=groups[place] if tested else "",
                rank_low=low,
                rank_high=high,
                better=_better(order[place], following),
            )
        )
    return found, pairs


def _floor(done: Sequence[Trial]) -> float:
    # The same for every variant, up to images that a --set left out: the highest is the honest one.
    floors = [t.metrics["miou_floor"] for t in done if "miou_floor" in t.metrics]
    return max((f for f in floors if not math.isnan(f)), default=math.nan)
