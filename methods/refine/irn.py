"""IRN's network (Ahn, Cho and Kwak 2019): class boundaries and displacements from five stages.

As released: a frozen ResNet-50, and two heads that read its stem and its four layers, at a quarter
of the image's size. Layers have the released names, so published checkpoints fit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camsweep.methods.backbones import Backbone
from camsweep.shards.errors import InputError

#: Channels of each stage in the edge head, and in the displacement head.
EDGE = 32
DISPLACEMENT = (64, 128, 256, 256, 256)
STAGES = 5


def from_released(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A published checkpoint's tensors by the names of ``IrnNet``.

    The released module has many tensors under several names; the first one is taken. What its
    training and inference classes add (indices of paths) is left out.
    """
    ours = re.compile(r"fc_(edge|dp)\d\.|mean_shift\.|backbone\.(?!\d)")
    named = {k.replace("resnet50.", "backbone.", 1): v for k, v in state.items()}
    named.pop("fc_dp7.4.running_mean", None)
    return {k: v for k, v in named.items() if ours.match(k)}


class MeanShift(nn.Module):
    """Takes the mean displacement of the training images off, but not in training."""

    running_mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        """[N, 2, H, W] to the same shape."""
        return x if self.training else x - self.running_mean.view(1, 2, 1, 1)


def _reduce(inside: int, outside: int, groups: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inside, outside, 1, bias=False), nn.GroupNorm(groups, outside))


def _grown(x: Tensor, layer: nn.Sequential, factor: int, like: Tensor | None = None) -> Tensor:
    """A reduced feature, enlarged before it is rectified, cut to the size of ``like``."""
    found: Tensor = layer(x)
    if factor > 1:
        found = F.interpolate(found, scale_factor=factor, mode="bilinear", align_corners=False)
    if like is not None:
        found = found[..., : like.shape[-2], : like.shape[-1]]
    return F.relu(found)


class IrnNet(nn.Module):
    """Boundary logits and displacements.

    Args:
        backbone: of five stages; ResNet-50 as published. It never learns.
        widths: channels that the stages are reduced to in the displacement head, multiples of 16;
            all of its mixed ones are reduced to the last of these.

    Attributes:
        stride: image pixels a cell of the output, that of the second stage (ResNet-50: 4).

    Raises:
        InputError: the backbone has not five stages.
    """

    def __init__(self, backbone: Backbone, widths: Sequence[int] = DISPLACEMENT) -> None:
        super().__init__()
        if len(backbone.stages) != STAGES:
            raise InputError(
                f"IRN reads {STAGES} stages; {type(backbone).__name__} has {len(backbone.stages)}: "
                "take resnet50, resnet101 or small"
            )
        self.backbone = backbone.requires_grad_(False).eval()
        channels, self._strides = _probe(backbone)
        self.stride = self._strides[1]
        self.mean_shift = MeanShift()
        for i, inside in enumerate(channels, 1):
            self.add_module(f"fc_edge{i}", _reduce(inside, EDGE, 4))
        self.fc_edge6 = nn.Conv2d(STAGES * EDGE, 1, 1)
        for i, (inside, outside) in enumerate(zip(channels, widths, strict=True), 1):
            self.add_module(f"fc_dp{i}", _reduce(inside, outside, 8 if i == 1 else 16))
        mixed = widths[-1]
        self.fc_dp6 = _reduce(sum(widths[2:]), mixed, 16)
        self.fc_dp7 = nn.Sequential(
            *_reduce(sum(widths[:2]) + mixed, mixed, 16),
            nn.ReLU(inplace=True),
            nn.Conv2d(mixed, 2, 1, bias=False),
        )

    def train(self, mode: bool = True) -> IrnNet:
        """Set the mode of the heads; the backbone stays in eval."""
        super().train(mode)
        self.backbone.eval()
        return self

    def groups(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Parameters of the edge head, and of the displacement head, which learns faster."""
        named = list(self.named_parameters())
        edge, displacement = (
            [p for name, p in named if name.startswith(head)] for head in ("fc_edge", "fc_dp")
        )
        return edge, displacement

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of boundaries [N, 1, h, w] and displacements (dy, dx) [N, 2, h, w] in cells.

        Args:
            images: normalised, float [N, 3, H, W]; h = H / ``stride``, rounded up.
        """
        stages = []
        x = images
        with torch.no_grad():
            for name in self.backbone.stages:
                x = self.backbone.run_stage(name, x)
                stages.append(x)
        return self._edges(stages), self._displacements(stages)

    def _edges(self, stages: list[Tensor]) -> Tensor:
        found: list[Tensor] = []
        for i, x in enumerate(stages):
            layer = self.get_submodule(f"fc_edge{i + 1}")
            assert isinstance(layer, nn.Sequential)
            factor = self._strides[i] // self.stride
            found.append(_grown(x, layer, factor, stages[1]))
        logits: Tensor = self.fc_edge6(torch.cat(found, 1))
        return logits

    def _displacements(self, stages: list[Tensor]) -> Tensor:
        found: list[Tensor] = []
        for i, x in enumerate(stages):
            layer = self.get_submodule(f"fc_dp{i + 1}")
            assert isinstance(layer, nn.Sequential)
            factor = self._strides[i] // self._strides[2] if i > 2 else 1
            found.append(_grown(x, layer, factor, stages[2] if i > 2 else None))
        factor = self._strides[2] // self.stride
        deep = _grown(torch.cat(found[2:], 1), self.fc_dp6, factor, stages[1])
        field: Tensor = self.mean_shift(self.fc_dp7(torch.cat([*found[:2], deep], 1)))
        return field


def _probe(backbone: Backbone, side: int = 64) -> tuple[list[int], list[int]]:
    """Channels and strides of a backbone's stages."""
    like = next(backbone.parameters())
    x = torch.zeros(1, 3, side, side, device=like.device, dtype=like.dtype)
    channels, strides = [], []
    with torch.no_grad():
        for name in backbone.stages:
            x = backbone.run_stage(name, x)
            channels.append(x.shape[1])
            strides.append(side // x.shape[2])
    return channels, strides


@torch.no_grad()
def set_mean_shift(net: IrnNet, batches: Iterable[Tensor]) -> None:
    """Measure the mean displacement after training, as the released script does.

    Args:
        net: trained; ends in eval.
        batches: normalised crops [N, 3, H, W] of the training images, of equal N.
    """
    net.eval()
    net.mean_shift.running_mean.zero_()
    means = [net(images)[1].mean((0, 2, 3)) for images in batches]
    if means:
        net.mean_shift.running_mean.copy_(torch.stack(means).mean(0))
