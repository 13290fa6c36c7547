"""Population based training: Tune's scheduler copies the best members and changes their settings.

Whatever a changed member reaches, no trial of ours has these settings: its row is "stopped", and no
table shows it. A member that was never changed is a trial like any other.
"""

from __future__ import annotations

import os
import random
import socket
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import nn

from camsweep.platform.attempts import Job, record_failure, run_job
from camsweep.platform.context import Progress, RunContext
from camsweep.platform.engine.shapes import Shape
from camsweep.platform.engine.slot import bundles
from camsweep.platform.failures import cause_of
from camsweep.platform.searching.members import Measuring, State, hand_over, plain, train_member
from camsweep.platform.searching.on_tune import SENT
from camsweep.platform.searching.points import Ground, label_of
from camsweep.platform.searching.rules import EPOCH, VALUE, sign_of
from camsweep.platform.searching.rungs import STOPPED, measure
from camsweep.platform.searching.search import Suggestion
from camsweep.platform.searching.session import Session
from camsweep.platform.searching.tunes import Endings
from camsweep.platform.trial import failed_row
from camsweep.shards.reader import open_split
from camsweep.sweeps.dimension import Dimension
from camsweep.sweeps.identity import content_id
from camsweep.sweeps.plan import PlannedTrial
from camsweep.sweeps.results import write_trial
from camsweep.sweeps.search import SearchSpec
from camsweep.sweeps.tables import trial_table

#: The worst and the best share of the population: the first copy from the second.
QUANTILE = 0.25
#: How often a setting is drawn anew, rather than moved a little.
RESAMPLE = 0.25
FACTORS = (0.8, 1.25)


def search_by_population(
    session: Session,
    shape: Shape,
    storage: str,
    *,
    time_budget: float | None = None,
) -> None:
    """Train the whole population; Ray is there already.

    Args:
        session: of the search.
        shape: what each member takes.
        storage: where Tune keeps the members' states; all nodes see it.
        time_budget: seconds.
    """
    from ray import tune
    from ray.tune.schedulers import PopulationBasedTraining

    spec = session.spec
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
                [{"number": m.number, "settings": plain(m.point)} for m in members]
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


def explorer(spec: SearchSpec, draws: random.Random) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What Tune calls on a copied member's configuration: new settings, always inside the space."""

    def explore(config: dict[str, Any]) -> dict[str, Any]:
        settings = {
            name: _moved(spec.space[name], value, draws)
            for name, value in config["member"]["settings"].items()
        }
        return {"member": {**config["member"], "settings": plain(settings)}}

    return explore


def _moved(dimension: Dimension, value: Any, draws: random.Random) -> Any:
    """A setting a little further, or anew: the next choice, a fifth less, a quarter more."""
    anew = draws.random() < RESAMPLE
    if dimension.choice is not None:
        choices = [plain({"": choice})[""] for choice in dimension.choice]
        if anew:
            return draws.choice(choices)
        place = choices.index(value) + draws.choice((-1, 1))
        return choices[min(max(place, 0), len(choices) - 1)]
    low, high = dimension.bounds
    if anew:
        found = draws.uniform(0, 1)
        found = low * (high / low) ** found if dimension.logarithmic else low + (high - low) * found
    else:
        found = value * draws.choice(FACTORS)
    found = min(max(found, low), high)
    step = dimension.step or (1 if dimension.whole is not None else None)
    if step is not None:
        found = low + round((found - low) / step) * step
        found = found if found <= high else found - step
    return int(found) if dimension.whole is not None else dimension.rounded(float(found))


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
        trial_id = self.members[number].trial.id
        if "row" in result:
            self.session.ended(number, {**result["row"], "id": trial_id})
        elif "progress" in result:
            self.session.audience.progress(Progress(**{**result["progress"], "trial_id": trial_id}))
        elif EPOCH in result:
            self.session.rung(number, result[EPOCH], sign_of(self.session.spec) * result[VALUE])

    def complete(self, config: Mapping[str, Any]) -> None:
        """Its row has come before."""

    def error(self, name: str, config: Mapping[str, Any], trace: str) -> None:
        """A member's process died more often than it is restarted."""
        number = self._numbers.setdefault(name, config["member"]["number"])
        cause = "the member's process died (killed, or out of memory)"
        row = failed_row(self.members[number].trial, self.session.context, cause, trace, 1)
        self.session.ended(number, row)


def run_member(config: dict[str, Any], ground: Ground, context: RunContext) -> None:
    """Tune's trainable: one member, from its beginning or from the state that Tune gives it."""
    from ray import tune

    spec, settings = ground.spec, config["member"]["settings"]
    given = tune.get_checkpoint()
    state = State()
    if given is not None:
        with given.as_directory() as folder:
            state = State.read(Path(folder))
    state.take(settings)
    trial = ground.trial(settings)

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
            run_job(Job((trial,)), context, report, rows.append)
            row = rows[-1] if rows else {"status": "failed", "cause": "another driver runs it"}
    except Exception as error:
        row = failed_row(trial, context, cause_of(error), traceback.format_exc(), 1)
        if not state.changes:
            row = record_failure(context, row)
    tune.report({"row": {name: row.get(name) for name in SENT}})


def changed_row(
    ground: Ground, trial: PlannedTrial, context: RunContext, state: State, net: nn.Module
) -> dict[str, Any]:
    """Write the row of a member whose settings were changed on the way.

    Its id is that of its schedule, which no planned trial can have.
    """
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
        "id": content_id({"study": ground.id, "schedule": state.schedule}),
        "status": STOPPED,
        "sweeps": [ground.sweep.name],
        "labels": [f"schedule {steps}"],
        "traceback": None,
        f"metric.{metric}": value,
    }
    write_trial(context.store, row["id"], {"trials": trial_table(row)})
    return row
