"""What a training starts from: superpixels and pretrained weights."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from camsweep.methods.pretrain import PretrainLog, pretrain_embedded
from camsweep.methods.weights import file_sha256, read_weights
from camsweep.platform.context import Progress, Report, RunContext
from camsweep.platform.stages import Computed, Tensors, ensure_weights
from camsweep.shards.errors import InputError
from camsweep.shards.reader import SplitReader
from camsweep.shards.superpixels import SuperpixelReader, open_superpixels
from camsweep.sweeps.plan import PlannedTrial
from camsweep.sweeps.resolve import weights_for

#: Trials that start together wait for the one that pretrains, so it may use a second core. Fixed,
#: as the number of threads decides how sums are rounded.
PRETRAIN_THREADS = 2


def waiting(trial: PlannedTrial, report: Report) -> Callable[[], None]:
    """Tells that a trial waits for a stage that another process computes."""
    return lambda: report(Progress(trial.id, "waiting", 0, 1))


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
    trial: PlannedTrial, context: RunContext, report: Report, role: str = ""
) -> tuple[Tensors | None, float]:
    """A network's first weights and the seconds they took, or None for random ones.

    Args:
        trial: whose network.
        context: where the files are.
        report: is told where a pretraining stands.
        role: of the network, `sweeps.resolve.ROLES`; "" is the method's own.

    Raises:
        InputError: the file is missing or has changed.
    """
    config = trial.config
    if config.pretrain == "none":
        return None, 0.0
    if config.pretrain == "weights":
        path = weights_for(config, context.weights, role)
        if path is None:
            raise InputError("pretrain: weights needs a weights file; give --weights FILE")
        known = getattr(config, f"{role}_weights_sha256" if role else "weights_sha256")
        if file_sha256(Path(path)) != known:
            raise InputError(f"--weights {path}: changed since the run was started")
        return read_weights(Path(path)), 0.0
    return _embedded(trial, context, report)


def _embedded(
    trial: PlannedTrial, context: RunContext, report: Report
) -> tuple[Tensors | None, float]:
    config = trial.config

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

    result = ensure_weights(
        context.store, trial.stages["pretrain"], compute, waiting(trial, report)
    )
    return result.tensors, result.seconds
