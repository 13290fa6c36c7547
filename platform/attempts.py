"""A job: trials that share one training, each tried as often as its sweep says."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from camsweep.platform.context import Report, RunContext
from camsweep.platform.failures import cause_of
from camsweep.platform.trial import failed_row, run_trial
from camsweep.sweeps.plan import PlannedTrial
from camsweep.sweeps.results import add_uses, is_done, read_row, write_trial
from camsweep.sweeps.tables import trial_table

#: Called once a trial with its final row.
Done = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Job:
    """Trials with the same training, run one after the other so that none waits for another."""

    trials: tuple[PlannedTrial, ...]


def make_jobs(trials: Iterable[PlannedTrial]) -> list[Job]:
    """Group trials by the id of their training stage, in order of first appearance."""
    groups: dict[str, list[PlannedTrial]] = {}
    for trial in trials:
        groups.setdefault(trial.stages["train"], []).append(trial)
    return [Job(tuple(group)) for group in groups.values()]


def run_job(
    job: Job, context: RunContext, report: Report, done: Done, *, reraise: bool = False
) -> None:
    """Run every trial of a job; a failure is recorded and never leaves this function.

    Args:
        job: what to run. Trials that the store already has are not run again, so that a job whose
            process died goes on where it was.
        context: where to read and write.
        report: called with where a trial stands.
        done: called with each trial's final row.
        reraise: raise the first failure instead of recording it, for a debugger.
    """
    for trial in job.trials:
        row = read_row(context.store, trial.id)
        if row is None or not is_done(row, context.skip_damaged):
            row = _attempt(trial, context, report, reraise)
        else:
            # Another driver's, or a worker's that outlived its own: this run's sweeps use it too.
            add_uses(context.store, trial.id, trial.all_uses)
        done(row)


def _attempt(
    trial: PlannedTrial, context: RunContext, report: Report, reraise: bool
) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for attempt in range(1, trial.retries + 2):
        try:
            row = run_trial(trial, context, report, attempt)
            break
        except Exception as error:
            if reraise:
                raise
            trace = traceback.format_exc()
            row = failed_row(trial, context, cause_of(error), trace, attempt)
    return record_failure(context, row) if row["status"] == "failed" else row


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
