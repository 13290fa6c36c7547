"""What planning saves in the whole CPN ablation suite, against every cell trained on its own.

Counted, not timed: running the suite takes hours. A cell that stands in several tables is asked for
once in each, and each of its stages would be computed once for each cell.
"""

from __future__ import annotations

import time

from camsweep.platform.bench.table import Result, ratio
from camsweep.shards.places import Place
from camsweep.sweeps.identity import STAGES
from camsweep.sweeps.plan import Plan, make_plan
from camsweep.sweeps.profile import load_profile
from camsweep.sweeps.spec import load_sweep, shipped_names

PAPER, PROFILE = "cpn", "embedded"

ALONE, PLANNED = "every cell on its own", "planned"


def run(data: Place | None, seconds: float, repeat: int) -> Result:
    """Count both; what a plan saves is the same in every round, what planning takes is not."""
    begun = time.perf_counter()
    plan = planned()
    took = time.perf_counter() - begun
    alone, shared = epochs(plan)
    rounds = {ALONE: (float(alone),) * repeat, PLANNED: (float(shared),) * repeat}
    stages = plan.stage_counts()
    told = ", ".join(f"{stage} {stages[stage]}" for stage in STAGES if stages[stage] > 1)
    return Result(
        name="suite",
        unit="epochs of training, counted",
        rounds=rounds,
        ratios=(ratio(rounds, ALONE, PLANNED),),
        notes=(
            f"{len(plan.sweeps)} sweeps of {PAPER}, profile {PROFILE}: {plan.requested} trials "
            f"asked for, {len(plan.trials)} different ones; distinct stages: {told}",
            f"planning took {took:.2f} s; an epoch of a method costs the same in both",
        ),
    )


def planned() -> Plan:
    """The plan of the paper's shipped sweeps."""
    names = [name for name in shipped_names() if name.split("/")[0] == PAPER]
    return make_plan([load_sweep(name) for name in names], load_profile(PROFILE), "no data")


def epochs(plan: Plan) -> tuple[int, int]:
    """Epochs of training of every cell on its own, and of the plan's distinct trainings."""
    alone = sum(trial.config.epochs * len(trial.labels) for trial in plan.trials)
    distinct = {trial.stages["train"]: trial.config.epochs for trial in plan.trials}
    return alone, sum(distinct.values())
