"""One member of a population: a training whose settings Tune may change between two epochs.

Its state travels in Tune's checkpoints, as safetensors and JSON: a member that does badly goes on
from a copy of one that does well.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from camsweep.methods.base import load_method
from camsweep.methods.training import EpochLog, train
from camsweep.platform.context import Progress, Report, RunContext
from camsweep.platform.inputs import pretrained_for, superpixels_for
from camsweep.platform.searching.rungs import measure
from camsweep.platform.stages import WEIGHTS, StoredCheckpoint, write_journal
from camsweep.shards.places.files import write_whole
from camsweep.shards.reader import open_split
from camsweep.sweeps.plan import PlannedTrial
from camsweep.sweeps.results import artefact_name
from camsweep.sweeps.search import Point

TENSORS, FACTS = "state.safetensors", "facts.json"


@dataclass
class State:
    """Where a member stands; also the `Checkpoint` that its training reads and writes.

    Attributes:
        step: optimiser steps made; 0 = not begun.
        tensors: network and momentum after them.
        schedule: from which epoch on it had which settings.
        epochs: the journal, of the member or of those it was copied from.
        copy: the number of the copy that the member is; 0 = it is none.
    """

    step: int = 0
    tensors: dict[str, Tensor] = field(default_factory=dict)
    schedule: list[tuple[int, Point]] = field(default_factory=list)
    epochs: list[EpochLog] = field(default_factory=list)
    copy: int = 0

    def load(self) -> tuple[int, dict[str, Tensor]] | None:
        """What the training begins with."""
        return (self.step, dict(self.tensors)) if self.step else None

    def save(self, step: int, tensors: dict[str, Tensor]) -> None:
        """What the training has come to."""
        self.step, self.tensors = step, tensors

    def take(self, settings: Point, copy: int = 0) -> None:
        """Go on with these settings; noted where the state is another member's.

        A copy whose settings happen to be those of the member that it was made from is noted, too:
        that training is the other's.
        """
        if not self.schedule or copy != self.copy or self.schedule[-1][1] != settings:
            self.schedule.append((len(self.epochs), dict(settings)))
        self.copy = copy

    @property
    def changes(self) -> list[int]:
        """The epochs after which the settings were changed."""
        return [epoch for epoch, _ in self.schedule[1:]]

    def write(self, folder: Path) -> None:
        """Keep it in a folder."""
        save_file(self.tensors, folder / TENSORS)
        facts = {
            "step": self.step,
            "schedule": self.schedule,
            "epochs": [asdict(log) for log in self.epochs],
            "copy": self.copy,
        }
        write_whole(folder / FACTS, json.dumps(facts).encode())

    @classmethod
    def read(cls, folder: Path) -> State:
        """What `write` kept."""
        facts = json.loads((folder / FACTS).read_bytes())
        return cls(
            facts["step"],
            load_file(folder / TENSORS),
            [(epoch, settings) for epoch, settings in facts["schedule"]],
            [EpochLog(**log) for log in facts["epochs"]],
            facts["copy"],
        )


@dataclass(frozen=True)
class Measuring:
    """What is measured after each epoch, and who is told.

    Attributes:
        metric: its name.
        images: of the evaluation split.
        tell: called with the epochs done, the value, and a folder with the member's state.
    """

    metric: str
    images: int
    tell: Any


def train_member(
    trial: PlannedTrial,
    context: RunContext,
    report: Report,
    state: State,
    measuring: Measuring,
) -> nn.Module | None:
    """Train a member from its state to the end, unless `tell` ends it.

    Args:
        trial: with the settings from now on.
        context: where to read.
        report: told where the training stands.
        state: is kept up to date.
        measuring: what to measure, and whom to tell.

    Returns:
        The network after the last epoch; None where nothing was left to train.
    """
    config = trial.config
    torch.set_num_threads(context.threads)
    reader = open_split(context.data, config.train_split, strict=not context.skip_damaged)
    pretrained, _ = pretrained_for(trial, context, report)
    last: list[nn.Module] = []

    def on_epoch(log: EpochLog) -> None:
        state.epochs.append(log)
        loss = log.losses.get("loss")
        report(Progress(trial.id, "train", log.epoch + 1, config.epochs, loss))

    def on_net(epoch: int, net: nn.Module) -> None:
        if epoch == config.epochs:
            last.append(net)
            return
        value = measure(trial, context, net, measuring.metric, measuring.images)
        with tempfile.TemporaryDirectory(prefix="camsweep-member-") as folder:
            state.write(Path(folder))
            measuring.tell(epoch, value, folder)

    train(
        load_method(config.method),
        config,
        reader,
        superpixels_for(trial, context, reader, report),
        pretrained,
        device=context.device,
        checkpoint=state,
        every=float("inf"),  # whole epochs alone: a copy must begin where its journal ends
        on_epoch=on_epoch,
        on_damaged=(lambda index: None) if context.skip_damaged else None,
        on_net=on_net,
        threads=context.threads,
        workers=context.workers,
    )
    return last[0] if last else None


def hand_over(trial: PlannedTrial, context: RunContext, state: State) -> None:
    """Give a member's training, whose settings never changed, to the trial that it is.

    `run_trial` finds it as its own checkpoint, with nothing left to train.
    """
    store, stage = context.store, trial.stages["train"]
    with store.lock(stage):
        if not store.exists(artefact_name(stage, WEIGHTS)):
            write_journal(store, stage, state.epochs)
            StoredCheckpoint(store, stage).save(state.step, state.tensors)


def plain(settings: Mapping[str, Any]) -> Point:
    """Settings as they come back from JSON, so that they can be compared."""
    found: Point = json.loads(json.dumps(dict(settings)))
    return found
