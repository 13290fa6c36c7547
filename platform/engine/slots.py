"""The loop around Ray Tune that starts slots, hears of their deaths and gives hopeless jobs up."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camsweep.platform.attempts import Job, record_failure
from camsweep.platform.context import RunContext
from camsweep.platform.engine.environment import described_nodes
from camsweep.platform.engine.shapes import Shape, nodes_of
from camsweep.platform.engine.slot import SENT, bundles, run_slot
from camsweep.platform.team import free_orphans, tidied
from camsweep.platform.trial import failed_row
from camsweep.sweeps.results import is_done, read_row


@dataclass(frozen=True)
class Placing:
    """What the placing of slots needs; picklable, as it may be done inside the cluster.

    Attributes:
        coordinator: handle of the actor.
        context: handed to every trial.
        jobs: by number.
        storage: where Tune may write.
        limit: slots at a time, or None.
        time_budget: seconds, or None.
        teams: whether some trials take several workers.
        mark: a file in the store that every node must see, or None.
    """

    coordinator: Any
    context: RunContext
    jobs: Sequence[Job]
    storage: str
    limit: int | None
    time_budget: float | None
    teams: bool
    mark: str | None


def place_slots(placing: Placing) -> str | None:
    """Let Tune run slots until every job has ended; returns why it could not, or None.

    It talks to the coordinator alone, so that it can run in the driver or inside a cluster.
    """
    with tidied() if placing.teams else nullcontext():
        return _place_slots(placing)


def _place_slots(placing: Placing) -> str | None:
    import ray
    from ray import tune

    from camsweep.platform.engine.placing import SlotSearcher

    coordinator, context = placing.coordinator, placing.context
    searcher = SlotSearcher(
        lambda: ray.get(coordinator.demand.remote()),
        lambda name, shape: ray.get(coordinator.began.remote(name, shape)),
        lambda: nodes_of(described_nodes()),
        placing.limit,
        lambda text: coordinator.tell.remote("message", text),
    )
    trainable = tune.with_resources(
        tune.with_parameters(run_slot, coordinator=coordinator, context=context, mark=placing.mark),
        lambda config: bundles(Shape(*config["shape"])),
    )

    def died(name: str, cause: str, node_lost: bool) -> None:
        if placing.teams:
            with suppress(Exception):  # what can't be tidied now is at the end
                free_orphans()
        number = ray.get(coordinator.died.remote(name, cause, node_lost))
        if number is not None:
            for row in _give_up(placing.jobs[number], context, cause):
                ray.get(coordinator.tell.remote("row", row))

    tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            max_concurrent_trials=10**6,
            reuse_actors=False,
            time_budget_s=placing.time_budget,
            trial_dirname_creator=lambda trial: str(trial.config["slot"]),
        ),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=placing.storage,
            verbose=0,
            # A slot that died is not restored; another one is placed, if there is work for it.
            failure_config=tune.FailureConfig(max_failures=0),
            callbacks=[_obituaries(died)],
        ),
    ).fit()
    return searcher.broken


def place_inside(tell: Callable[[Any], None], placing: Placing) -> str | None:
    """`place_slots` in a process of the cluster; it has no news but the coordinator's."""
    return place_slots(placing)


def _obituaries(died: Callable[[str, str, bool], None]) -> Any:
    from ray import tune

    class Obituaries(tune.Callback):
        """Tells of slots whose process died; every exception of a trial is recorded in there."""

        def __init__(self, died: Callable[[str, str, bool], None]) -> None:
            self.died = died

        def __getstate__(self) -> dict[str, Any]:
            """Tune pickles its callbacks, class and all, into a snapshot that we never restore."""
            return {}

        def on_trial_error(
            self, iteration: int, trials: list[Any], trial: Any, **info: Any
        ) -> None:
            self.died(trial.config["slot"], *death(_error_text(trial)))

    return Obituaries(died)


def _error_text(trial: Any) -> str:
    """What Tune keeps of an error in its own folder on the driver's disk; may be empty."""
    try:
        return Path(trial.error_file).read_text(errors="replace")
    except (OSError, TypeError):
        return ""


def death(trace: str) -> tuple[str, bool]:
    """Why a slot died, in one line, and whether its node may have gone with it.

    Args:
        trace: the text of Ray's error.
    """
    if "OutOfMemory" in trace:
        return "out of memory: the machine ran out and Ray ended the trial's process", False
    if "worker process has died" in trace:
        return "the trial's process died (killed, or out of memory)", False
    # A node that has just gone is at first only one that does not answer.
    if re.search("ActorUnavailable|ActorDied|NodeDied|node has died|is unavailable", trace):
        return "the trial's node was lost", True
    lines = [line for line in trace.strip().splitlines() if line.strip()]
    return (lines[-1].strip() if lines else "the trial's process died"), False


def _give_up(job: Job, context: RunContext, cause: str) -> Iterator[dict[str, Any]]:
    """Write down the trials of a job whose process died more often than it is started again."""
    for planned in job.trials:
        row = read_row(context.store, planned.id)
        if row is None or not is_done(row, context.skip_damaged):
            failed = failed_row(planned, context, cause, cause, planned.retries + 1)
            row = record_failure(context, failed)
        yield {name: row.get(name) for name in SENT}
