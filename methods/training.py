"""Train one network: seeded sampling, SGD, checkpoints, resume without a trace.

Every random draw is a function of (seed, epoch, step or sample index) and nothing else, so a
training that stops after any step and goes on from its checkpoint ends with the same bits (on the
CPU, at the same number of threads).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from camsweep.methods import compose
from camsweep.methods.backbones import freeze_batch_norm
from camsweep.methods.base import Batch, Method
from camsweep.methods.checkpoint import Checkpoint, EpochPart, Saver, begun, restore
from camsweep.methods.optimise import cycle_progress, make_optimiser, poly_factor, set_rate
from camsweep.methods.sampling import TrainingSet, collate, step_generator, step_seed
from camsweep.methods.weights import load_into
from camsweep.shards.epochs import EpochBatches, counted
from camsweep.shards.errors import InputError
from camsweep.shards.node.loading import load


@dataclass(frozen=True)
class EpochLog:
    """What one epoch did: mean losses by name, the rate of its last step, its seconds."""

    epoch: int
    losses: dict[str, float]
    lr: float
    seconds: float


class TrainingDiverged(Exception):  # noqa: N818
    """A loss or a weight is no longer a finite number."""

    def __init__(self, epoch: int, step: int, term: str) -> None:
        """Name the term that broke, and when (both from 0)."""
        super().__init__(f"training diverged: {term} is not finite at epoch {epoch}, step {step}")
        self.epoch, self.step, self.term = epoch, step, term

    def __reduce__(self) -> tuple[type[TrainingDiverged], tuple[int, int, str]]:
        return type(self), (self.epoch, self.step, self.term)


def build_net(
    method: Method,
    config: Any,
    classes: int,
    init_state: dict[str, Tensor] | None,
    source: str = "weights",
) -> nn.Module:
    """A new network, its new layers drawn from ``config.seed``.

    Args:
        method: what is built.
        config: its settings.
        classes: number of classes, background included.
        init_state: weights of the backbone or of the whole network, or None.
        source: the file they came from, for the error line.

    Raises:
        InputError: the weights do not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        net = compose.build(method, config, classes)
    if init_state is not None:
        load_into(net, init_state, source)
    return freeze_batch_norm(net)


def load_net(method: Method, config: Any, classes: int, state: dict[str, Tensor]) -> nn.Module:
    """The network with the weights that ``train`` returned, in eval mode."""
    net = build_net(method, config, classes, None)
    net.load_state_dict(state)
    return net.eval()


def train(
    method: Method,
    config: Any,
    reader: Any,
    superpixels: Any,
    init_state: dict[str, Tensor] | None,
    *,
    device: torch.device | str = "cpu",
    checkpoint: Checkpoint | None = None,
    every: float = 300.0,
    on_epoch: Callable[[EpochLog], None] | None = None,
    on_damaged: Callable[[int], None] | None = None,
    threads: int = 1,
    workers: int = 0,
) -> dict[str, Tensor]:
    """Train a network from its start or its last checkpoint.

    Args:
        method: whose losses are minimised, with those of the components in its config.
        config: the trial's settings.
        reader: ``camsweep.shards.reader.SplitReader`` of the training split.
        superpixels: its ``SuperpixelReader``; needed if ``config.superpixels()`` is not None.
        init_state: pretrained weights of the backbone or the whole network, or None.
        device: where to train.
        checkpoint: where the state goes after each epoch, and in between; None keeps none.
        every: seconds after which the state is kept in the middle of an epoch.
        on_epoch: called after each epoch, before its checkpoint, so that what it writes is there
            whenever the checkpoint is.
        on_damaged: called with the index of each sample that can't be read, again in every epoch;
            another is drawn in its place. None: the first one ends the training.
        threads: CPU threads of torch.
        workers: threads that load; 0 loads in this one. Does not change the result.

    Returns:
        The trained network's state dict, on the CPU.

    Raises:
        InputError: the split has fewer samples than a batch, or the weights do not fit.
        DamagedSample: a sample can't be read and ``on_damaged`` is None.
        TrainingDiverged: a loss or weight became NaN or infinite.
    """
    if config.superpixels() is None:
        superpixels = None
    elif superpixels is None:
        raise ValueError("this config trains on superpixels, none were given")
    batches = EpochBatches(len(reader), config.batch, config.seed)
    if batches.steps == 0 and config.epochs > 0:
        raise InputError(
            f"batch: {config.batch} is more than the {len(reader)} samples of the training split"
        )
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        net = build_net(method, config, len(reader.manifest.classes), init_state)
        net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimiser = make_optimiser(net, config)
        done, kept = restore(net, optimiser, checkpoint.load() if checkpoint else None)
        part = begun(done, batches.steps, kept)
        samples = TrainingSet(config, reader, superpixels, skip_damaged=on_damaged is not None)
        pinned = torch.device(device).type == "cuda"
        run = _Run(method, config, net, optimiser, torch.device(device), batches.steps, on_damaged)
        for epoch in range(done // max(batches.steps, 1), config.epochs):
            batches.epoch, batches.start = epoch, part.steps
            saver = Saver(checkpoint, every, net, optimiser, epoch * batches.steps)
            # Batches are whole tasks of a thread, so that none of them waits for another's sample.
            made = load(
                partial(collate, samples, pinned), batches, workers=workers, ahead=2 * workers or 1
            )
            with closing(made):
                _run_epoch(run, made, epoch, part, saver)
            if on_epoch is not None:
                on_epoch(_log(epoch, part, optimiser))
            part = EpochPart(0, {}, 0.0)
            saver.save(batches.steps, part)
        return {name: value.detach().cpu() for name, value in net.state_dict().items()}
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class _Run:
    """What stays the same from step to step."""

    method: Method
    config: Any
    net: nn.Module
    optimiser: torch.optim.SGD
    device: torch.device
    steps: int
    on_damaged: Callable[[int], None] | None


def _run_epoch(
    run: _Run, made: Iterable[list[Tensor]], epoch: int, part: EpochPart, saver: Saver
) -> None:
    """Make the epoch's steps that ``part`` does not hold yet, and add them to it."""
    freeze_batch_norm(run.net.train())
    config, optimiser = run.config, run.optimiser
    total = run.steps * config.epochs
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    clock = time.perf_counter()
    left = run.steps - part.steps
    for images, labels, ids, damaged in counted(made, left, f"epoch {epoch}: steps"):
        step = part.steps
        if run.on_damaged is not None:
            for index in damaged[damaged >= 0].tolist():
                run.on_damaged(index)
        done = epoch * run.steps + step
        within, length = cycle_progress(done, total, config.cycles)
        set_rate(optimiser, poly_factor(within, length, config.poly_power))
        regions = ids.to(run.device, non_blocking=True)
        batch = Batch(
            images.to(run.device, non_blocking=True, memory_format=torch.channels_last),
            labels.to(run.device, non_blocking=True),
            None if config.superpixels() is None else regions,
            step_generator(config.seed, epoch, step),
            regions > 0,
        )
        with (
            torch.random.fork_rng(_forked(run.device)),
            torch.autocast(run.device.type, torch.bfloat16, enabled=config.precision == "bf16"),
        ):
            # Dropout draws from the global generators: set them, so that a resumed step sees the
            # draws that it would have seen.
            torch.manual_seed(step_seed(config.seed, epoch, step, 2))
            terms = compose.losses(run.method, run.net, batch, config, done / total)
        for name, value in terms.items():
            sums = part.sums.setdefault(name, torch.zeros_like(value.detach()))
            part.sums[name] = sums.to(value.device) + value.detach()
        if not torch.isfinite(terms["loss"]):
            broken = [n for n, v in terms.items() if n != "loss" and not torch.isfinite(v)]
            raise TrainingDiverged(epoch, step, (broken or ["loss"])[0])
        optimiser.zero_grad(set_to_none=True)
        terms["loss"].backward()
        if config.clip_norm > 0:
            nn.utils.clip_grad_norm_(parameters, config.clip_norm)
        optimiser.step()
        now = time.perf_counter()
        part.steps, part.seconds, clock = step + 1, part.seconds + now - clock, now
        last = part.steps == run.steps
        if last or saver.due():
            # Broken weights must not be kept: every resume would find them broken.
            if not all(bool(torch.isfinite(p).all()) for p in parameters):
                raise TrainingDiverged(epoch, step, "weights")
            if not last:
                saver.save(part.steps, part)


def _forked(device: torch.device) -> list[int]:
    """The CUDA devices whose generator a step seeds."""
    if device.type != "cuda":
        return []
    return [torch.cuda.current_device() if device.index is None else device.index]


def _log(epoch: int, part: EpochPart, optimiser: torch.optim.SGD) -> EpochLog:
    means = {name: float(value) / part.steps for name, value in part.sums.items()}
    return EpochLog(epoch, means, optimiser.param_groups[0]["lr"], part.seconds)
