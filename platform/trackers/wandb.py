"""Weights & Biases: one run a trial in a project, grouped by sweep; offline unless asked."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from camsweep.platform.trackers.facts import Ended, TrialFacts
from camsweep.shards.errors import InputError

#: Set where the user has not, while nothing may go over the network.
ENVIRONMENT = {"WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}
#: Nothing printed, none of the driver's output, code or load recorded: a run is a trial's.
QUIET: dict[str, Any] = {
    "silent": True,
    "console": "off",
    "disable_git": True,
    "disable_code": True,
    "x_disable_stats": True,
    "init_timeout": 30.0,  # seconds; its own is 90
}


class Backend:
    """Writes to `WANDB_DIR` (default `./wandb`); `wandb sync` sends it later.

    With `WANDB_MODE=online` it goes to the server at once, logged in by the user's own means.

    Args:
        where: `PROJECT` or `ENTITY/PROJECT`.

    Raises:
        InputError: a project's name that Weights & Biases would refuse.
    """

    name = "wandb"

    def __init__(self, where: str) -> None:
        if not re.fullmatch(r"[^/\\#?%:]{1,128}(/[^/\\#?%:]{1,128})?", where):
            raise InputError(
                f"track wandb: '{where}' is no project; write PROJECT or ENTITY/PROJECT"
            )
        os.environ.update({k: os.environ.get(k, v) for k, v in ENVIRONMENT.items()})
        import wandb  # noqa: F401  (missing: told before the run)

        entity, _, self._project = where.rpartition("/")
        self._entity = entity or None
        self._runs: dict[str, Any] = {}

    def begin(self, trial: TrialFacts) -> None:
        """Open a run whose id is the trial's, so that a resumed trial goes on in the same one."""
        import wandb

        run = wandb.init(
            project=self._project,
            entity=self._entity,
            id=trial.id[:32],
            name=trial.name,
            group=trial.sweep or None,
            job_type=trial.method or None,
            config={"method": trial.method, "seed": trial.seed, **trial.config, "trial": trial.id},
            resume="allow",
            reinit="create_new",  # several trials run at a time
            settings=wandb.Settings(**QUIET),
        )
        run.define_metric("epoch")
        run.define_metric("*", step_metric="epoch")
        self._runs[trial.id] = run

    def epoch(self, trial: TrialFacts, epoch: int, values: Mapping[str, float]) -> None:
        """The values with the epoch, which is the axis of all plots."""
        self._runs[trial.id].log({"epoch": epoch, **values})

    def end(self, trial: TrialFacts, ended: Ended) -> None:
        """The final numbers into the run's summary; anything but done ends it as failed."""
        run = self._runs.pop(trial.id)
        about = {"status": ended.status, "cause": ended.cause or None, **ended.about}
        run.summary.update({**ended.metrics, **{k: v for k, v in about.items() if v}})
        run.finish(exit_code=0 if ended.status in ("done", "stopped") else 1)

    def close(self) -> None:
        """The runs of interrupted trials end as failed; the next run goes on with them."""
        while self._runs:
            self._runs.popitem()[1].finish(exit_code=255)
