"""Train one network: seeded sampling, SGD, checkpoints at epochs, resume without a trace.

Every random draw is a function of (seed, epoch, step or sample index) and nothing else, so a
training that stops after any epoch and goes on from its checkpoint ends with the same bits (on the
CPU, at the same number of threads).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from camsweep.methods.backbones import freeze_batch_norm
from camsweep.methods.base import Batch, Method, TrialConfig
from camsweep.methods.optimise import make_optimiser, poly_factor, set_rate
from camsweep.shards.augment import Augment, augment, sample_rng
from camsweep.shards.errors import InputError
from camsweep.shards.normalisation import IMAGENET_MEAN, IMAGENET_STD
from camsweep.shards.reader import epoch_order


@dataclass(frozen=True)
class EpochLog:
    """What one epoch did: mean losses by name, the rate of its last step, its seconds."""

    epoch: int
    losses: dict[str, float]
    lr: float
    seconds: float


class Checkpoint(Protocol):
    """Where a training keeps its state between epochs."""

    def load(self) -> tuple[int, dict[str, Tensor]] | None:
        """The number of finished epochs and the tensors, or None at the start."""

    def save(self, epoch: int, tensors: dict[str, Tensor]) -> None:
        """Keep the tensors of ``epoch`` finished epochs."""


class TrainingDiverged(Exception):  # noqa: N818
    """A loss or a weight is no longer a finite number."""

    def __init__(self, epoch: int, step: int, term: str) -> None:
        """Name the term that broke, and when (both from 0)."""
        super().__init__(f"training diverged: {term} is not finite at epoch {epoch}, step {step}")
        self.epoch, self.step, self.term = epoch, step, term

    def __reduce__(self) -> tuple[type[TrainingDiverged], tuple[int, int, str]]:
        return type(self), (self.epoch, self.step, self.term)


class TrainingSet(Dataset[tuple[Tensor, Tensor, Tensor | None]]):
    """Augmented samples; the key (epoch, index) fixes every draw."""

    def __init__(self, config: TrialConfig, reader: Any, superpixels: Any) -> None:
        self.reader, self.superpixels, self.seed = reader, superpixels, config.seed
        resize = (config.resize_min, config.resize_max) if config.resize_max else None
        self.settings = Augment(
            crop=config.crop,
            resize=resize,
            flip=config.flip,
            jitter=config.jitter,
            gain=config.gain,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        )

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Image [3, crop, crop], labels [C-1], superpixel ids [crop, crop] or None."""
        epoch, index = key
        ids = None if self.superpixels is None else self.superpixels[index]
        rng = sample_rng(self.seed, epoch, index)
        image, ids = augment(self.reader[index].image, ids, self.settings, rng)
        return image, torch.as_tensor(self.reader.labels[index]), ids


class EpochBatches:
    """Batch sampler of (epoch, index) keys; drops the last short batch, as released."""

    def __init__(self, n: int, batch: int, seed: int) -> None:
        self.n, self.batch, self.seed, self.epoch = n, batch, seed, 0

    def __len__(self) -> int:
        return self.n // self.batch

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = epoch_order(self.n, self.seed, self.epoch).tolist()
        for step in range(len(self)):
            chosen = order[step * self.batch : (step + 1) * self.batch]
            yield [(self.epoch, index) for index in chosen]


def _collate(
    samples: list[tuple[Tensor, Tensor, Tensor | None]],
) -> tuple[Tensor, Tensor, Tensor | None]:
    images, labels, ids = zip(*samples, strict=True)
    return torch.stack(images), torch.stack(labels), None if ids[0] is None else torch.stack(ids)


def step_generator(seed: int, epoch: int, step: int) -> torch.Generator:
    """The CPU generator of one step's draws."""
    state = np.random.SeedSequence([seed, epoch, step, 1]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


def build_net(
    method: Method, config: TrialConfig, classes: int, init_state: dict[str, Tensor] | None
) -> nn.Module:
    """A new network, its new layers drawn from ``config.seed``.

    Args:
        method: what is built.
        config: its settings.
        classes: number of classes, background included.
        init_state: weights of the backbone, or None.

    Raises:
        InputError: the weights do not fit the backbone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        net = method.build(config, classes)
    if init_state is not None:
        backbone: Any = net.backbone
        backbone.load_pretrained(init_state)
    return freeze_batch_norm(net)


def load_net(
    method: Method, config: TrialConfig, classes: int, state: dict[str, Tensor]
) -> nn.Module:
    """The network with the weights that ``train`` returned, in eval mode."""
    net = build_net(method, config, classes, None)
    net.load_state_dict(state)
    return net.eval()


def train(
    method: Method,
    config: TrialConfig,
    reader: Any,
    superpixels: Any,
    init_state: dict[str, Tensor] | None,
    *,
    device: torch.device | str = "cpu",
    checkpoint: Checkpoint | None = None,
    on_epoch: Callable[[EpochLog], None] | None = None,
    threads: int = 1,
    workers: int = 0,
) -> dict[str, Tensor]:
    """Train a network from its start or its last checkpoint.

    Args:
        method: whose losses are minimised.
        config: the trial's settings.
        reader: ``camsweep.shards.reader.SplitReader`` of the training split.
        superpixels: its ``SuperpixelReader``; needed if ``config.superpixels()`` is not None.
        init_state: pretrained weights of the backbone, or None.
        device: where to train.
        checkpoint: where the state after each epoch goes; None keeps none.
        on_epoch: called after each epoch, before its checkpoint, so that what it writes is there
            whenever the checkpoint is.
        threads: CPU threads of torch.
        workers: loader processes; 0 loads in this one. Does not change the result.

    Returns:
        The trained network's state dict, on the CPU.

    Raises:
        InputError: the split has fewer samples than a batch, or the weights do not fit.
        TrainingDiverged: a loss or weight became NaN or infinite.
    """
    if config.superpixels() is None:
        superpixels = None
    elif superpixels is None:
        raise ValueError("this config trains on superpixels, none were given")
    batches = EpochBatches(len(reader), config.batch, config.seed)
    if len(batches) == 0:
        raise InputError(
            f"batch: {config.batch} is more than the {len(reader)} samples of the training split"
        )
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        net = build_net(method, config, len(reader.manifest.classes), init_state)
        net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimiser = make_optimiser(net, config)
        start = _restore(net, optimiser, checkpoint.load() if checkpoint else None)
        loader: DataLoader[Any] = DataLoader(
            TrainingSet(config, reader, superpixels),
            batch_sampler=batches,
            num_workers=workers,
            generator=torch.Generator(),  # else it draws from the global one
            collate_fn=_collate,
            pin_memory=torch.device(device).type == "cuda",
        )
        for epoch in range(start, config.epochs):
            batches.epoch = epoch
            log = _run_epoch(method, net, optimiser, loader, config, epoch, torch.device(device))
            if on_epoch is not None:
                on_epoch(log)
            if checkpoint is not None:
                checkpoint.save(epoch + 1, _snapshot(net, optimiser))
        return {name: value.detach().cpu() for name, value in net.state_dict().items()}
    finally:
        torch.set_num_threads(before)


def _run_epoch(
    method: Method,
    net: nn.Module,
    optimiser: torch.optim.SGD,
    loader: DataLoader[Any],
    config: TrialConfig,
    epoch: int,
    device: torch.device,
) -> EpochLog:
    freeze_batch_norm(net.train())
    started, steps = time.perf_counter(), len(loader)
    total = steps * config.epochs
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    sums: dict[str, Tensor] = {}
    for step, (images, labels, ids) in enumerate(loader):
        done = epoch * steps + step
        set_rate(optimiser, poly_factor(done, total, config.poly_power))
        batch = Batch(
            images.to(device, non_blocking=True, memory_format=torch.channels_last),
            labels.to(device, non_blocking=True),
            None if ids is None else ids.to(device, non_blocking=True),
            step_generator(config.seed, epoch, step),
        )
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            terms = method.losses(net, batch, config, done / total)
        for name, value in terms.items():
            sums[name] = sums.get(name, torch.zeros_like(value)) + value.detach()
        if not torch.isfinite(terms["loss"]):
            broken = [n for n, v in terms.items() if n != "loss" and not torch.isfinite(v)]
            raise TrainingDiverged(epoch, step, (broken or ["loss"])[0])
        optimiser.zero_grad(set_to_none=True)
        terms["loss"].backward()
        if config.clip_norm > 0:
            nn.utils.clip_grad_norm_(parameters, config.clip_norm)
        optimiser.step()
    if not all(bool(torch.isfinite(p).all()) for p in parameters):
        raise TrainingDiverged(epoch, steps - 1, "weights")
    return EpochLog(
        epoch,
        {name: float(value) / steps for name, value in sums.items()},
        optimiser.param_groups[0]["lr"],
        time.perf_counter() - started,
    )


def _snapshot(net: nn.Module, optimiser: torch.optim.SGD) -> dict[str, Tensor]:
    tensors = {f"model/{name}": v.detach().cpu().clone() for name, v in net.state_dict().items()}
    for name, parameter in net.named_parameters():
        momentum = optimiser.state.get(parameter, {}).get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum/{name}"] = momentum.detach().cpu().clone()
    return {name: value.contiguous() for name, value in tensors.items()}


def _restore(
    net: nn.Module, optimiser: torch.optim.SGD, saved: tuple[int, dict[str, Tensor]] | None
) -> int:
    """Put a snapshot back; returns the number of finished epochs."""
    if saved is None:
        return 0
    epoch, tensors = saved
    net.load_state_dict(
        {k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")}
    )
    for name, parameter in net.named_parameters():
        momentum = tensors.get(f"momentum/{name}")
        if momentum is not None:
            like = torch.empty_like(parameter)  # the parameter's device and memory layout
            optimiser.state[parameter]["momentum_buffer"] = like.copy_(momentum)
    return epoch
