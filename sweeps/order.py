"""Which trial first: the order in which a run that is cut short has taught most.

Seeds are outermost: every cell has its first trial before any has its second, so that whatever is
done at some time is balanced and pairs by seed. Within a seed come the cells that others are
compared with, then the trainings that fill more cells, then the order of the files; trials that
share a training stay together.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from camsweep.sweeps.plan import Plan
    from camsweep.sweeps.planned import PlannedTrial, Use


def informative_first(
    trials: Iterable[PlannedTrial], references: Collection[Use] = ()
) -> list[PlannedTrial]:
    """The trials in the order in which they teach most.

    Args:
        trials: in the order of the sweep files.
        references: cells that the others are compared with.
    """
    jobs: dict[tuple[int, str], list[PlannedTrial]] = {}
    for trial in trials:
        jobs.setdefault((trial.config.seed, trial.stages["train"]), []).append(trial)

    def rank(some: Sequence[PlannedTrial]) -> tuple[bool, int]:
        cells = {use for trial in some for use in trial.uses}
        return not cells.intersection(references), -len(cells)

    # Sorting is stable: what ties stays in the order of the files.
    order = sorted(jobs, key=lambda key: (key[0], *rank(jobs[key])))
    return [trial for key in order for trial in sorted(jobs[key], key=lambda t: rank([t]))]


def ends(
    trials: Sequence[PlannedTrial], seconds: Mapping[str, float], slots: int
) -> dict[str, float]:
    """When each trial ends, in seconds from the start, by trial id.

    Trials that share a training are one job and run one after the other; a job goes to the slot
    that is free first.

    Args:
        trials: in the order in which they are started.
        seconds: what each takes, by trial id.
        slots: how many jobs run at a time.
    """
    free = [0.0] * max(1, slots)
    jobs: dict[str, list[PlannedTrial]] = {}
    for trial in trials:
        jobs.setdefault(trial.stages["train"], []).append(trial)
    found: dict[str, float] = {}
    for job in jobs.values():
        clock = heapq.heappop(free)
        for trial in job:
            clock += seconds[trial.id]
            found[trial.id] = clock
        heapq.heappush(free, clock)
    return found


def limited(
    plan: Plan,
    *,
    max_trials: int | None = None,
    time_budget: float | None = None,
    seconds: Mapping[str, float] | None = None,
    slots: int = 1,
) -> Plan:
    """A plan that runs the first of its trials alone.

    Args:
        plan: what would run.
        max_trials: at most so many.
        time_budget: only those before the first that would not end within so many seconds; the
            first trial in any case, as one that is interrupted goes on the next time.
        seconds: what each trial takes, by id; without it the budget cuts nothing here, and the run
            ends by the clock.
        slots: how many jobs run at a time.
    """
    kept = plan.to_run if max_trials is None else plan.to_run[:max_trials]
    if time_budget is not None and seconds is not None:
        end = ends(kept, seconds, slots)
        late = (i for i, trial in enumerate(kept) if end[trial.id] > time_budget)
        kept = kept[: max(1, next(late, len(kept)))]
    if len(kept) == len(plan.to_run):
        return plan
    return replace(plan, chosen=frozenset(trial.id for trial in kept))
