"""One trial from start to end, without Ray: in a notebook, a debugger or a Ray worker.

    pretrain -> train -> localize -> evaluate

A trial is a pure function of its config and data. What its stages compute is kept in the store by
stage id; localize and evaluate are one pass over the images (platform.evaluation).
"""

from __future__ import annotations

import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from camsweep.methods.base import load_method
from camsweep.methods.pretrain import PretrainLog, pretrain_embedded
from camsweep.methods.training import EpochLog, load_net, train
from camsweep.methods.weights import file_sha256, read_weights
from camsweep.platform.context import Progress, Report, RunContext
from camsweep.platform.evaluation import Evaluation, evaluate
from camsweep.platform.memory import peak_bytes, reset_peak
from camsweep.platform.provenance import hardware
from camsweep.platform.stages import (
    StoredCheckpoint,
    Tensors,
    add_skipped,
    ensure_weights,
    read_journal,
    read_skipped,
    write_journal,
    write_tensors,
)
from camsweep.shards.errors import InputError
from camsweep.shards.reader import SplitReader, open_split
from camsweep.shards.superpixels import SuperpixelReader, open_superpixels
from camsweep.sweeps.identity import recipe_text
from camsweep.sweeps.plan import PlannedTrial
from camsweep.sweeps.results import (
    artefact_name,
    config_types,
    curve_table,
    epoch_table,
    image_table,
    merged_uses,
    read_row,
    trial_table,
    write_trial,
)

#: Trials that start together wait for the one that pretrains, so it may use a second core. Fixed,
#: as the number of threads decides how sums are rounded.
PRETRAIN_THREADS = 2


def run_trial(
    trial: PlannedTrial, context: RunContext, report: Report, attempt: int = 1
) -> dict[str, Any]:
    """Run one trial and write its files.

    Args:
        trial: what to run.
        context: where to read and write.
        report: called with where the trial stands.
        attempt: 1, or more after a failure; for the record only.

    Returns:
        The trial's row as it was written.

    Raises:
        InputError: data or weights are wrong; nothing of the trial is written.
        TrainingDiverged: a loss was not finite.
    """
    started = datetime.now(UTC)
    device = context.device
    torch.set_num_threads(context.threads)
    reset_peak(device)
    config, method = trial.config, load_method(trial.config.method)
    strict = not context.skip_damaged
    train_reader = open_split(context.data, config.train_split, strict=strict)
    superpixels = _superpixels(trial, context, train_reader, report)
    pretrained, pretrain_seconds = _pretrain(trial, context, report)
    result = ensure_weights(
        context.store,
        trial.stages["train"],
        lambda: _train(trial, context, train_reader, superpixels, pretrained, device, report),
        skip_damaged=context.skip_damaged,
    )
    skipped = read_skipped(context.store, trial.stages["train"])
    eval_reader = open_split(context.data, config.eval_split, strict=strict)
    net = load_net(method, config, len(eval_reader.manifest.classes), result.tensors)
    clock = time.perf_counter()
    count = len(eval_reader)

    def on_image(index: int) -> None:
        if index % 50 == 49 or index + 1 == count:
            report(Progress(trial.id, "evaluate", index + 1, count))

    def on_damaged(index: int) -> None:
        skipped.append(f"{config.eval_split}/{eval_reader.keys[index]}")

    skip = on_damaged if context.skip_damaged else None
    found = evaluate(method, net, eval_reader, config, device, on_image, skip, context.workers)
    seconds = {
        "pretrain": pretrain_seconds,
        "train": result.seconds,
        "evaluate": time.perf_counter() - clock,
    }
    row = {
        **_about(trial, context, started),
        "status": "done",
        "attempts": attempt,
        "classes": list(eval_reader.manifest.classes),
        "train_images": len(train_reader),
        "eval_images": len(found.keys),
        "skipped": list(dict.fromkeys(skipped)),
        "train_seconds": result.seconds,
        "images_per_second": config.epochs * len(train_reader) / max(result.seconds, 1e-9),
        "peak_memory_bytes": peak_bytes(device),
        "parameters": sum(p.numel() for p in net.parameters()),
        "finished": datetime.now(UTC),
        **{f"seconds.{name}": value for name, value in seconds.items()},
        **{f"metric.{name}": value for name, value in found.metrics().items()},
    }
    if superpixels is not None:
        made = superpixels.segments[superpixels.segments > 0]  # none where an image was damaged
        row["metric.segments_mean"] = float(made.mean())
    _write(trial, context, row, found)
    return row


def failed_row(
    trial: PlannedTrial, context: RunContext, cause: str, trace: str, attempts: int
) -> dict[str, Any]:
    """The row of a trial that failed: its cause in one line and the whole traceback."""
    now = datetime.now(UTC)
    return {
        **_about(trial, context, now),
        "status": "failed",
        "cause": cause,
        "traceback": trace,
        "attempts": attempts,
        "finished": now,
    }


def _about(trial: PlannedTrial, context: RunContext, started: datetime) -> dict[str, Any]:
    origin, config = context.provenance, trial.config
    # A trial that failed under another sweep before keeps that use.
    uses = merged_uses(read_row(context.store, trial.id), trial.all_uses)
    hidden = config.inactive()
    values = config.model_dump(mode="json", exclude={"method", "seed"})
    return {
        "id": trial.id,
        "sweeps": [sweep for sweep, _ in uses],
        "labels": [label for _, label in uses],
        "method": config.method,
        "seed": config.seed,
        "overrides": {key: str(value) for key, value in trial.overrides.items()},
        "recipe": recipe_text(config),
        "profile": context.profile,
        "data_name": context.data_name,
        "data_digest": context.data_digest,
        "device": hardware(context.device),
        "host": socket.gethostname(),
        "threads": context.threads,
        "versions": origin.versions,
        "git_commit": origin.git_commit,
        "git_dirty": origin.git_dirty,
        "command": origin.command,
        "started": started,
        **{f"config.{k}": None if k in hidden else v for k, v in values.items()},
        **{f"stage.{stage}": value for stage, value in trial.stages.items()},
    }


def _superpixels(
    trial: PlannedTrial, context: RunContext, reader: SplitReader, report: Report
) -> SuperpixelReader | None:
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


def _pretrain(
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

    def compute() -> tuple[Tensors, float]:
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
        return tensors, time.perf_counter() - clock

    result = ensure_weights(context.store, trial.stages["pretrain"], compute)
    return result.tensors, result.seconds


def _train(
    trial: PlannedTrial,
    context: RunContext,
    reader: SplitReader,
    superpixels: SuperpixelReader | None,
    pretrained: Tensors | None,
    device: str,
    report: Report,
) -> tuple[Tensors, float]:
    """Train from the last checkpoint, if any, and keep the journal of epochs beside it."""
    config, stage = trial.config, trial.stages["train"]
    checkpoint = StoredCheckpoint(context.store, stage)
    epochs = read_journal(context.store, stage)

    def on_epoch(log: EpochLog) -> None:
        # The journal is written before the checkpoint: an epoch can come again after a crash.
        epochs[:] = [*(done for done in epochs if done.epoch < log.epoch), log]
        write_journal(context.store, stage, epochs)
        speed = len(reader) / max(log.seconds, 1e-9)
        loss = log.losses.get("loss")
        report(Progress(trial.id, "train", log.epoch + 1, config.epochs, loss, speed))

    def on_damaged(index: int) -> None:
        if index not in damaged:
            damaged.add(index)
            add_skipped(context.store, stage, f"{reader.split}/{reader.keys[index]}")

    damaged: set[int] = set()
    weights = train(
        load_method(config.method),
        config,
        reader,
        superpixels,
        pretrained,
        device=device,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
        on_damaged=on_damaged if context.skip_damaged else None,
        threads=context.threads,
        workers=context.workers,
    )
    return weights, sum(log.seconds for log in epochs)


def _write(
    trial: PlannedTrial, context: RunContext, row: dict[str, Any], found: Evaluation
) -> None:
    """Write the trial's files, its row last."""
    store, journal = context.store, read_journal(context.store, trial.stages["train"])
    write_tensors(store, artefact_name(trial.id, "pictures.safetensors"), found.pictures)
    rows = [
        {
            "epoch": log.epoch,
            "lr": log.lr,
            "seconds": log.seconds,
            **{f"loss.{name}": value for name, value in log.losses.items()},
        }
        for log in journal
    ]
    tables = {
        "epochs": epoch_table(trial.id, rows),
        "images": image_table(found.image_columns(trial.id)),
        "curves": curve_table(found.curve_columns(trial.id)),
        "trials": trial_table(row, config_types(type(trial.config))),
    }
    write_trial(store, trial.id, tables)
