"""Population based training: Tune's scheduler copies the best members and changes their settings.

Whatever a changed member reaches, no trial of ours has these settings: it gets a row of its own
under the id of its schedule, and the trial that it was begun as gets one without a result. Both are
"stopped", and no table shows them. A member that was never changed is a trial like any other.
"""

from __future__ import annotations

import os
import random
import socket
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import nn

from camsweep.platform.attempts import Job, record_failure, run_job
from camsweep.platform.context import Progress, RunContext
from camsweep.platform.engine.shapes import Shape
from camsweep.platform.engine.slot import bundles
from camsweep.platform.failures import cause_of
from camsweep.platform.searching.changeable import explorer
from camsweep.platform.searching.here import ELSEWHERE_SECONDS
from camsweep.platform.searching.members import Measuring, State, hand_over, plain, train_member
from camsweep.platform.searching.points import Ground, label_of
from camsweep.platform.searching.rules import EPOCH, VALUE, sign_of
from camsweep.platform.searching.rungs import STOPPED, measure, record_stop
from camsweep.platform.searching.search import Suggestion, news_of
from camsweep.platform.searching.session import Session
from camsweep.platform.searching.tunes import Endings
from camsweep.platform.trial import failed_row
from camsweep.shards.reader import open_split
from camsweep.sweeps.identity import content_id
from camsweep.sweeps.leasing.leases import claim
from camsweep.sweeps.plan import PlannedTrial
from camsweep.sweeps.results import write_trial
from camsweep.sweeps.search import POPULATION
from camsweep.sweeps.tables import trial_table

#: The worst and the best share of the population: the first copy from the second.
QUANTILE = 0.25


def search_by_population(
    session: Session,
    shape: Shape,
    storage: str,
    *,
    time_budget: float | None = None,
) -> None:
    """Train the whole population; Ray is there already.

    Where fewer members may be run now than a population has, none is; where only a few are left of
    an earlier run, they are one.

    Args:
        session: of the search.
        shape: what each member takes.
        storage: where Tune keeps the members' states; all nodes see it.
        time_budget: seconds.
    """
    from ray import tune
    from ray.tune.schedulers import PopulationBasedTraining

    spec, limit = session.spec, session.max_trials
    needed = min(POPULATION, spec.samples - session.search.samples())
    if limit is not None and limit < needed:
        session.audience.messages.append(
            f"search   {session.search.ground.sweep.name}: not begun: pbt trains {needed} members "
            f"or more side by side, --max-trials allows {limit}"
        )
        return
    members: list[Suggestion] = []
    while (found := session.next()) is not None:
        members.append(found)
    if not members:
        return
    os.environ["TUNE_DISABLE_STRICT_METRIC_CHECKING"] = "1"
    by_number = {member.number: member for member in members}
    driver = _Driver(session, by_number)
    context = replace(session.context, device="cuda" if shape.gpus > 0 else "cpu")
    trainable = tune.with_parameters(run_member, ground=session.search.ground, context=context)
    draws = random.Random(spec.seed)
    tune.Tuner(
        tune.with_resources(trainable, bundles(shape)),
        param_space={
            "member": tune.grid_search(
                [{"number": m.number, "settings": plain(m.point), "copy": 0} for m in members]
            )
        },
        tune_config=tune.TuneConfig(
            scheduler=PopulationBasedTraining(
                time_attr=EPOCH,
                metric=VALUE,
                mode="max",
                perturbation_interval=spec.scheduler.grace,
                quantile_fraction=QUANTILE,
                custom_explore_fn=explorer(spec, draws),
                log_config=False,
                require_attrs=False,
            ),
            # All members are alive at a time and take turns: Tune pauses one after each change.
            max_concurrent_trials=len(members),
            reuse_actors=True,
            time_budget_s=time_budget,
            trial_dirname_creator=lambda trial: f"member-{trial.trial_id}",
        ),
        run_config=tune.RunConfig(
            name="search",
            storage_path=storage,
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(num_to_keep=4),
            failure_config=tune.FailureConfig(max_failures=members[0].trial.retries),
            callbacks=[Endings(driver.result, driver.complete, driver.error)],
        ),
    ).fit()
    session.conclude()


class _Driver:
    """What the driver does with Tune's news.

    A configuration that was copied names the member that it was copied from; so members are told
    apart by Tune's own ids, noted at their first news, which comes before any change.
    """

    def __init__(self, session: Session, members: Mapping[int, Suggestion]) -> None:
        self.session, self.members = session, members
        self._numbers: dict[str, int] = {}

    def result(self, name: str, config: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """A member reported: progress, what it is worth, or its final row."""
        number = self._numbers.setdefault(name, config["member"]["number"])
        member = self.members[number].trial
        if "row" in result:
            row = result["row"]
            if row["id"] != member.id:
                row = self._ended_changed(member, row)
            self.session.ended(number, row)
        elif "progress" in result:
            news = {**result["progress"], "trial_id": member.id}
            self.session.audience.progress(Progress(**news))
        elif EPOCH in result:
            self.session.rung(number, result[EPOCH], sign_of(self.session.spec) * result[VALUE])

    def _ended_changed(self, member: PlannedTrial, row: Mapping[str, Any]) -> dict[str, Any]:
        """Write down that the trial which a member was begun as will not be trained any more.

        Returns:
            The trial's row: the new one, or its result where another driver has run it.
        """
        context, cause = self.session.context, str(row["cause"])
        lease = claim(context.store, member.id, owner=context.owner)
        if lease is None:
            return {**row, "id": member.id}  # somebody runs it and will write its row
        with lease:
            if row["status"] == STOPPED:
                return record_stop(member, context, cause, 1)
            trace = str(row["traceback"])
            return record_failure(context, failed_row(member, context, cause, trace, 1))

    def complete(self, config: Mapping[str, Any]) -> None:
        """Its row has come before."""

    def error(self, name: str, config: Mapping[str, Any], trace: str) -> None:
        """A member's process died more often than it is restarted."""
        number = self._numbers.setdefault(name, config["member"]["number"])
        cause = "the member's process died (killed, or out of memory)"
        trial, context = self.members[number].trial, self.session.context
        row = failed_row(trial, context, cause, trace, trial.retries + 1)
        self.session.ended(number, record_failure(context, row))


def run_member(config: dict[str, Any], ground: Ground, context: RunContext) -> None:
    """Tune's trainable: one member, from its beginning or from the state that Tune gives it."""
    from ray import tune

    spec, member = ground.spec, config["member"]
    given = tune.get_checkpoint()
    state = State()
    if given is not None:
        with given.as_directory() as folder:
            state = State.read(Path(folder))
    state.take(member["settings"], member["copy"])
    trial = ground.trial(member["settings"])

    def report(progress: Progress) -> None:
        tune.report({"progress": {**asdict(progress), "node": socket.gethostname()}})

    def tell(epoch: int, value: float, folder: str) -> None:
        tune.report(
            {EPOCH: epoch, VALUE: sign_of(spec) * value},
            checkpoint=tune.Checkpoint.from_directory(folder),
        )

    measuring = Measuring(spec.metric[0], spec.scheduler.images, tell)
    try:
        net = train_member(trial, context, report, state, measuring)
        if state.changes:
            assert net is not None  # the state of the last epoch is never kept
            row = changed_row(ground, trial, context, state, net)
        else:
            hand_over(trial, context, state)
            rows: list[dict[str, Any]] = []
            while run_job(Job((trial,)), context, report, rows.append):
                time.sleep(ELSEWHERE_SECONDS)  # another driver has it
            row = rows[-1]
    except Exception as error:
        row = failed_row(trial, context, cause_of(error), traceback.format_exc(), 1)
        # Whose settings were changed has no trial here: the driver knows which one it was.
        row = {**row, "id": _id(ground, state)} if state.changes else record_failure(context, row)
    tune.report({"row": {**news_of(row, spec), "traceback": row.get("traceback")}})


def _id(ground: Ground, state: State) -> str:
    """The id of a changed member: that of its schedule, which no planned trial can have."""
    return content_id({"study": ground.id, "schedule": state.schedule})


def changed_row(
    ground: Ground, trial: PlannedTrial, context: RunContext, state: State, net: nn.Module
) -> dict[str, Any]:
    """Write the row of a member whose settings were changed on the way."""
    metric = ground.spec.metric[0]
    size = len(open_split(context.data, trial.config.eval_split, strict=False))
    value = measure(trial, context, net, metric, size)
    epochs = ", ".join(str(epoch) for epoch in state.changes)
    noun = "epoch" if len(state.changes) == 1 else "epochs"
    steps = "; ".join(f"from {epoch}: {label_of(point)}" for epoch, point in state.schedule)
    row = {
        **failed_row(
            trial, context, f"population based: settings changed at {noun} {epochs}", "", 1
        ),
        "id": _id(ground, state),
        "status": STOPPED,
        "sweeps": [ground.sweep.name],
        "labels": [f"schedule {steps}"],
        "traceback": None,
        f"metric.{metric}": value,
    }
    write_trial(context.store, row["id"], {"trials": trial_table(row)})
    return row
