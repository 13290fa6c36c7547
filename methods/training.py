"""Train one network: seeded sampling, SGD, checkpoints, resume without a trace.

Every random draw is a function of (seed, epoch, step or sample index) and nothing else, so a
training that stops after any step and goes on from its checkpoint ends with the same bits (on the
CPU, at the same number of threads).

A team of processes, and gradient accumulation, divide each step's batch into parts (methods.parts)
whose losses and gradients are added up: the same step but for the rounding of sums.
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
from camsweep.methods.base import Method
from camsweep.methods.checkpoint import Checkpoint, EpochPart, Saver, begun, restore
from camsweep.methods.optimise import cycle_progress, make_optimiser, poly_factor, set_rate
from camsweep.methods.parts import divide
from camsweep.methods.sampling import TrainingSet, collate
from camsweep.methods.steps import StepRun, added, gradients, tell_damaged
from camsweep.methods.task import Task
from camsweep.methods.team import SOLO, Team, check_team
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
    method: Method | Task,
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


def _check_statistics(net: nn.Module, accumulation: int) -> None:
    if accumulation > 1 and getattr(net, "batch_statistics", False):
        raise InputError(
            "this network's batch norm needs whole batches, which do not fit in memory; set a "
            "smaller batch or crop, or let more workers share a batch"
        )


def load_net(
    method: Method | Task, config: Any, classes: int, state: dict[str, Tensor]
) -> nn.Module:
    """The network with the weights that ``train`` returned, in eval mode."""
    net = build_net(method, config, classes, None)
    net.load_state_dict(state)
    return net.eval()


def train(
    method: Method | Task,
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
    on_net: Callable[[int, nn.Module], None] | None = None,
    threads: int = 1,
    workers: int = 0,
    team: Team = SOLO,
    accumulation: int = 1,
) -> dict[str, Tensor]:
    """Train a network from its start or its last checkpoint.

    Every process of a team calls this with the same settings. What reads or writes is rank 0's:
    ``checkpoint``, ``on_epoch`` and ``on_net`` are None on the others, and ``on_damaged``, which
    they need where rank 0 has it, is never called there. An error on one rank is raised on all.

    Args:
        method: whose losses are minimised, with those of the components in its config; or a task
            of a later stage.
        config: the trial's settings; of a task, its ``TaskSettings``.
        reader: ``camsweep.shards.reader.SplitReader`` of the training split.
        superpixels: its ``SuperpixelReader``; needed if ``config.needs_regions``.
        init_state: pretrained weights of the backbone or the whole network, or None.
        device: where to train.
        checkpoint: where the state goes after each epoch, and in between; None keeps none.
        every: seconds after which the state is kept in the middle of an epoch.
        on_epoch: called after each epoch, before its checkpoint, so that what it writes is there
            whenever the checkpoint is.
        on_damaged: called with the index of each sample that can't be read, again in every epoch;
            another is drawn in its place. None: the first one ends the training.
        on_net: called after each epoch's checkpoint with the number of epochs done and the network,
            which it may put in eval mode; what it raises ends the training.
        threads: CPU threads of torch.
        workers: threads that load; 0 loads in this one. Does not change the result.
        team: the processes that divide each step's batch.
        accumulation: parts of its share of a batch that a process computes one after the other, to
            need less memory; 1 to its images.

    Returns:
        The trained network's state dict, on the CPU.

    Raises:
        InputError: the split has fewer samples than a batch, the batch is no multiple of the team,
            the weights do not fit, the method makes draws that parts of a batch cannot share, or
            a network with batch statistics is to compute a batch in parts.
        DamagedSample: a sample can't be read and ``on_damaged`` is None.
        TrainingDiverged: a loss or weight became NaN or infinite.
    """
    with team.together():
        superpixels, batches = _checked(config, reader, superpixels, team)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with team.together():
            net = build_net(method, config, len(reader.manifest.classes), init_state)
            _check_statistics(net, accumulation)
            net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            optimiser = make_optimiser(net, config)
            saved = checkpoint.load() if checkpoint else None
        saved = team.share(saved)
        with team.together():
            done, kept = restore(net, optimiser, saved)
        part = begun(done, batches.steps, kept)
        samples = TrainingSet(config, reader, superpixels, skip_damaged=on_damaged is not None)
        pinned = torch.device(device).type == "cuda"
        parts = divide(config.batch, team.rank, team.world, accumulation)
        run = StepRun(
            method,
            config,
            net,
            optimiser,
            torch.device(device),
            batches.steps,
            on_damaged,
            team,
            parts,
        )
        for epoch in range(done // max(batches.steps, 1), config.epochs):
            batches.epoch, batches.start = epoch, part.steps
            saver = Saver(checkpoint, every, net, optimiser, epoch * batches.steps)
            # Batches are whole tasks of a thread, so that none of them waits for another's sample.
            made = load(
                partial(collate, samples, pinned), batches, workers=workers, ahead=2 * workers or 1
            )
            with closing(made):
                _run_epoch(run, made, epoch, part, saver)
            with team.together():
                if on_epoch is not None:
                    on_epoch(_log(epoch, part, optimiser))
                part = EpochPart(0, {}, 0.0)
                saver.save(batches.steps, part)
                if on_net is not None:
                    on_net(epoch + 1, net)
        return {name: value.detach().cpu() for name, value in net.state_dict().items()}
    finally:
        torch.set_num_threads(before)


def _checked(config: Any, reader: Any, superpixels: Any, team: Team) -> tuple[Any, EpochBatches]:
    """The superpixels, if they matter, and this process's share of the batches."""
    if not config.needs_regions:
        superpixels = None
    elif superpixels is None:
        raise ValueError("this config trains on superpixels, none were given")
    check_team(config, team.world)
    batches = EpochBatches(len(reader), config.batch, config.seed, team.rank, team.world)
    if batches.steps == 0 and config.epochs > 0:
        raise InputError(
            f"batch: {config.batch} is more than the {len(reader)} samples of the training split"
        )
    return superpixels, batches


def _run_epoch(
    run: StepRun, made: Iterable[list[Tensor]], epoch: int, part: EpochPart, saver: Saver
) -> None:
    """Make the epoch's steps that ``part`` does not hold yet, and add them to it."""
    if not getattr(run.net.train(), "batch_statistics", False):
        freeze_batch_norm(run.net)
    config, optimiser, team = run.config, run.optimiser, run.team
    total = run.steps * config.epochs
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    clock = time.perf_counter()
    left = run.steps - part.steps
    for given in team.in_step(counted(made, left, f"epoch {epoch}: steps")):
        step = part.steps
        whole = tell_damaged(run, given)
        done = epoch * run.steps + step
        within, length = cycle_progress(done, total, config.cycles)
        set_rate(optimiser, poly_factor(within, length, config.poly_power))
        optimiser.zero_grad(set_to_none=True)
        terms = gradients(run, given, whole, (epoch, step), done / total)
        terms = added(team, terms, parameters)
        for name, value in terms.items():
            sums = part.sums.setdefault(name, torch.zeros_like(value))
            part.sums[name] = sums.to(value.device) + value
        with team.together():
            if not torch.isfinite(terms["loss"]):
                broken = [n for n, v in terms.items() if n != "loss" and not torch.isfinite(v)]
                raise TrainingDiverged(epoch, step, (broken or ["loss"])[0])
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


def _log(epoch: int, part: EpochPart, optimiser: torch.optim.SGD) -> EpochLog:
    means = {name: float(value) / part.steps for name, value in part.sums.items()}
    return EpochLog(epoch, means, optimiser.param_groups[0]["lr"], part.seconds)
