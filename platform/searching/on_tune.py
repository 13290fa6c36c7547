"""A search under Ray Tune: one Tune trial a point, Tune's scheduler, our store."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from camsweep.platform.attempts import Job, record_failure, run_job
from camsweep.platform.context import Progress, Report, RunContext
from camsweep.platform.engine.shapes import Shape
from camsweep.platform.engine.slot import bundles
from camsweep.platform.searching.here import ELSEWHERE_SECONDS
from camsweep.platform.searching.rules import (
    EPOCH,
    VALUE,
    Rule,
    cause_of_stop,
    make_scheduler,
    sign_of,
)
from camsweep.platform.searching.rungs import record_stop
from camsweep.platform.searching.search import Suggestion, news_of
from camsweep.platform.searching.session import Session, recalled, watch
from camsweep.platform.searching.tunes import Endings, SessionSearcher
from camsweep.platform.trial import failed_row, run_trial
from camsweep.sweeps.results import read_row
from camsweep.sweeps.search import SearchSpec


def search_on_tune(
    session: Session,
    longest: int,
    shape: Shape,
    storage: str,
    *,
    slots: int,
    time_budget: float | None = None,
    point: Callable[..., None] | None = None,
) -> None:
    """Run the search's points as Tune trials; Ray is there already.

    Args:
        session: of the search.
        longest: the most epochs of any training.
        shape: what each trial takes.
        storage: where Tune may write; all nodes see it.
        slots: trials at a time.
        time_budget: seconds.
        point: what runs a point in a worker, instead of `run_point`.
    """
    first = session.next()
    if first is None:
        return  # Tune would have nothing to do, and start workers for it
    from ray import tune

    # Results between two rungs have no value, and Tune would refuse them.
    os.environ["TUNE_DISABLE_STRICT_METRIC_CHECKING"] = "1"
    scheduler = make_scheduler(session.spec, longest)
    if session.spec.scheduler.name != "none":
        recalled(Rule(scheduler), session.search)
    driver = _Driver(session, first)
    context = replace(session.context, device="cuda" if shape.gpus > 0 else "cpu")
    trainable = tune.with_parameters(
        point or run_point, spec=session.spec, context=context, shape=shape
    )
    tune.Tuner(
        tune.with_resources(trainable, bundles(shape)),
        tune_config=tune.TuneConfig(
            search_alg=SessionSearcher(driver.suggest),
            scheduler=scheduler,
            num_samples=-1,
            max_concurrent_trials=slots,
            reuse_actors=True,
            time_budget_s=time_budget,
            trial_dirname_creator=lambda trial: f"point-{trial.config['number']}",
        ),
        run_config=tune.RunConfig(
            name="search",
            storage_path=storage,
            verbose=0,
            # Only a process that dies comes here: exceptions are recorded in the worker.
            failure_config=tune.FailureConfig(max_failures=first.trial.retries),
            callbacks=[Endings(driver.result, driver.complete, driver.error)],
        ),
    ).fit()
    session.conclude()


class _Driver:
    """What the driver does with Tune's news."""

    def __init__(self, session: Session, first: Suggestion) -> None:
        self.session, self._first = session, [first]
        self._points: dict[int, Suggestion] = {}
        self._epochs: dict[int, int] = {}

    def suggest(self) -> dict[str, Any] | None:
        """The next point as Tune's configuration of a trial."""
        found = self._first.pop() if self._first else self.session.next()
        if found is None:
            return None
        self._points[found.number] = found
        return {"number": found.number, "trial": found.trial}

    def result(self, name: str, config: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """A worker reported: progress, a rung's value, or the final row."""
        number = config["number"]
        if "row" in result:
            self._points.pop(number, None)
            self.session.ended(number, result["row"])
        elif "progress" in result:
            self.session.audience.progress(Progress(**result["progress"]))
        elif EPOCH in result:
            self._epochs[number] = result[EPOCH]
            value = sign_of(self.session.spec) * result[VALUE]
            self.session.rung(number, result[EPOCH], value)

    def complete(self, config: Mapping[str, Any]) -> None:
        """A trial ended. Where its row never came, the scheduler has ended it."""
        number = config["number"]
        found = self._points.pop(number, None)
        if found is not None and number in self._epochs:
            cause = cause_of_stop(self.session.spec, self._epochs[number])
            row = record_stop(found.trial, self.session.context, cause, 1)
            self.session.ended(number, row)

    def error(self, name: str, config: Mapping[str, Any], trace: str) -> None:
        """A trial's process died more often than it is restarted."""
        number = config["number"]
        found = self._points.pop(number, None)
        if found is not None:
            cause = "the trial's process died (killed, or out of memory)"
            attempts = found.trial.retries + 1
            row = failed_row(found.trial, self.session.context, cause, trace, attempts)
            self.session.ended(number, record_failure(self.session.context, row))


def run_point(config: dict[str, Any], spec: SearchSpec, context: RunContext, shape: Shape) -> None:
    """Tune's trainable: one point of the search, run like any other trial."""
    from ray import tune

    trial, sign, rows = config["trial"], sign_of(spec), list[dict[str, Any]]()

    def report(progress: Progress) -> None:
        tune.report({"progress": {**asdict(progress), "node": socket.gethostname()}})

    def goes_on(epoch: int, value: float) -> bool:
        tune.report({EPOCH: epoch, VALUE: sign * value})  # does not return where Tune says stop
        return True

    run: Any = run_trial if spec.scheduler.name == "none" else watch(spec, goes_on).run
    job = Job((trial,), run)
    while _run(job, context, shape, report, rows):
        time.sleep(ELSEWHERE_SECONDS)  # another driver has it
    tune.report({"row": news_of(rows[-1], spec)})


def _run(
    job: Job, context: RunContext, shape: Shape, report: Report, rows: list[dict[str, Any]]
) -> list[str]:
    if shape.workers == 1:
        return run_job(job, context, report, rows.append)
    from camsweep.platform.team import run_job_on_team

    # Rank 0 is another process, from which Tune's reports can't be made: it says nothing on the
    # way, and its row is read from the store.
    (trial,) = job.trials
    report(Progress(trial.id, "train", 0, trial.config.epochs))
    left = run_job_on_team(
        job,
        context,
        shape.workers,
        cpus=shape.cpus,
        gpus=shape.gpus,
        report=_nobody,
        done=_nobody,
    )
    row = read_row(context.store, trial.id)
    if not left and row is not None:
        rows.append(row)
    return left


def _nobody(news: object) -> None:
    """Is told, and tells nobody."""
