"""What a training is worth after each epoch, and its end before time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from camsweep.methods.base import load_method
from camsweep.platform.attempts import record_failure
from camsweep.platform.context import Report, RunContext
from camsweep.platform.evaluation import evaluate
from camsweep.platform.trial import failed_row, run_trial
from camsweep.shards.decoding import Sample
from camsweep.shards.reader import SplitReader, open_split
from camsweep.sweeps.plan import PlannedTrial

STOPPED = "stopped"


class Stopped(BaseException):
    """A training is ended early. No failure: whoever tries failed trials again must not see it."""

    def __init__(self, cause: str) -> None:
        """Say why."""
        super().__init__(cause)
        self.cause = cause


class Part:
    """Some samples of a split, evenly spread, as a reader of their own."""

    def __init__(self, reader: SplitReader, count: int) -> None:
        """At most `count` of the reader's samples, always the same."""
        self._reader = reader
        size = len(reader)
        self._chosen = np.unique(np.linspace(0, size - 1, min(count, size)).round().astype(int))
        self.keys = [reader.keys[i] for i in self._chosen]
        self.labels = np.asarray(reader.labels)[self._chosen]
        self.manifest, self.place, self.split = reader.manifest, reader.place, reader.split

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> Sample:
        """Sample `index` of the part."""
        return self._reader[int(self._chosen[index])]


@dataclass
class Watch:
    """Measures a network after each epoch but the last, and asks whether it goes on.

    Attributes:
        metric: what is measured.
        images: on how many images of the evaluation split.
        goes_on: told the epochs done and the value; false ends the training.
        cause: says why, by the number of epochs.
    """

    metric: str
    images: int
    goes_on: Callable[[int, float], bool]
    cause: Callable[[int], str]

    def run(
        self, trial: PlannedTrial, context: RunContext, report: Report, attempt: int = 1
    ) -> dict[str, Any]:
        """`run_trial` under this watch.

        Returns:
            The trial's row; one that was ended early has the status "stopped", and its checkpoint
            stays, so that whoever needs the whole trial goes on from there.
        """

        def on_net(epoch: int, net: nn.Module) -> None:
            if epoch >= trial.config.epochs:
                return  # the evaluation proper comes next
            if not self.goes_on(epoch, measure(trial, context, net, self.metric, self.images)):
                raise Stopped(self.cause(epoch))

        try:
            return run_trial(trial, context, report, attempt, on_net=on_net)
        except Stopped as stop:
            return record_stop(trial, context, stop.cause, attempt)


def measure(
    trial: PlannedTrial, context: RunContext, net: nn.Module, metric: str, images: int
) -> float:
    """A metric of the network so far on a part of the evaluation split, as a fraction.

    Damaged images are left out: they are for the evaluation proper to report.
    """
    config = trial.config
    reader = open_split(context.data, config.eval_split, strict=False)
    found = evaluate(
        load_method(config.method),
        net,
        Part(reader, images),  # type: ignore[arg-type]
        config,
        context.device,
        on_damaged=lambda index: None,
        workers=context.workers,
    )
    return found.metrics()[metric]


def record_stop(
    trial: PlannedTrial, context: RunContext, cause: str, attempts: int
) -> dict[str, Any]:
    """Write the row of a trial that was ended early, unless the store has its result.

    Returns:
        The row that stands.
    """
    row = {**failed_row(trial, context, cause, "", attempts), "status": STOPPED, "traceback": None}
    return record_failure(context, row)
