"""Feature networks and what the methods ask of them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from camsweep.shards.errors import InputError, nearest
from camsweep.shards.normalisation import IMAGENET_MEAN, IMAGENET_STD

# What every backbone's input is normalised by. A hidden pixel is 0 after it: the mean colour.
MEAN = IMAGENET_MEAN
STD = IMAGENET_STD

# Classes by name; each is in the module of that name.
BACKBONES = {
    "small": "SmallNet",
    "resnet38": "ResNet38",
    "resnet50": "ResNet50",
    "resnet101": "ResNet101",
}


class Features(NamedTuple):
    """What a backbone returns.

    Attributes:
        side: the two inner feature maps that PCM reads, ``side_channels`` channels, each at its
            own stride.
        last: the final features [N, channels, H/stride, W/stride].
        levels: four maps from low to high, ``level_channels`` channels, each at its own stride;
            ``levels[-1]`` is ``last``.
    """

    side: tuple[Tensor, Tensor]
    last: Tensor
    levels: tuple[Tensor, ...]


class Backbone(nn.Module):
    """A feature network: ``forward(images [N, 3, H, W]) -> Features``.

    A constructor decides for good which parameters learn (``requires_grad``).

    Attributes:
        stride: input pixels a cell of ``Features.last``.
        side_channels: channels of the two side features.
        channels: channels of ``Features.last``.
        level_channels: channels of the four levels.
        stages: names of the pieces that run one after the other.
    """

    stride: int
    side_channels: tuple[int, int]
    channels: int
    level_channels: tuple[int, ...]
    stages: tuple[str, ...]

    def run_stage(self, name: str, x: Tensor) -> Tensor:
        """The output of stage ``name`` for the output ``x`` of the stage before it."""
        raise NotImplementedError

    def advance(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Run ``stages[start:stop]`` on ``x``.

        Args:
            x: images [N, 3, H, W] where ``start`` is 0, else what ``advance(..., stop=start)``
                gave, or a part of it cut out in space.
            start: index of the first stage.
            stop: index after the last one; None runs to the end, so that ``advance(images)``
                equals ``forward(images).last`` bit for bit.
        """
        for name in self.stages[start:stop]:
            x = self.run_stage(name, x)
        return x


def backbone_names() -> list[str]:
    """Names that ``build_backbone`` knows."""
    return list(BACKBONES)


def build_backbone(name: str) -> Backbone:
    """A new backbone with random weights.

    Raises:
        InputError: no such backbone.
    """
    if name not in BACKBONES:
        raise InputError(f"backbone: there is no '{name}'{nearest(name, BACKBONES)}")
    module = importlib.import_module(f"camsweep.methods.backbones.{name}")
    network: Backbone = getattr(module, BACKBONES[name])()
    return network


class _NoDraws(TorchFunctionMode):
    """Leaves out normal draws, for whose shapes alone torch would import a second's worth."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if func is Tensor.normal_ else func(*args, **(kwargs or {}))


@contextmanager
def without_storage() -> Iterator[None]:
    """Networks built inside have names and shapes only: no memory, and no random draw."""
    with torch.device("meta"), _NoDraws():
        yield


def backbone_name(net: nn.Module) -> str:
    """The name that builds a network like ``net``, or its class's name where there is none."""
    kind = type(net).__name__
    return next((name for name, known in BACKBONES.items() if known == kind), kind)


def freeze_batch_norm(net: nn.Module) -> nn.Module:
    """Make batch norm use the stored statistics, as all CAM methods of this family do.

    Whether its affine parameters learn is the backbone's choice and stays as it is.
    """
    for module in batch_norms(net):
        module.eval()
    return net


def freeze_affine(net: nn.Module) -> nn.Module:
    """Keep the affine parameters of batch norm as they are: no gradient for them."""
    for module in batch_norms(net):
        module.requires_grad_(False)
    return net


def batch_norms(net: nn.Module) -> list[nn.Module]:
    """Every batch norm inside ``net``."""
    return [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
