"""SGD with the poly schedule and the parameter groups of the released trainings."""

from __future__ import annotations

from torch import nn
from torch.optim import SGD

from camsweep.methods.config import TrialConfig


def poly_factor(step: int, total: int, power: float) -> float:
    """(1 - step / total) ** power; steps past the end keep the last factor.

    Args:
        step: optimiser steps made so far.
        total: steps of the whole training.
        power: 0.9 in the papers.
    """
    return float((1 - min(step, total - 1) / total) ** power)


def cycle_progress(step: int, total: int, cycles: int) -> tuple[int, int]:
    """Steps made in the running cycle, and its length, where the schedule starts anew.

    Args:
        step: optimiser steps made so far, 0..total-1.
        total: steps of the whole training.
        cycles: equal parts of it (lengths differ by at most one step).
    """
    cycle = min(step * cycles // total, cycles - 1)
    start, stop = -(-cycle * total // cycles), -(-(cycle + 1) * total // cycles)
    return step - start, stop - start


def make_optimiser(net: nn.Module, config: TrialConfig) -> SGD:
    """Four groups as released: pretrained or new, weight or bias.

    New layers (all outside ``backbone``) learn at ``lr_new_factor`` times the rate. psa, SEAM and
    CPN: biases at twice the rate of weights and without decay; IRN and SIPE: like weights
    (``bias_lr_factor``, ``bias_decay``). Every group keeps its own first rate as ``base_lr``. The
    released optimisers hand the weight decay to SGD's ``momentum`` argument by position, so the
    published numbers were trained with momentum 0.0005 or 0.0001, our defaults; ``momentum: 0.9``
    is what the papers say.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        if not parameter.requires_grad:
            continue
        new = not name.startswith("backbone.")
        bias = name.endswith("bias")
        own = [factor for begin, factor in config.lr_factors if name.startswith(begin)]
        rate = config.lr * (own[0] if own else config.lr_new_factor if new else 1.0)
        rate *= config.bias_lr_factor if bias else 1.0
        decay = config.weight_decay if config.bias_decay or not bias else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
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
