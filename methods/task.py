"""A network that a later stage trains beside the method's own: how it is built, what it learns.

``training.train`` trains a ``Task`` under its ``TaskSettings`` as it trains a method: seeded draws,
checkpoints, teams. What the pixels are to become is given as ids of regions, as superpixels are:
class + 1, and 0 where nothing is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from camsweep.methods.base import Batch


@dataclass(frozen=True)
class TaskSettings:
    """What a later stage's training is done with.

    Attributes:
        seed: of every draw.
        epochs: passes over the training images.
        batch: images a step.
        crop: side of the training crop, pixels.
        lr: first rate of the weights of ``backbone``.
        rescale: range of the factor on an image's size; None = by the long side, or not at all.
        rescale_step: distance of the factors to choose from; 0 = all in the range.
        resize_min: long side from, pixels.
        resize_max: long side to, pixels; 0 = no resize.
        flip: mirror half of the images.
        jitter: brightness, contrast, saturation, hue.
        gain: colour gain drawn from 1 +- gain.
        lr_new_factor: rate factor of what is outside ``backbone``.
        lr_factors: further rate factors by the beginning of a parameter's name; the first that
            fits is taken, in place of ``lr_new_factor``.
        momentum: of SGD.
        weight_decay: L2 decay of weights.
        bias_lr_factor: rate factor of biases.
        bias_decay: decay biases too.
        poly_power: exponent of the schedule.
        clip_norm: gradient norm limit; 0 = off.
        precision: of the training.
        cycles: how often the schedule starts anew.
        extra: what the task's own functions need, frozen.
    """

    seed: int
    epochs: int
    batch: int
    crop: int
    lr: float
    rescale: tuple[float, float] | None = None
    rescale_step: float = 0.0
    resize_min: int = 0
    resize_max: int = 0
    flip: bool = True
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    gain: float = 0.0
    lr_new_factor: float = 10.0
    lr_factors: tuple[tuple[str, float], ...] = ()
    momentum: float = 0.9
    weight_decay: float = 5e-4
    bias_lr_factor: float = 2.0
    bias_decay: bool = False
    poly_power: float = 0.9
    clip_norm: float = 0.0
    precision: Literal["fp32", "bf16"] = "fp32"
    cycles: int = 1
    extra: Any = None

    @property
    def needs_regions(self) -> bool:
        """A task always learns from regions: the labels of pixels."""
        return True


@dataclass(frozen=True)
class Task:
    """A network as the later stages see it.

    Attributes:
        name: of its stage's artefact, for error lines.
        build: ``(settings, classes) -> network`` with a ``backbone``; classes counts the
            background. Where the network has ``batch_statistics = True``, its batch norm trains
            with the statistics of each process's part of a batch.
        losses: as ``Method.losses``; ``batch.superpixels`` holds class + 1 of each pixel (or cell),
            0 where it is unknown.
        counts: ``(labels [N, H, W], settings) -> int64 [N, K]``, facts of each image that a part of
            a batch must know of the others, for the means of the whole; None where there are none.
        finish: called once with the trained network, the reader, the settings and the device, to
            measure what training does not learn; None where there is nothing.
    """

    name: str
    build: Callable[[TaskSettings, int], nn.Module]
    losses: Callable[[nn.Module, Batch, TaskSettings, float], dict[str, Tensor]]
    counts: Callable[[Tensor, TaskSettings], Tensor] | None = None
    finish: Callable[[nn.Module, Any, TaskSettings, Any], None] | None = None
