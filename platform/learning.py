"""The stages of a trial that learn: superpixels to train on, pretraining, training."""

from __future__ import annotations

import time
from pathlib import Path

from camsweep.methods.base import load_method
from camsweep.methods.pretrain import PretrainLog, pretrain_embedded
from camsweep.methods.training import EpochLog, train
from camsweep.methods.weights import file_sha256, read_weights
from camsweep.platform.context import Progress, Report, RunContext
from camsweep.platform.stages import (
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
from camsweep.shards.errors import InputError
from camsweep.shards.reader import SplitReader
from camsweep.shards.superpixels import SuperpixelReader, open_superpixels
from camsweep.sweeps.plan import PlannedTrial
from camsweep.sweeps.results import artefact_name

#: Trials that start together wait for the one that pretrains, so it may use a second core. Fixed,
#: as the number of threads decides how sums are rounded.
PRETRAIN_THREADS = 2


def superpixels_for(
    trial: PlannedTrial, context: RunContext, reader: SplitReader, report: Report
) -> SuperpixelReader | None:
    """The superpixels that the training needs, computed where nobody has yet; or None."""
    wanted = trial.config.superpixels()
    if wanted is None:
        return None
    return open_superpixels(
        reader.place,
        reader.split,
        wanted.s_n,
        compactness=wanted.compactness,
        scaling=wanted.scaling,
        workers=max(1, context.threads, context.workers),
        reader=reader,
        skip_damaged=context.skip_damaged,
        on_progress=lambda what, done, total: report(
            Progress(trial.id, "superpixels", done, total)
        ),
    )


def pretrained_for(
    trial: PlannedTrial, context: RunContext, report: Report
) -> tuple[Tensors | None, float]:
    """The backbone's first weights and the seconds they took, or None for random ones."""
    config = trial.config
    if config.pretrain == "none":
        return None, 0.0
    if config.pretrain == "weights":
        path = context.weights.get(config.backbone, context.weights.get(""))
        if path is None:
            raise InputError("pretrain: weights needs a weights file; give --weights FILE")
        if file_sha256(Path(path)) != config.weights_sha256:
            raise InputError(f"--weights {path}: changed since the run was started")
        return read_weights(Path(path)), 0.0

    def compute() -> Computed:
        clock = time.perf_counter()

        def on_epoch(log: PretrainLog) -> None:
            report(Progress(trial.id, "pretrain", log.epoch, log.epochs, loss=log.loss))

        tensors = pretrain_embedded(
            config.pretrain_seed,
            config.pretrain_images,
            config.pretrain_epochs,
            on_epoch,
            threads=PRETRAIN_THREADS,
        )
        return Computed(tensors, time.perf_counter() - clock)

    result = ensure_weights(context.store, trial.stages["pretrain"], compute)
    return result.tensors, result.seconds


def trained(
    trial: PlannedTrial,
    context: RunContext,
    reader: SplitReader,
    superpixels: SuperpixelReader | None,
    pretrained: Tensors | None,
    report: Report,
) -> StageResult:
    """The trained weights: of all samples, or with `skip_damaged` of those that can be read.

    A training that leaves out samples has a folder of its own in the store, so that neither its
    weights nor its checkpoint can ever pass for those of whole data, nor take their place. If it
    turns out to have read everything, its weights are everybody's.
    """
    store, stage = context.store, trial.stages["train"]

    def compute(folder: str) -> Computed:
        return _train(trial, context, folder, reader, superpixels, pretrained, report)

    if not context.skip_damaged or store.exists(artefact_name(stage, WEIGHTS)):
        return ensure_weights(store, stage, lambda: compute(stage))
    apart = f"{stage}-skipping"
    with store.lock(apart):
        take_over(store, stage, apart)
    result = ensure_weights(store, apart, lambda: compute(apart))
    if result.skipped:
        return result
    whole = Computed(result.tensors, result.seconds, result.epochs)
    result = ensure_weights(store, stage, lambda: whole)
    with store.lock(apart):
        store.delete_folder(f"artefacts/{apart}")
    return result


def _train(
    trial: PlannedTrial,
    context: RunContext,
    folder: str,
    reader: SplitReader,
    superpixels: SuperpixelReader | None,
    pretrained: Tensors | None,
    report: Report,
) -> Computed:
    """Train from the last checkpoint, if any, and keep the journal of epochs beside it."""
    config, store = trial.config, context.store
    epochs = read_journal(store, folder)
    skipped = read_skipped(store, folder)

    def on_epoch(log: EpochLog) -> None:
        # The journal is written before the checkpoint: an epoch can come again after a crash.
        epochs[:] = [*(done for done in epochs if done.epoch < log.epoch), log]
        write_journal(store, folder, epochs)
        speed = len(reader) / max(log.seconds, 1e-9)
        loss = log.losses.get("loss")
        report(Progress(trial.id, "train", log.epoch + 1, config.epochs, loss, speed))

    def on_damaged(index: int) -> None:
        sample = f"{reader.split}/{reader.keys[index]}"
        if sample not in skipped:
            skipped.append(sample)
            # At once: weights must never be there without their list.
            write_skipped(store, folder, skipped)

    weights = train(
        load_method(config.method),
        config,
        reader,
        superpixels,
        pretrained,
        device=context.device,
        checkpoint=StoredCheckpoint(store, folder),
        on_epoch=on_epoch,
        on_damaged=on_damaged if context.skip_damaged else None,
        threads=context.threads,
        workers=context.workers,
    )
    return Computed(weights, sum(log.seconds for log in epochs), epochs)
