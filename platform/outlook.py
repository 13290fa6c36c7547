"""What `camsweep plan` foresees beside the trials themselves: time, cost, disk, seeds, searches."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from camsweep.platform.prepare import Prepared, grounds
from camsweep.platform.room import default_resources, local_slots
from camsweep.platform.searching.run import planned_search
from camsweep.platform.trackers import tracks_of
from camsweep.sweeps.designs import describe
from camsweep.sweeps.disk import Disk, disk
from camsweep.sweeps.estimate import Cost, Span, cost, seconds_by_trial
from camsweep.sweeps.history import done_rows
from camsweep.sweeps.identity import STAGES
from camsweep.sweeps.order import limited
from camsweep.sweeps.plan import Plan
from camsweep.sweeps.sequential import Comparison, comparisons
from camsweep.sweeps.stopping import as_json

#: How the intervals are made, for `--json` and the docs.
METHOD = (
    "measured trials of this store, same profile and method: 5 to 95 % quantiles, or half to "
    "double the median of fewer than three; lower and upper ends are added up"
)
UNKNOWN = "unknown"
_PROCESSOR = re.compile(r", \d+ cores$")


@dataclass(frozen=True)
class Outlook:
    """A plan and what it will take.

    Attributes:
        plan: what would be run now, rounds of seeds and limits applied.
        slots: how many trials run at a time.
        cost: of what is to run; searches left out.
        disk: of what is to run; searches left out.
        comparisons: of the sweeps whose seeds are added by a rule.
        searches: what each search would do.
        stages_cached: how many of the plan's distinct stages the store has, by stage.
    """

    plan: Plan
    slots: int
    cost: Cost
    disk: Disk
    comparisons: Sequence[Comparison]
    searches: Sequence[Mapping[str, Any]]
    stages_cached: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Everything, for `camsweep plan --json`."""
        wall = self.cost.wall
        seconds = None if wall is None else round(wall.middle, 1)
        designs = {s.name: describe(s.spec.ablate) for s in self.plan.sweeps if s.spec.ablate}
        return {
            **self.plan.to_json(seconds),
            "left_out": self.plan.left_out,
            "stages_cached": dict(self.stages_cached),
            "order": [trial.id for trial in self.plan.to_run],
            "slots": self.slots,
            "cost": {
                "wall_seconds": UNKNOWN if wall is None else asdict(wall),
                "gpu_hours": self._hours(self.cost.gpu_hours),
                "cpu_hours": self._hours(self.cost.cpu_hours),
                "measured_trials": dict(self.cost.measured),
                "unknown_trials": self.cost.unknown,
                "method": METHOD,
            },
            "disk": asdict(self.disk),
            "designs": designs,
            "seeds": [as_json(found) for found in self.comparisons],
            "searches": [dict(found) for found in self.searches],
        }

    def _hours(self, hours: Span) -> Any:
        return UNKNOWN if self.cost.unknown else asdict(hours)


def look_ahead(
    prepared: Prepared,
    *,
    max_concurrent: int | None = None,
    gpus: float | None = None,
    workers: int | None = None,
    max_trials: int | None = None,
    time_budget: float | None = None,
) -> Outlook:
    """What a run would do and take; starts nothing.

    Args:
        prepared: of `prepare`.
        max_concurrent: trials at a time, instead of as many as fit on this machine.
        gpus: GPUs a worker, instead of the profile's.
        workers: processes a trial, instead of one.
        max_trials: only so many of the trials.
        time_budget: only what fits in so many seconds.

    Raises:
        InputError: a search that can't work, or a sweep file's tracker that there is not.
    """
    history, context = prepared.history, prepared.context
    tracks_of(prepared.plan.sweeps)
    plan = prepared.plan
    found = comparisons(plan, history, skip_damaged=context.skip_damaged)
    with_gpu = context.device != "cpu" or _measured_on_gpu(prepared)
    default = default_resources(prepared.profile, gpus, workers, with_gpu)
    slots = max_concurrent or local_slots(default)
    seconds = seconds_by_trial(plan, history, default)
    plan = limited(
        plan, max_trials=max_trials, time_budget=time_budget, seconds=seconds, slots=slots
    )
    return Outlook(
        plan,
        slots,
        cost(plan, history, slots=slots, default=default),
        disk(plan, history, context.store, slots, prepared.images),
        found,
        [planned_search(ground, context.store) for ground in grounds(plan)],
        _stages_cached(plan, history),
    )


def _measured_on_gpu(prepared: Prepared) -> bool:
    """Whether the store's trials of the profile were run on a machine with GPUs."""
    return any(
        row["device"] and not _PROCESSOR.search(row["device"])
        for row in done_rows(prepared.history, ["profile", "device"])
        if row["profile"] == prepared.profile.name
    )


def _stages_cached(plan: Plan, history: pa.Table) -> dict[str, int]:
    rows = done_rows(history, [f"stage.{stage}" for stage in STAGES])
    counts = {}
    for stage in STAGES:
        there = {row.get(f"stage.{stage}") for row in rows}
        counts[stage] = len(there & {trial.stages.get(stage) for trial in plan.trials} - {None})
    return counts
