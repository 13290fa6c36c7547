"""Running a thousand trials that do nothing but store a result: what the engine itself costs.

Run as ``python -m camsweep.platform.bench.scheduling HOW COUNT``: runs so many once in a fresh
process and prints the seconds a trial took after the first had ended, the seconds before that, and
the memory of the driver in MB: the most it held, and what of it nobody shares.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from camsweep.platform.attempts import make_jobs
from camsweep.platform.bench.fresh import numbers
from camsweep.platform.bench.opening import peak_megabytes
from camsweep.platform.bench.rounds import alternate
from camsweep.platform.bench.table import Result, ratio, spread
from camsweep.platform.context import Progress, Report, RunContext
from camsweep.platform.engine.environment import ray_session
from camsweep.platform.monitor import Monitor
from camsweep.shards.errors import InputError
from camsweep.shards.places import Place
from camsweep.sweeps.plan import Plan, PlannedTrial, make_plan
from camsweep.sweeps.profile import load_profile
from camsweep.sweeps.resources import Resources
from camsweep.sweeps.results import write_trial
from camsweep.sweeps.spec import Sweep, SweepSpec
from camsweep.sweeps.store import Store
from camsweep.sweeps.tables import trial_table

TRIALS = 1000
#: Tune's defaults take about a second a trial; so many tell that.
TUNE_TRIALS = 40
CPUS = 2
ONE_CPU = Resources(cpus=1, gpus=0, workers=1)

ENGINE, TUNE, ACTORS = "camsweep", "Ray Tune, defaults", "bare actor reuse"


def run(data: Place | None, seconds: float, repeat: int) -> Result:
    """Measure all three by turns; each lasts what it lasts, whatever ``seconds`` is."""
    facts: list[tuple[float, ...]] = []
    rounds = alternate(
        {
            ENGINE: lambda: _measured("engine", TRIALS, facts),
            TUNE: lambda: _measured("tune", TUNE_TRIALS, []),
            ACTORS: lambda: _measured("actors", TRIALS, []),
        },
        repeat,
    )
    start, held, own = (spread(values) for values in zip(*facts, strict=True))
    return Result(
        name="scheduling",
        unit="seconds a trial after the first, results stored",
        rounds=rounds,
        ratios=(
            ratio(rounds, TUNE, ENGINE, "at least 30"),
            ratio(rounds, ENGINE, ACTORS, "at most 3"),
        ),
        notes=(
            f"{TRIALS} trials ({TUNE_TRIALS} with Tune's defaults) on {CPUS} workers of 1 CPU;"
            " the goal is 0.03 s a trial",
            f"camsweep's driver holds {held.high:.0f} MB at most (goal: 600), {own.high:.0f} MB of "
            f"it shared with nobody; its first trial ends after {start.median:.1f} s",
        ),
    )


def _measured(how: str, count: int, facts: list[tuple[float, ...]]) -> float:
    """Seconds a trial; the seconds of starting and the megabytes are appended."""
    each, *more = numbers("scheduling", how, str(count), what=f"scheduling by {how}")
    facts.append(tuple(more))
    return each


def no_op(
    trial: PlannedTrial, context: RunContext, report: Report, attempt: int = 1
) -> dict[str, Any]:
    """A trial that computes nothing and stores a row, in place of `run_trial`."""
    report(Progress(trial.id, "evaluate", 1, 1))
    now = datetime.now(UTC)
    row = {
        "id": trial.id,
        "sweeps": trial.sweeps,
        "labels": trial.labels,
        "method": trial.config.method,
        "seed": trial.config.seed,
        "status": "done",
        "attempts": attempt,
        "profile": context.profile,
        "started": now,
        "finished": now,
        "metric.miou": 0.5,
    }
    write_trial(context.store, trial.id, {"trials": trial_table(row)})
    return row


def planned(count: int) -> Plan:
    """So many trials, each of another seed and training."""
    spec = SweepSpec(title="nothing", base={"method": "cam"}, seeds=1)
    sweep = Sweep("nothing", "nothing.yaml", spec)
    return make_plan([sweep], load_profile("embedded"), "no data", seeds=count)


class Ends(Monitor):
    """Notes when each trial ends, by the monotonic clock."""

    def __init__(self, plan: Plan) -> None:
        """Watch a run."""
        super().__init__(plan)
        self.ends: dict[str, float] = {}

    def finished(self, row: dict[str, Any]) -> None:
        """Take a row, which may come twice."""
        super().finished(row)
        self.ends.setdefault(row["id"], time.monotonic())


def by_engine(plan: Plan, context: RunContext) -> list[float]:
    """When each row came, through the engine as `camsweep run` drives it."""
    from camsweep.platform.engine.driver import run_on_ray

    clock = Ends(plan)
    with ray_session(None, CPUS):
        run_on_ray(make_jobs(plan.to_run, no_op), context, clock, ONE_CPU, max_concurrent=CPUS)
    return list(clock.ends.values())


def by_tune(plan: Plan, context: RunContext) -> list[float]:
    """When each trial ended, as one trial of Ray Tune each, with its defaults."""
    import ray
    from ray import tune

    ends: list[float] = []

    class Ends(tune.Callback):
        def on_trial_complete(self, *given: Any, **named: Any) -> None:
            ends.append(time.monotonic())

        def __getstate__(self) -> dict[str, Any]:
            return {}

    def trainable(config: dict[str, Any]) -> None:
        no_op(config["trial"], context, lambda progress: None)
        tune.report({"miou": 0.5})

    ray.init(address="local", num_cpus=CPUS, include_dashboard=False, log_to_driver=False)
    with TemporaryDirectory(prefix="camsweep-bench-") as scratch:
        tune.Tuner(
            trainable,
            param_space={"trial": tune.grid_search(list(plan.to_run))},
            run_config=tune.RunConfig(storage_path=scratch, verbose=0, callbacks=[Ends()]),
        ).fit()
    return ends


def by_actors(plan: Plan, context: RunContext) -> list[float]:
    """When each trial ended, on actors that are called again and again and nothing else."""
    import ray
    from ray.util import ActorPool

    class Worker:
        def run(self, trial: PlannedTrial) -> None:
            no_op(trial, context, lambda progress: None)

    ray.init(address="local", num_cpus=CPUS, include_dashboard=False, log_to_driver=False)
    pool = ActorPool([ray.remote(Worker).remote() for _ in range(CPUS)])
    ends = []
    for _ in pool.map_unordered(lambda worker, trial: worker.run.remote(trial), plan.to_run):
        ends.append(time.monotonic())
    return ends


WAYS: dict[str, Callable[[Plan, RunContext], Sequence[float]]] = {
    "engine": by_engine,
    "tune": by_tune,
    "actors": by_actors,
}


def main(how: str, count: int) -> None:
    """Run the trials once and print what it took."""
    with TemporaryDirectory(prefix="camsweep-bench-") as scratch:
        plan = planned(count)
        context = RunContext(Store(f"{scratch}/store"), "none", "bench")
        begun = time.monotonic()
        ends = sorted(WAYS[how](plan, context))
        if len(ends) != count:
            raise InputError(f"bench: {len(ends)} of {count} trials ended")
        assert len(context.store.names("trials", ".arrow")) == count
    each, start = (ends[-1] - ends[0]) / (count - 1), ends[0] - begun
    print(each, start, peak_megabytes(), own_megabytes())


def own_megabytes() -> float:
    """What the process holds that is in no file: libraries are shared with its workers."""
    status = Path("/proc/self/status").read_text("ascii")
    line = next(line for line in status.splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024 / 1e6


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
