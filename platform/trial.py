"""One trial from start to end, without Ray: in a notebook, a debugger or a Ray worker.

    pretrain -> train -> localize -> evaluate
    pretrain -> train -> localize -> (affinity ->) refine (-> segment) -> evaluate

A trial is a pure function of its config and data. What its stages compute is kept in the store by
stage id; where nothing is refined, localize and evaluate are one pass over the images
(platform.evaluation), else the maps are stored and followed (platform.chain).
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from camsweep.methods import compose
from camsweep.methods.backbones import without_storage
from camsweep.methods.base import load_method
from camsweep.methods.team import SOLO, Team
from camsweep.methods.training import EpochLog, load_net
from camsweep.platform.context import Progress, Report, RunContext, told_images
from camsweep.platform.counting import count_share
from camsweep.platform.evaluation import Evaluation, damaged_of, summed
from camsweep.platform.inputs import pretrained_for, superpixels_for
from camsweep.platform.learning import Training, trained
from camsweep.platform.memory import peak_bytes, reset_peak
from camsweep.platform.orders import EvaluateOrder, ordered
from camsweep.platform.provenance import hardware
from camsweep.platform.stages import Tensors, write_tensors
from camsweep.shards.reader import open_split
from camsweep.sweeps.identity import recipe_text
from camsweep.sweeps.plan import PlannedTrial
from camsweep.sweeps.results import artefact_name, merged_uses, read_row, write_trial
from camsweep.sweeps.tables import config_types, curve_table, epoch_table, image_table, trial_table


def run_trial(
    trial: PlannedTrial,
    context: RunContext,
    report: Report,
    attempt: int = 1,
    *,
    team: Team = SOLO,
    on_net: Callable[[int, nn.Module], None] | None = None,
) -> dict[str, Any]:
    """Run one trial and write its files.

    Args:
        trial: what to run.
        context: where to read and write.
        report: called with where the trial stands.
        attempt: 1, or more after a failure; for the record only.
        team: the processes that share training and evaluation; this one is rank 0, the others
            follow (platform.orders).
        on_net: called after each epoch that is trained now, see ``methods.training.train``.

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
    config = trial.config
    strict = not context.skip_damaged
    train_reader = open_split(context.data, config.train_split, strict=strict)
    superpixels = superpixels_for(trial, context, train_reader, report)
    pretrained, pretrain_seconds = pretrained_for(trial, context, report)
    result = trained(
        Training(trial, context, train_reader, superpixels, pretrained, report, team, on_net)
    )
    skipped = list(result.skipped)
    classes = train_reader.manifest.classes
    seconds = {"pretrain": pretrain_seconds, "train": result.seconds}
    journal = list(result.epochs)
    setup: dict[str, int] = {}
    found: Found
    if "refine" in trial.stages:
        # Where a trial has none of it, none of it is imported.
        from camsweep.platform.chain.links import Links
        from camsweep.platform.chain.running import follow_chain

        end = follow_chain(Links(trial, context), result.tensors, team, report, epochs=len(journal))
        found, damaged = end, end.skipped
        journal += end.journal
        seconds |= end.seconds
        setup = end.setup
    else:
        clock = time.perf_counter()
        found, damaged = _evaluated(trial, context, result.tensors, team, report)
        seconds["evaluate"] = time.perf_counter() - clock
    skipped += damaged
    row = {
        **_about(trial, context, started),
        "status": "done",
        "attempts": attempt,
        "workers": result.workers,
        "accumulation": result.accumulation,
        **setup,
        "classes": list(classes),
        "train_images": len(train_reader) - len(result.skipped),
        "eval_images": len(found.keys),
        "skipped": list(dict.fromkeys(skipped)),
        "train_seconds": result.seconds,
        "images_per_second": config.epochs * len(train_reader) / max(result.seconds, 1e-9),
        "peak_memory_bytes": peak_bytes(device),
        "parameters": _parameters(trial, len(classes)),
        "finished": datetime.now(UTC),
        **{f"seconds.{name}": value for name, value in seconds.items()},
        **{f"metric.{name}": value for name, value in found.metrics().items()},
    }
    if superpixels is not None:
        made = superpixels.segments[superpixels.segments > 0]  # none where an image was damaged
        row["metric.segments_mean"] = float(made.mean())
    # Whoever lost the trial's lease while it waited for the others learns of it here.
    report(Progress(trial.id, "evaluate", len(found.keys), len(found.keys)))
    _write(trial, context, row, found, journal)
    return row


class Found(Protocol):
    """What a trial's evaluation gave: `Evaluation`, or the end of a chain."""

    @property
    def keys(self) -> list[str]:
        """Of the images that were evaluated."""

    @property
    def pictures(self) -> dict[str, Tensor]:
        """For the picture grids, see `Evaluation`."""

    def metrics(self) -> dict[str, float]:
        """Fractions 0..1 by name."""

    def curve_columns(self, trial_id: str) -> dict[str, Any]:
        """Columns of the curves table."""

    def image_columns(self, trial_id: str) -> dict[str, Any]:
        """Columns of the images table."""


def _evaluated(
    trial: PlannedTrial, context: RunContext, weights: Tensors, team: Team, report: Report
) -> tuple[Evaluation, list[str]]:
    """The counts of the maps of the evaluated split, and the damaged samples that they lack."""
    config, method = trial.config, load_method(trial.config.method)
    reader = open_split(context.data, config.eval_split, strict=not context.skip_damaged)
    net = load_net(method, config, len(reader.manifest.classes), weights)
    on_image = told_images(report, trial.id, "evaluate", len(reader), team.world)
    skip, loaders = context.skip_damaged, context.workers
    with ordered(team, EvaluateOrder(trial, context, weights)):
        shares = count_share(
            method, net, reader, config, context.device, on_image, skip, loaders, team
        )
    # Not in the block: the others have done their part, and need not end with what fails here.
    found = summed(shares, reader, config)
    return found, [f"{config.eval_split}/{reader.keys[i]}" for i in damaged_of(shares)]


def _parameters(trial: PlannedTrial, classes: int) -> int:
    """Parameters of the network that the trial ends with: the method's, or the segmentation's."""
    with without_storage():
        if "segment" in trial.stages:
            from camsweep.platform.chain.lessons import SegmentLesson

            task, settings = SegmentLesson().learner(trial.config, 1)
            net = task.build(settings, classes)
        else:
            net = compose.build(load_method(trial.config.method), trial.config, classes)
    return sum(p.numel() for p in net.parameters())


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
        "owner": context.owner,
        "threads": context.threads,
        "versions": origin.versions,
        "git_commit": origin.git_commit,
        "git_dirty": origin.git_dirty,
        "command": origin.command,
        "started": started,
        **{f"config.{k}": None if k in hidden else v for k, v in values.items()},
        **{f"stage.{stage}": value for stage, value in trial.stages.items()},
    }


def _write(
    trial: PlannedTrial,
    context: RunContext,
    row: dict[str, Any],
    found: Found,
    journal: Sequence[EpochLog],
) -> None:
    """Write the trial's files, its row last."""
    store = context.store
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
