"""The trainings of a trial: what each of them trains, with what settings, on which regions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from camsweep.methods.base import Method, load_method
from camsweep.methods.config import Stage, TrialConfig
from camsweep.methods.task import Task
from camsweep.platform.context import Report, RunContext
from camsweep.platform.inputs import superpixels_for
from camsweep.shards.reader import SplitReader
from camsweep.sweeps.plan import PlannedTrial


class Lesson(Protocol):
    """One training of a trial; made anew on every rank, so it holds nothing but names.

    Attributes:
        stage: whose artefact the weights are, and whose first weights they start from.
    """

    stage: Stage

    def learner(self, config: Any, images: int) -> tuple[Method | Task, Any]:
        """What is trained, and with what settings, on so many images."""

    def regions(
        self, trial: PlannedTrial, context: RunContext, reader: SplitReader, report: Report
    ) -> Any:
        """The regions of the images that the training learns from, or None."""


def named_losses(stage: Stage, losses: Mapping[str, float]) -> dict[str, float]:
    """A training's losses as a trial's journal calls them: later ones by their stage, too."""
    return {name if stage == "train" else f"{stage}.{name}": v for name, v in losses.items()}


class MethodLesson:
    """The method's own network."""

    stage: Stage = "train"

    def learner(self, config: TrialConfig, images: int) -> tuple[Method, TrialConfig]:
        """The method under the trial's settings."""
        return load_method(config.method), config

    def regions(
        self, trial: PlannedTrial, context: RunContext, reader: SplitReader, report: Report
    ) -> Any:
        """Superpixels where the method hides them."""
        return superpixels_for(trial, context, reader, report)
