"""A job: trials that share one training, each tried as often as its sweep says, under a lease."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from camsweep.platform.context import Progress, Report, RunContext
from camsweep.platform.failures import cause_of
from camsweep.platform.trial import failed_row, run_trial
from camsweep.sweeps.leasing.leases import Lease, LeaseLost, claim
from camsweep.sweeps.plan import PlannedTrial
from camsweep.sweeps.results import add_uses, is_done, read_row, write_trial
from camsweep.sweeps.tables import trial_table

#: Called once a trial with its final row.
Done = Callable[[dict[str, Any]], None]


class Run(Protocol):
    """Runs one trial and writes its files: `run_trial`, or another of its kind."""

    def __call__(
        self, trial: PlannedTrial, context: RunContext, report: Report, attempt: int = 1
    ) -> dict[str, Any]:
        """Run the trial and return its row as it was written."""


@dataclass(frozen=True)
class Job:
    """Trials with the same training, run one after the other so that none waits for another.

    Attributes:
        trials: what to run, in order.
        run: what runs one of them; a function of a module, so that workers can import it.
    """

    trials: tuple[PlannedTrial, ...]
    run: Run = run_trial


def make_jobs(trials: Iterable[PlannedTrial], run: Run = run_trial) -> list[Job]:
    """Group trials by their training stage and resources, in order of first appearance."""
    groups: dict[tuple[Any, ...], list[PlannedTrial]] = {}
    for trial in trials:
        groups.setdefault((trial.stages["train"], trial.resources), []).append(trial)
    return [Job(tuple(group), run) for group in groups.values()]


def run_job(
    job: Job,
    context: RunContext,
    report: Report,
    done: Done,
    *,
    attempt: int = 1,
    reraise: bool = False,
) -> list[str]:
    """Run every trial of a job; a failure is recorded and never leaves this function.

    Args:
        job: what to run. Trials that the store already has are not run again, so that a job whose
            process died goes on where it was.
        context: where to read and write.
        report: called with where a trial stands.
        done: called with each trial's final row.
        attempt: 1, or more where processes died at it before.
        reraise: raise the first failure instead of recording it, for a debugger.

    Returns:
        Ids of the trials that another driver is running; they are not done.
    """
    elsewhere = []
    for trial in job.trials:
        if _known(trial, context, done):
            continue
        lease = claim(context.store, trial.id, owner=context.owner)
        if lease is None:
            elsewhere.append(trial.id)
            continue
        with lease:
            # Whoever had the lease before may have ended the trial since the look above.
            if _known(trial, context, done):
                continue
            try:
                done(_attempt(job.run, trial, context, report, lease, attempt, reraise))
            except LeaseLost:
                elsewhere.append(trial.id)
    return elsewhere


def _known(trial: PlannedTrial, context: RunContext, done: Done) -> bool:
    """Whether the store has the trial's end by now; a result is told of its uses here."""
    row = read_row(context.store, trial.id)
    if row is None:
        return False
    if is_done(row, context.skip_damaged):
        add_uses(context.store, trial.id, trial.all_uses)
    elif (
        row["status"] != "failed"
        or context.failed_before is None
        or trial.id in context.failed_before
    ):
        return False
    done(row)
    return True


def _attempt(
    run: Run,
    trial: PlannedTrial,
    context: RunContext,
    report: Report,
    lease: Lease,
    first: int,
    reraise: bool,
) -> dict[str, Any]:
    def guarded(progress: Progress) -> None:
        lease.require()
        report(progress)

    row: dict[str, Any] = {}
    for attempt in range(first, max(first, trial.retries + 1) + 1):
        try:
            row = run(trial, context, guarded, attempt)
            break
        except LeaseLost:
            raise
        except Exception as error:
            if reraise:
                raise
            trace = traceback.format_exc()
            row = failed_row(trial, context, cause_of(error), trace, attempt)
    if row["status"] != "failed":
        return row
    lease.require()
    return record_failure(context, row)


def record_failure(context: RunContext, row: dict[str, Any]) -> dict[str, Any]:
    """Write a failed trial's row, unless somebody has done the trial meanwhile.

    Returns:
        The row that stands: the failure, or the finished trial's.
    """
    try:
        stored = read_row(context.store, row["id"])
        if stored is not None and is_done(stored, context.skip_damaged):
            return stored
        if stored is not None and stored["status"] == "done":
            return row  # what --skip-damaged made stands; that all samples can't be had is no loss
        write_trial(context.store, row["id"], {"trials": trial_table(row)})
    except OSError as error:  # a full disk: the run's own summary still names the failure
        row["cause"] += f" (and its record could not be written: {error.strerror})"
    return row
