"""A training of a trial: found in the store, or made, alone or by a team."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from camsweep.methods.task import Task
from camsweep.methods.team import Team
from camsweep.methods.training import EpochLog, load_net, train
from camsweep.platform.context import Progress, Report, RunContext
from camsweep.platform.failures import gpu_out_of_memory
from camsweep.platform.inputs import waiting
from camsweep.platform.lessons import Lesson, MethodLesson, named_losses
from camsweep.platform.orders import TrainOrder, ordered, release_memory
from camsweep.platform.stages import (
    SKIPPING,
    WEIGHTS,
    Computed,
    StageResult,
    StoredCheckpoint,
    Tensors,
    ensure_weights,
    read_journal,
    read_skipped,
    take_over,
    write_journal,
    write_skipped,
)
from camsweep.shards.reader import SplitReader
from camsweep.sweeps.plan import PlannedTrial
from camsweep.sweeps.results import artefact_name


@dataclass(frozen=True)
class Training:
    """A training as rank 0 of a team runs it, or one process alone.

    Attributes:
        trial: whose training.
        context: where to read and write.
        reader: of the training split.
        regions: of the split, where the training learns from them: superpixels, or labels.
        pretrained: the first weights, or None.
        report: is told where the training stands.
        team: the processes that divide each step.
        on_net: see ``methods.training.train``.
        lesson: which of the trial's trainings it is.
    """

    trial: PlannedTrial
    context: RunContext
    reader: SplitReader
    regions: Any
    pretrained: Tensors | None
    report: Report
    team: Team
    on_net: Callable[[int, nn.Module], None] | None = None
    lesson: Lesson = field(default_factory=MethodLesson)

    def compute(self, folder: str) -> Computed:
        """Train from the last checkpoint in the folder, if any.

        Where a GPU's memory does not suffice, once more with the smallest parts there are: a step
        is then computed an image at a time, with the same result.
        """
        _, settings = self.lesson.learner(self.trial.config, len(self.reader))
        images = settings.batch // self.team.world
        try:
            return self._trained(folder, 1)
        except Exception as error:
            if images == 1 or not gpu_out_of_memory(error):
                raise
        release_memory()
        return self._trained(folder, images)

    def _trained(self, folder: str, accumulation: int) -> Computed:
        """Train from the last checkpoint, if any, and keep the journal of epochs beside it."""
        trial, context, reader = self.trial, self.context, self.reader
        store, stage = context.store, self.lesson.stage
        learner, settings = self.lesson.learner(trial.config, len(reader))
        epochs = read_journal(store, folder)
        skipped = read_skipped(store, folder)
        phase = stage if accumulation == 1 else f"{stage} in parts"
        if accumulation > 1:
            self.report(Progress(trial.id, phase, len(epochs), settings.epochs))

        def on_epoch(log: EpochLog) -> None:
            # The journal is written before the checkpoint: an epoch can come again after a crash.
            epochs[:] = [*(done for done in epochs if done.epoch < log.epoch), log]
            write_journal(store, folder, epochs)
            speed = len(reader) / max(log.seconds, 1e-9)
            loss = log.losses.get("loss")
            done = log.epoch + 1
            self.report(
                Progress(
                    trial.id,
                    phase,
                    done,
                    settings.epochs,
                    loss,
                    speed,
                    losses=named_losses(stage, log.losses),
                    lr=log.lr,
                )
            )

        def on_damaged(index: int) -> None:
            sample = f"{reader.split}/{reader.keys[index]}"
            if sample not in skipped:
                skipped.append(sample)
                # At once: weights must never be there without their list.
                write_skipped(store, folder, skipped)

        order = TrainOrder(trial, context, self.pretrained, accumulation, self.lesson)
        with ordered(self.team, order):
            weights = train(
                learner,
                settings,
                reader,
                self.regions,
                self.pretrained,
                device=context.device,
                checkpoint=StoredCheckpoint(store, folder),
                on_epoch=on_epoch,
                on_damaged=on_damaged if context.skip_damaged else None,
                on_net=self.on_net,
                threads=context.threads,
                workers=context.workers,
                team=self.team,
                accumulation=accumulation,
            )
        if isinstance(learner, Task) and learner.finish is not None:
            net = load_net(learner, settings, len(reader.manifest.classes), weights)
            learner.finish(net.to(context.device), reader, settings, context.device)
            weights = {name: value.detach().cpu() for name, value in net.state_dict().items()}
        seconds = sum(log.seconds for log in epochs)
        return Computed(weights, seconds, epochs, self.team.world, accumulation)


def trained(training: Training) -> StageResult:
    """The trained weights: of all samples, or with `skip_damaged` of those that can be read.

    A training that leaves out samples has a folder of its own in the store, so that neither its
    weights nor its checkpoint can ever pass for those of whole data, nor take their place. If it
    turns out to have read everything, its weights are everybody's.
    """
    store, stage = training.context.store, training.trial.stages["train"]
    on_wait = waiting(training.trial, training.report)

    def ensured(folder: str) -> StageResult:
        return ensure_weights(store, folder, lambda: training.compute(folder), on_wait)

    if not training.context.skip_damaged or store.exists(artefact_name(stage, WEIGHTS)):
        return ensured(stage)
    apart = stage + SKIPPING
    with store.lock(apart, on_wait):
        take_over(store, stage, apart)
    result = ensured(apart)
    if result.skipped:
        return result
    whole = Computed(
        result.tensors, result.seconds, result.epochs, result.workers, result.accumulation
    )
    result = ensure_weights(store, stage, lambda: whole, on_wait)
    with store.lock(apart, on_wait):
        store.delete_folder(f"artefacts/{apart}")
    return result
