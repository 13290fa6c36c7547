"""Trials an hour by the number of slots against the ideal line, and the driver's memory by trials.

Three parts, each measurement in a fresh process (``python -m camsweep.platform.bench.scaling PART
NUMBER``): real trainings on one core and on two; trials that only sleep on many slots of simulated
cluster nodes, which is Ray's own cluster utility on this machine; and the driver with so many
trials planned when the first of them has ended. A simulated slot is a thread in its node's process:
with a process each, as in a run, 64 of them took 22 GB here.
"""

from __future__ import annotations

import _thread
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryDirectory
from typing import Any

from camsweep.platform.attempts import make_jobs
from camsweep.platform.bench.fresh import numbers
from camsweep.platform.bench.opening import peak_megabytes
from camsweep.platform.bench.scheduling import ONE_CPU, Ends, no_op, own_megabytes, planned
from camsweep.platform.bench.table import Result, ratio
from camsweep.platform.context import Progress, Report, RunContext
from camsweep.platform.data import find_data
from camsweep.platform.engine.environment import ENVIRONMENT, ray_session
from camsweep.platform.engine.shapes import Shape
from camsweep.platform.engine.slot import serve
from camsweep.platform.trial import run_trial
from camsweep.shards.errors import InputError
from camsweep.shards.manifest import load_manifest
from camsweep.shards.places import Place
from camsweep.sweeps.plan import Plan, PlannedTrial, make_plan
from camsweep.sweeps.profile import load_profile
from camsweep.sweeps.spec import Sweep, SweepSpec
from camsweep.sweeps.store import Store

CORES = (1, 2)
TRAININGS = 4
SLOTS = (4, 16, 64, 256)
#: Slots a simulated node has at most, sleeps that are measured, and seconds that each lasts.
A_NODE, ROUNDS, SLEEP = 32, 4, 20.0
PLANNED = (1_000, 10_000, 100_000)
GOAL = "at least 0.9"


def run(data: Place | None, seconds: float, repeat: int) -> Result:
    """Measure each once, whatever ``repeat`` and ``seconds`` are: the largest take minutes."""
    rounds: dict[str, tuple[float, ...]] = {}
    ratios, starts, memory = [], [], []
    for cores in CORES:
        (each,) = _measured("train", cores)
        rounds[f"{TRAININGS} trainings, {_several(cores, 'core')}"] = (each,)
    one, two = list(rounds)
    rounds[f"{one}, twice"] = (2 * rounds[one][0],)
    ratios.append(ratio(rounds, two, f"{one}, twice", GOAL))
    for slots in SLOTS:
        name, ideal = f"sleeping, {slots} slots", f"sleeping, {slots} slots, ideal"
        each, start = _measured("sleep", slots)
        rounds |= {name: (each,), ideal: (slots * 3600 / SLEEP,)}
        ratios.append(ratio(rounds, name, ideal, GOAL))
        starts.append(f"{slots} slots {start:.0f} s")
    for count in PLANNED:
        held, own = _measured("plan", count)
        memory.append(f"{count:,} trials {held:.0f} MB ({own:.0f} MB shared with nobody)")
    return Result(
        name="scaling",
        unit="trials an hour",
        rounds=rounds,
        ratios=tuple(ratios),
        notes=(
            "trainings: CAM from random weights, one epoch of the embedded data, maps of four "
            f"scales counted, on one core each; {TRAININGS} seeds, from when the first begins",
            f"sleeping: trials of {SLEEP:g} s on simulated nodes of up to {A_NODE} slots, all on "
            f"this machine, during {ROUNDS * SLEEP:g} s from when all slots are there",
            f"until all were: {', '.join(starts)}",
            f"the driver held, when the first of so many trials had ended: {'; '.join(memory)}",
        ),
    )


def _several(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _measured(part: str, number: int) -> tuple[float, ...]:
    return numbers("scaling", part, str(number), what=f"scaling: {part} {number}")


class Clock(Ends):
    """Notes when trials end, and stops the run after so many."""

    def __init__(self, plan: Plan, enough: int | None = None, slots: int | None = None) -> None:
        """Watch a run.

        Args:
            plan: what is run.
            enough: trials after which it is stopped.
            slots: from when there are so many, `ROUNDS` sleeps are measured.
        """
        super().__init__(plan)
        self.enough, self.wanted = enough, slots
        self.full: float | None = None

    @property
    def stopped(self) -> float:
        """When what is measured ends, by the monotonic clock."""
        return math.inf if self.full is None else self.full + ROUNDS * SLEEP

    def hear(self, kind: str, *content: Any) -> None:
        """Take an event."""
        super().hear(kind, *content)
        if self.full is None and sum(n.slots for n in self.nodes.values()) == self.wanted:
            self.full = time.monotonic()

    def finished(self, row: dict[str, Any]) -> None:
        """Take a row, which may come twice."""
        super().finished(row)
        if len(self.ends) == self.enough:
            _thread.interrupt_main()  # events come in another thread

    def busy(self) -> float:
        """Seconds that trials ran, all together, while the slots were there."""
        if self.full is None:
            raise InputError("bench: not all slots came")
        total = 0.0
        for trial_id, state in self.trials.items():
            if state.began is not None:
                end = self.ends.get(trial_id, math.inf)
                total += max(0.0, min(end, self.stopped) - max(state.began, self.full))
        return total


def sleeping(
    trial: PlannedTrial, context: RunContext, report: Report, attempt: int = 1
) -> dict[str, Any]:
    """A trial that takes a slot for a while and nothing else."""
    report(Progress(trial.id, "train", 0, 1))
    time.sleep(SLEEP)
    return no_op(trial, context, report, attempt)


@contextmanager
def simulated(slots: int) -> Iterator[None]:
    """A cluster of so many slots on nodes of this machine, joined."""
    os.environ.update(ENVIRONMENT)
    import ray
    from ray.cluster_utils import Cluster

    config = {"prestart_worker_first_driver": False, "enable_worker_prestart": False}
    cluster = Cluster(True, head_node_args={"num_cpus": 0, "_system_config": config})
    try:
        for first in range(0, slots, A_NODE):
            cluster.add_node(num_cpus=min(A_NODE, slots - first), object_store_memory=80 * 2**20)
        ray.init(cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()


def sleep_on(slots: int) -> None:
    """Print trials an hour of so many slots once all are there, and the seconds until then."""
    import ray

    from camsweep.platform.engine.driver import listening, new_coordinator

    plan = planned(slots * 2 * ROUNDS)
    clock = Clock(plan, slots=slots)
    jobs = [(job, Shape(1, 0.0, 1)) for job in make_jobs(plan.to_run, sleeping)]
    with (
        TemporaryDirectory(prefix="camsweep-bench-") as scratch,
        simulated(slots),
        ExitStack() as stack,
    ):
        begun = time.monotonic()
        coordinator = new_coordinator(stack)
        stack.enter_context(listening(coordinator, jobs, clock))
        context = RunContext(Store(f"{scratch}/store"), "none", "bench")
        nodes = []
        for first in range(0, slots, A_NODE):
            count = min(A_NODE, slots - first)
            node: Any = ray.remote(Node).options(num_cpus=count, max_concurrency=count).remote()
            names = [f"{first + i}" for i in range(count)]
            nodes += [node.serve.remote(name, coordinator, context) for name in names]
        while clock.full is None or time.monotonic() < clock.stopped:
            time.sleep(0.1)
            ended, left = ray.wait(nodes, num_returns=len(nodes), timeout=0)
            ray.get(ended)  # raises what ended it
            if not left:
                break  # too slow a machine: the first slots had no trials left before the last came
    busy = clock.busy()
    assert clock.full is not None  # else there was no `busy`
    print(busy / SLEEP / (ROUNDS * SLEEP) * 3600, clock.full - begun)


class Node:
    """A simulated node: an actor whose threads are slots."""

    def serve(self, name: str, coordinator: Any, context: RunContext) -> None:
        """Be a slot of a run."""
        serve({"slot": name, "shape": (1, 0.0, 1)}, coordinator, context)


def train_on(cores: int) -> None:
    """Print trials an hour of real trainings on so many cores, from the first one's begin."""
    settings = {"method": "cam", "pretrain": "none", "epochs": 1}
    spec = SweepSpec(title="scaling", base=settings, seeds=TRAININGS)
    profile = load_profile("embedded")
    data = find_data(None, profile)
    plan = make_plan([Sweep("scaling", "scaling.yaml", spec)], profile, load_manifest(data).digest)
    clock = Clock(plan)
    _run(plan, run_trial, clock, cores, str(data))
    first = min(state.began for state in clock.trials.values() if state.began is not None)
    print(len(plan.trials) / (max(clock.ends.values()) - first) * 3600)


def plan_with(count: int) -> None:
    """Print the most megabytes that the driver has held, and what it shares with nobody."""
    plan = planned(count)
    _run(plan, no_op, Clock(plan, enough=1), 1)
    print(peak_megabytes(), own_megabytes())


def _run(
    plan: Plan,
    trial: Callable[..., dict[str, Any]],
    clock: Clock,
    slots: int,
    data: str = "none",
) -> None:
    """Run a plan's trials, or until the clock says enough."""
    from camsweep.platform.engine.driver import run_on_ray

    with TemporaryDirectory(prefix="camsweep-bench-") as scratch, ray_session(None, slots):
        context = RunContext(Store(f"{scratch}/store"), data, "bench")
        try:
            run_on_ray(make_jobs(plan.to_run, trial), context, clock, ONE_CPU, max_concurrent=slots)
        except KeyboardInterrupt:
            if clock.enough is None:
                raise
            return
    if len(clock.ends) < len(plan.trials):
        raise InputError(f"bench: {len(clock.ends)} of {len(plan.trials)} trials ended")


PARTS = {"sleep": sleep_on, "train": train_on, "plan": plan_with}

if __name__ == "__main__":
    PARTS[sys.argv[1]](int(sys.argv[2]))
