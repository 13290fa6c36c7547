"""How long a plan will take, from what the store has measured; unknown where it has nothing.

What a trial takes is looked up among the done trials of the same profile, method and backbone:
those of the same data set and patches if there are any, else of the same patches, else any. Their
training is counted by epoch and their evaluation by pass over an image (scales squared, twice with
mirroring), so that `--set epochs=2` or another set of scales is foreseen; trials that trained for
no epoch tell nothing of training. Trials with pseudo masks are foreseen from those with the same
kind of them, stage by stage, without the stages that are there. Of several workers the seconds of
all together count. The interval of a trial reaches from the 5 % to the 95 % quantile of these, or
from half to double their median where there are fewer than three; the interval of a plan adds up
the lower ends and the upper ends, as if all its trials were quick or slow together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from camsweep.sweeps.history import done_rows
from camsweep.sweeps.order import ends
from camsweep.sweeps.plan import Plan
from camsweep.sweeps.planned import PlannedTrial
from camsweep.sweeps.resources import Resources

#: Fewer measured trials than this have no quantiles.
FEW = 3
QUANTILES = (0.05, 0.95)
#: Stages after the training that have seconds of their own, where a trial has pseudo masks.
LATER = ("localize", "affinity", "refine", "segment")
COLUMNS = (
    *(f"{kind}.{stage}" for kind in ("seconds", "stage") for stage in LATER),
    *("config.refine", "config.segment"),
    *("profile", "method", "data_digest", "workers", "seconds.train", "seconds.evaluate"),
    *("stage.train", "config.backbone", "config.patches", "config.epochs"),
    *("config.scales", "config.flip_test"),
)


@dataclass(frozen=True)
class Span:
    """A number with its interval, in seconds or hours."""

    low: float
    middle: float
    high: float

    def __add__(self, other: Span) -> Span:
        """Both, as if they were low or high together."""
        return Span(self.low + other.low, self.middle + other.middle, self.high + other.high)

    def times(self, factor: float) -> Span:
        """The span in another unit."""
        return Span(self.low * factor, self.middle * factor, self.high * factor)


@dataclass(frozen=True)
class Measured:
    """What one done trial took, in seconds of all its workers.

    Attributes:
        train: of its training.
        epochs: of these, None where its row does not tell.
        rest: of what follows.
        passes: of this over an image, None where its row does not tell, or has later stages.
        later: of each later stage.
    """

    train: float
    epochs: int | None
    rest: float
    passes: float | None
    later: Mapping[str, float]


@dataclass(frozen=True)
class Cost:
    """What a plan will take.

    Attributes:
        trials: wall-clock seconds of each trial to run whose kind was measured, by id.
        unknown: how many trials to run are of a kind that was never measured.
        measured: how many measured trials lie behind each method's numbers.
        gpu_hours: of the trials that take GPUs.
        cpu_hours: core-hours of those that take none.
        wall: wall-clock seconds for the slots; None where a trial is unknown.
    """

    trials: Mapping[str, Span]
    unknown: int
    measured: Mapping[str, int]
    gpu_hours: Span
    cpu_hours: Span
    wall: Span | None


def seconds_by_trial(
    plan: Plan, history: pa.Table, default: Resources | None = None
) -> dict[str, float] | None:
    """Expected seconds of every trial to run, without what it shares with others.

    Args:
        plan: what is to run.
        history: the store's trial rows.
        default: what a worker takes where the sweep file says nothing.

    Returns:
        Seconds by trial id, or None when any trial has no history at all.
    """
    found = cost(plan, history, default=default)
    return None if found.unknown else {i: span.middle for i, span in found.trials.items()}


def estimate(plan: Plan, history: pa.Table, concurrent: int) -> float | None:
    """Wall-clock seconds for the plan with `concurrent` trials at a time, or None if unknown."""
    wall = cost(plan, history, slots=concurrent).wall
    return None if wall is None else round(wall.middle, 1)


def cost(
    plan: Plan, history: pa.Table, *, slots: int = 1, default: Resources | None = None
) -> Cost:
    """What the trials to run will take, with intervals.

    Args:
        plan: what is to run.
        history: the store's trial rows.
        slots: how many trainings run at a time.
        default: what a worker takes where the sweep file says nothing.
    """
    rows = done_rows(history, COLUMNS)
    table = _measured(rows)
    there = {row.get(f"stage.{stage}") for row in rows for stage in ("train", *LATER)}
    spans: dict[str, Span] = {}
    counts: dict[str, int] = {}
    hours = {"gpu": Span(0, 0, 0), "cpu": Span(0, 0, 0)}
    for trial in plan.to_run:
        keys = _keys(plan, trial)
        shared = trial.stages["train"] in there
        known = _first(table[key] for key in keys if key in table)
        trainings = _first(_trainings(table[key], trial) for key in keys if key in table)
        if not known or not (shared or trainings):
            continue
        method = trial.config.method
        counts[method] = max(counts.get(method, 0), len(known))
        takes = trial.resources.over(default or Resources())
        workers = takes.workers or 1
        needed = [s for s in LATER if s in trial.stages and trial.stages[s] not in there]
        there |= set(trial.stages.values())
        passes = _passes(trial.config.scales, trial.config.flip_test)
        span = _span(
            [
                m.rest * _ratio(passes, m.passes) + sum(m.later.get(s, 0.0) for s in needed)
                for m in known
            ]
        )
        if not shared:
            span += _span(trainings)
        spans[trial.id] = span.times(1 / workers)
        kind, number = ("gpu", takes.gpus) if takes.gpus else ("cpu", takes.cpus or 1)
        hours[kind] += span.times((number or 0) / 3600)
    unknown = len(plan.to_run) - len(spans)
    wall = None if unknown else _wall(plan, spans, slots)
    return Cost(spans, unknown, counts, hours["gpu"], hours["cpu"], wall)


def _wall(plan: Plan, spans: Mapping[str, Span], slots: int) -> Span:
    def longest(part: Callable[[Span], float]) -> float:
        seconds = {trial_id: part(span) for trial_id, span in spans.items()}
        return max(ends(plan.to_run, seconds, slots).values(), default=0.0)

    return Span(longest(lambda s: s.low), longest(lambda s: s.middle), longest(lambda s: s.high))


def _keys(plan: Plan, trial: PlannedTrial) -> list[tuple[object, ...]]:
    """What a trial is looked up by, the most alike first."""
    config = trial.config
    chain = (getattr(config, "refine", "none"), getattr(config, "segment", "none"))
    kind = (plan.profile.name, config.method, config.backbone, *chain)
    patches = getattr(config, "patches", None)
    if "patches" in config.inactive():
        patches = None  # a row has no value for a setting that can't matter
    return [(*kind, patches, plan.data_digest), (*kind, patches, None), (*kind, "any", None)]


def _measured(rows: list[dict[str, Any]]) -> dict[tuple[object, ...], list[Measured]]:
    groups: dict[tuple[object, ...], list[Measured]] = defaultdict(list)
    for row in rows:
        workers, scales = row.get("workers") or 1, row.get("config.scales")
        chain = (row.get("config.refine") or "none", row.get("config.segment") or "none")
        flip = row.get("config.flip_test")
        measured = Measured(
            (row.get("seconds.train") or 0.0) * workers,
            row.get("config.epochs"),
            (row.get("seconds.evaluate") or 0.0) * workers,
            _passes(scales, flip) if scales and chain[0] == "none" else None,
            {s: (row.get(f"seconds.{s}") or 0.0) * workers for s in LATER},
        )
        kind = (row["profile"], row["method"], row.get("config.backbone"), *chain)
        patches = row.get("config.patches")
        keys = ((*kind, patches, row["data_digest"]), (*kind, patches, None), (*kind, "any", None))
        for key in keys:
            groups[key].append(measured)
    return groups


def _first(lists: Iterable[list[Any]]) -> list[Any]:
    """The first list that has anything."""
    return next(filter(None, lists), [])


def _trainings(known: Iterable[Measured], trial: PlannedTrial) -> list[float]:
    """Seconds that the trial's training would have taken by each measured one.

    A row without epochs holds what is around them, which says nothing of one with epochs.
    """
    epochs = trial.config.epochs
    if not epochs:
        return [m.train for m in known if m.epochs == 0] or [0.0]
    return [m.train * _ratio(epochs, m.epochs) for m in known if m.epochs != 0]


def _passes(scales: Iterable[float], flip: bool | None) -> float:
    """How much the evaluation of an image computes, in passes over one at its own size."""
    return sum(scale**2 for scale in scales) * (2 if flip else 1)


def _ratio(wanted: float, measured: float | None) -> float:
    """What measured seconds are multiplied by; 1 where the row does not tell its units."""
    return wanted / measured if measured else 1.0


def _span(values: Sequence[float]) -> Span:
    middle = float(np.median(values))
    if len(values) < FEW:
        return Span(middle / 2, middle, middle * 2)
    low, high = np.quantile(values, QUANTILES)
    return Span(float(low), middle, float(high))
