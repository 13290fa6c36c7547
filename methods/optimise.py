"""SGD with the poly schedule and the parameter groups of the released trainings."""

from __future__ import annotations

from torch import nn
from torch.optim import SGD

from camsweep.methods.base import TrialConfig


def poly_factor(step: int, total: int, power: float) -> float:
    """(1 - step / total) ** power; steps past the end keep the last factor.

    Args:
        step: optimiser steps made so far.
        total: steps of the whole training.
        power: 0.9 in the papers.
    """
    return float((1 - min(step, total - 1) / total) ** power)


def make_optimiser(net: nn.Module, config: TrialConfig) -> SGD:
    """Four groups as released: pretrained or new, weight or bias.

    Biases learn at twice the rate of weights and do not decay; new layers (all outside
    ``backbone``) at ``lr_new_factor`` times the rate. Every group keeps its own first rate as
    ``base_lr``. The released ``PolyOptimizer`` hands the weight decay to SGD's ``momentum``
    argument by position, so the published numbers were trained with momentum 0.0005, our default;
    ``momentum: 0.9`` is what the papers say.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        if not parameter.requires_grad:
            continue
        new = not name.startswith("backbone.")
        bias = name.endswith("bias")
        rate = config.lr * (config.lr_new_factor if new else 1.0) * (2.0 if bias else 1.0)
        groups.setdefault((rate, 0.0 if bias else config.weight_decay), []).append(parameter)
    return SGD(
        [
            {"params": members, "lr": rate, "base_lr": rate, "weight_decay": decay}
            for (rate, decay), members in groups.items()
        ],
        lr=config.lr,
        momentum=config.momentum,
    )


def set_rate(optimiser: SGD, factor: float) -> None:
    """Set every group's rate to ``factor`` times its first one."""
    for group in optimiser.param_groups:
        group["lr"] = group["base_lr"] * factor
