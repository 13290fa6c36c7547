"""A training's state in a checkpoint: network, momentum, and how far the epoch has come."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import SGD


class Checkpoint(Protocol):
    """Where a training keeps its state."""

    def load(self) -> tuple[int, dict[str, Tensor]] | None:
        """The number of optimiser steps made and the tensors, or None at the start."""

    def save(self, step: int, tensors: dict[str, Tensor]) -> None:
        """Keep the tensors after ``step`` steps."""


@dataclass
class EpochPart:
    """How far an epoch has come: steps made, sums of its losses, seconds it took."""

    steps: int
    sums: dict[str, Tensor]
    seconds: float


@dataclass
class Saver:
    """Keeps the state of one epoch, now and then."""

    checkpoint: Checkpoint | None
    every: float
    net: nn.Module
    optimiser: SGD
    before: int

    def __post_init__(self) -> None:
        self.last = time.perf_counter()

    def due(self) -> bool:
        """Whether the last save is long ago."""
        return self.checkpoint is not None and time.perf_counter() - self.last >= self.every

    def save(self, steps: int, part: EpochPart) -> None:
        """Keep the state after ``steps`` steps of the epoch."""
        if self.checkpoint is None:
            return
        tensors = _snapshot(self.net, self.optimiser)
        tensors |= {f"sums/{name}": value.cpu() for name, value in part.sums.items()}
        tensors["seconds"] = torch.tensor([part.seconds], dtype=torch.float64)
        self.checkpoint.save(self.before + steps, tensors)
        self.last = time.perf_counter()


def _snapshot(net: nn.Module, optimiser: SGD) -> dict[str, Tensor]:
    tensors = {f"model/{name}": v.detach().cpu().clone() for name, v in net.state_dict().items()}
    for name, parameter in net.named_parameters():
        momentum = optimiser.state.get(parameter, {}).get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum/{name}"] = momentum.detach().cpu().clone()
    return {name: value.contiguous() for name, value in tensors.items()}


def restore(
    net: nn.Module, optimiser: SGD, saved: tuple[int, dict[str, Tensor]] | None
) -> tuple[int, dict[str, Tensor]]:
    """Put a snapshot back; returns the steps made and what else was kept."""
    if saved is None:
        return 0, {}
    step, tensors = saved
    net.load_state_dict(_under("model/", tensors))
    momentum = _under("momentum/", tensors)
    for name, parameter in net.named_parameters():
        if name in momentum:
            like = torch.empty_like(parameter)  # the parameter's device and memory layout
            optimiser.state[parameter]["momentum_buffer"] = like.copy_(momentum[name])
    return step, tensors


def begun(done: int, steps: int, kept: dict[str, Tensor]) -> EpochPart:
    """The epoch that a checkpoint interrupted, or a new one."""
    if steps == 0 or done % steps == 0:
        return EpochPart(0, {}, 0.0)
    return EpochPart(done % steps, _under("sums/", kept), float(kept["seconds"]))


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
