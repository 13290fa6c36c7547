"""From a plan to finished trials, on this machine or on a Ray cluster."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from rich.console import Console

from camsweep.methods.team import check_team
from camsweep.platform.attempts import Job, make_jobs, run_job
from camsweep.platform.checks import check_reading, split_keys
from camsweep.platform.ledger import ledger
from camsweep.platform.monitor import Monitor
from camsweep.platform.prepare import Prepared, grounds, with_other_sweeps
from camsweep.platform.progress import view
from camsweep.platform.room import default_resources
from camsweep.platform.runfiles import read_runs
from camsweep.platform.searching.points import sample_trial
from camsweep.platform.searching.run import check_search, run_search
from camsweep.platform.trackers import make_trackers, tracks_of
from camsweep.shards.verify import check_digests
from camsweep.sweeps.estimate import seconds_by_trial
from camsweep.sweeps.order import limited
from camsweep.sweeps.plan import Plan
from camsweep.sweeps.remembered import write_forms
from camsweep.sweeps.resources import Resources
from camsweep.sweeps.results import add_all_uses, load_trials, merged_uses
from camsweep.sweeps.sequential import more_seeds
from camsweep.sweeps.stopping import write_stopping

#: Between two looks at trials that another driver is running.
ELSEWHERE_SECONDS = 2.0


@dataclass(frozen=True)
class Where:
    """Where, how and how long trials run.

    Attributes:
        in_process: one trial after another in this process, without Ray.
        debug: with `in_process`, raise the first failure instead of recording it.
        address: a Ray cluster's address; None starts Ray on this machine.
        gpus: GPUs a worker of a trial takes, instead of the profile's.
        workers: processes that train one trial together, instead of one.
        max_concurrent: at most so many trials at a time.
        max_trials: at most so many trials, the most informative first.
        time_budget: seconds.
        wait_for_nodes: seconds to wait for nodes that have what a trial needs.
    """

    in_process: bool = False
    debug: bool = False
    address: str | None = None
    gpus: float | None = None
    workers: int | None = None
    max_concurrent: int | None = None
    max_trials: int | None = None
    time_budget: float | None = None
    wait_for_nodes: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        monitor: what became of every trial.
        interrupted: whether some of what should have been run was not.
        left_out: how many trials a limit kept from being run.
    """

    monitor: Monitor
    interrupted: bool
    left_out: int = 0


def execute(
    prepared: Prepared,
    console: Console,
    where: Where | None = None,
    track: Mapping[str, str] | None = None,
) -> Outcome:
    """Run what the store lacks: the plan, the seeds that its rules add, and its searches.

    Args:
        prepared: from `prepare`.
        console: where the view is drawn.
        where: where trials run; this machine by default.
        track: trackers by name and where they write, over those of the sweep files.

    Returns:
        What happened.

    Raises:
        InputError: the store can't be written, the data is damaged, or a trial asks for more than
            the machine or cluster has.
    """
    where, context = where or Where(), prepared.context
    read_runs(context.store)  # a newer camsweep's store is refused before anything is written
    context.store.require_writable()
    context.store.remove_leftovers()
    plan = prepared.plan
    write_stopping(context.store, plan, prepared.history, skip_damaged=context.skip_damaged)
    write_forms(context.store, plan)
    _check_data(prepared, plan, console)
    _tell_cached(prepared)
    monitor = Monitor(plan, expected=seconds_by_trial(plan, prepared.history))
    if not plan.to_run and not plan.searches:
        return Outcome(monitor, False)
    for ground in grounds(plan):
        check_search(ground, where.workers or 1)
    wanted = tracks_of(plan.sweeps, track or {})
    monitor.listeners += make_trackers(wanted, monitor.planned.get, context.store)
    run = _Run(prepared, monitor, where)
    interrupted = False
    command = context.provenance.command
    with ledger(context.store, monitor, command, str(prepared.data)), view(monitor, console):
        try:
            with _ray(prepared, where):
                run.all(plan)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            monitor.closed()
            context.store.remove_leftovers()
    counts = monitor.counts()
    interrupted = interrupted or bool(counts["waiting"] + counts["running"])
    return Outcome(monitor, interrupted, run.left_out)


def _check_data(prepared: Prepared, plan: Plan, console: Console) -> None:
    trials = [*plan.to_run, *map(sample_trial, grounds(plan))]
    check_reading(trials, prepared.data)
    splits = {getattr(t.config, k) for t in trials for k in split_keys(t)}
    lenient = prepared.context.skip_damaged
    for problem in check_digests(prepared.data, sorted(splits), raise_=not lenient):
        console.print(f"damaged: {problem}", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _ray(prepared: Prepared, where: Where) -> Iterator[None]:
    """Ray for the whole run; without it for one in this process."""
    if where.in_process:
        yield
        return
    from camsweep.platform.engine.environment import ray_session

    cores = prepared.profile.threads * (where.workers or 1) * (where.max_concurrent or 1)
    with ray_session(where.address, cores):
        yield


class _Run:
    """A run's rounds; what is left of its limits goes from one to the next."""

    def __init__(self, prepared: Prepared, monitor: Monitor, where: Where) -> None:
        self.prepared, self.monitor, self.where = prepared, monitor, where
        self.context = prepared.context
        self.left_out = 0
        self.begun = 0
        budget = where.time_budget
        self.deadline = None if budget is None else time.monotonic() + budget

    def all(self, plan: Plan) -> None:
        """Run everything."""
        default = self._default()
        wanted: Plan | None = plan
        while wanted is not None and not self._spent():
            plan = self._cut(wanted, default)
            self._round(plan, default)
            if self._unfinished(plan):
                return
            history = load_trials(self.context.store)
            write_stopping(
                self.context.store, plan, history, skip_damaged=self.context.skip_damaged
            )
            wanted = more_seeds(plan, history, skip_damaged=self.context.skip_damaged)
            wanted = with_other_sweeps(wanted) if wanted else None
        for index in range(len(plan.searches)):
            if not self._spent():
                self._search(plan, index, default)

    def _default(self) -> Resources:
        """What a worker takes where the sweep file says nothing: the user's word or the profile's.

        A profile asks for GPUs only where there are any, so that one profile serves both.
        """
        where = self.where
        return default_resources(self.prepared.profile, where.gpus, where.workers, self._has_gpus())

    def _has_gpus(self) -> bool:
        if self.where.in_process:
            return self.context.device != "cpu"
        if self.where.wait_for_nodes:
            return True  # those that are awaited
        import ray

        return ray.cluster_resources().get("GPU", 0.0) > 0

    def _cut(self, plan: Plan, default: Resources) -> Plan:
        """The part of a plan that the limits allow."""
        if self.where.max_trials is None and self.deadline is None:
            return plan
        left = None if self.where.max_trials is None else self.where.max_trials - self.begun
        seconds = seconds_by_trial(plan, self.prepared.history, default)
        # Before nodes have come nobody knows how much fits: there the clock alone decides.
        budget = None if self.where.wait_for_nodes else self._seconds_left()
        plan = limited(
            plan,
            max_trials=left,
            time_budget=budget,
            seconds=seconds,
            slots=self._slots(plan, default),
        )
        self.left_out = plan.left_out
        return plan

    def _slots(self, plan: Plan, default: Resources) -> int:
        if self.where.in_process or not plan.to_run:
            return 1
        from camsweep.platform.engine.driver import slots_at_a_time
        from camsweep.platform.engine.shapes import shape_of

        shapes = [shape_of(trial.resources, default) for trial in plan.to_run]
        return slots_at_a_time(shapes, self.where.max_concurrent)

    def _spent(self) -> bool:
        trials = self.where.max_trials
        return self._spent_time() or (trials is not None and self.begun >= trials)

    def _seconds_left(self) -> float | None:
        return None if self.deadline is None else self.deadline - time.monotonic()

    def _unfinished(self, plan: Plan) -> bool:
        ended = ("done", "failed")
        return any(self.monitor.trials[t.id].state not in ended for t in plan.to_run)

    def _round(self, plan: Plan, default: Resources) -> None:
        self.monitor.follow(plan)
        jobs = make_jobs(plan.to_run)
        if not jobs:
            return
        for job in jobs:
            workers = job.trials[0].resources.over(default).workers or 1
            check_team(job.trials[0].config, workers)
        self.begun += len(plan.to_run)
        if self.where.in_process:
            self._here(jobs)
            return
        from camsweep.platform.engine.driver import run_on_ray

        run_on_ray(
            jobs,
            self.context,
            self.monitor,
            default,
            max_concurrent=self.where.max_concurrent,
            time_budget=self._seconds_left(),
            address=self.where.address,
            wait_for_nodes=self.where.wait_for_nodes,
        )

    def _here(self, jobs: Sequence[Job]) -> None:
        """Run jobs one after the other in this process."""
        left = list(jobs)
        while left and not self._spent_time():
            waiting = []
            for job in left:
                if self._spent_time():
                    return
                run = partial(run_job, job, self.context, reraise=self.where.debug)
                if ids := run(self.monitor.progress, self.monitor.finished):
                    self.monitor.elsewhere(ids)
                    waiting.append(job)
            left = waiting
            if left:
                time.sleep(ELSEWHERE_SECONDS)

    def _spent_time(self) -> bool:
        left = self._seconds_left()
        return left is not None and left <= 0

    def _search(self, plan: Plan, index: int, default: Resources) -> None:
        where, trials = self.where, self.where.max_trials
        ground = grounds(plan)[index]
        with ExitStack() as stack:
            if where.address is not None:
                from camsweep.platform.engine.driver import announced
                from camsweep.platform.engine.shapes import shape_of

                shape = shape_of(ground.sweep.spec.resources, default)
                stack.enter_context(
                    announced([shape] * ground.spec.samples, where.max_concurrent or 1)
                )
            self.begun += run_search(
                ground,
                self.context,
                load_trials(self.context.store),
                self.monitor,
                default,
                in_process=where.in_process,
                reraise=where.debug,
                max_concurrent=where.max_concurrent,
                max_trials=None if trials is None else trials - self.begun,
                time_budget=self._seconds_left(),
                shared=where.address is not None,
                wait_for_nodes=where.wait_for_nodes,
            )


def _tell_cached(prepared: Prepared) -> None:
    """Tell finished trials of the sweeps that use them now; those that know are left alone."""
    rows = prepared.history.select(["id", "sweeps", "labels"]).to_pylist()
    known = {row["id"]: set(merged_uses(row, ())) for row in rows}
    news = {
        trial.id: trial.all_uses
        for trial in prepared.plan.trials
        if trial.id in prepared.plan.cached and not known[trial.id].issuperset(trial.all_uses)
    }
    add_all_uses(prepared.context.store, news)
