"""Wide ResNet-38 (model A1) as AffinityNet, SEAM and CPN use it: output stride 8.

Layers, names, dilations, dropouts and what is frozen follow the released SEAM code; parameter
names are the released ones, so published checkpoints fit as they are.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from camsweep.methods.backbones import Backbone, Features, freeze_affine, freeze_batch_norm
from camsweep.methods.backbones.norm import BatchNorm2d
from camsweep.methods.parts import dropout2d

CLOSING_GAIN = 0.3
HEAD_DROPOUT = 0.5


class Stage(NamedTuple):
    """A row of equal blocks; only the first changes channels or resolution."""

    blocks: int
    inner: int
    outside: int
    stride: int = 1
    first_dilation: int = 1
    dilation: int = 1


STAGES = {
    "b2": Stage(3, 128, 128, stride=2),
    "b3": Stage(3, 256, 256, stride=2),
    "b4": Stage(6, 512, 512, stride=2),
    "b5": Stage(3, 512, 1024, dilation=2),
}


class Block(nn.Module):
    """Batch norm, ReLU and a 3x3 convolution, twice; the shortcut is the input or a projection.

    Args:
        inside: input channels.
        inner: channels between the convolutions.
        outside: output channels.
        stride: of the first convolution and the projection.
        first_dilation: of the first convolution.
        dilation: of the second.
    """

    def __init__(
        self, inside: int, inner: int, outside: int, stride: int, first_dilation: int, dilation: int
    ) -> None:
        super().__init__()
        self.bn_branch2a = BatchNorm2d(inside)
        self.conv_branch2a = _conv(inside, inner, 3, stride, first_dilation)
        self.bn_branch2b1 = BatchNorm2d(inner)
        self.conv_branch2b1 = _conv(inner, outside, 3, 1, dilation, gain=CLOSING_GAIN)
        self.conv_branch1 = (
            None if inside == outside and stride == 1 else _conv(inside, outside, 1, stride)
        )

    def rectified(self, x: Tensor) -> Tensor:
        """The block's input after batch norm and ReLU: what conv3, conv4 and conv5 name."""
        return functional.relu(self.bn_branch2a(x), inplace=True)

    def forward(self, x: Tensor, rectified: Tensor | None = None) -> Tensor:
        """[N, inside, H, W] to [N, outside, H/stride, W/stride]; ``rectified(x)`` may be given."""
        begin = self.rectified(x) if rectified is None else rectified
        inner = functional.relu(self.bn_branch2b1(self.conv_branch2a(begin)), inplace=True)
        shortcut: Tensor = x if self.conv_branch1 is None else self.conv_branch1(begin)
        return shortcut + self.conv_branch2b1(inner)


class Bottleneck(nn.Module):
    """1x1, dilated 3x3 and 1x1 convolution with dropout of whole channels before the last two.

    Args:
        inside: input channels.
        outside: output channels; a quarter and a half of them are between the convolutions.
        dropout: share of channels set to 0 in training.
    """

    def __init__(self, inside: int, outside: int, dropout: float) -> None:
        super().__init__()
        self.bn_branch2a = BatchNorm2d(inside)
        self.conv_branch2a = _conv(inside, outside // 4, 1)
        self.bn_branch2b1 = BatchNorm2d(outside // 4)
        self.conv_branch2b1 = _conv(outside // 4, outside // 2, 3, 1, 4)
        self.bn_branch2b2 = BatchNorm2d(outside // 2)
        self.conv_branch2b2 = _conv(outside // 2, outside, 1, gain=CLOSING_GAIN)
        self.conv_branch1 = _conv(inside, outside, 1)
        self.dropout = dropout

    def rectified(self, x: Tensor) -> Tensor:
        """The block's input after batch norm and ReLU."""
        return functional.relu(self.bn_branch2a(x), inplace=True)

    def forward(self, x: Tensor, rectified: Tensor | None = None) -> Tensor:
        """[N, inside, H, W] to [N, outside, H, W]; ``rectified(x)`` may be given."""
        begin = self.rectified(x) if rectified is None else rectified
        inner = functional.relu(self.bn_branch2b1(self.conv_branch2a(begin)), inplace=True)
        inner = self.conv_branch2b1(dropout2d(inner, self.dropout, self.training))
        inner = functional.relu(self.bn_branch2b2(inner), inplace=True)
        inner = self.conv_branch2b2(dropout2d(inner, self.dropout, self.training))
        return self.conv_branch1(begin) + inner


class ResNet38(Backbone):
    """Side features conv4 (512 channels) and conv5 (1024); levels conv3 to conv6.

    conv3, conv4 and conv5 are the normalised, rectified inputs of b4, b5 and b6 (256 channels at
    stride 4, then 512 and 1024 at stride 8); conv6 is the rectified output of bn7 (4096 channels,
    stride 8). In training, conv6 goes through the dropout (0.5 of the channels) that the released
    networks put before their classifier. conv1a, b2 to b2_2 and all batch norm are frozen.
    """

    stride = 8
    side_channels = (512, 1024)
    channels = 4096
    level_channels = (256, 512, 1024, 4096)
    stages = ("stem", "b3", "b4", "b5", "b6", "b7")

    def __init__(self) -> None:
        super().__init__()
        self.conv1a = _conv(3, 64, 3)
        inside = 64
        for name, stage in STAGES.items():
            for block in _block_names(name):
                first = block == name
                self.add_module(
                    block,
                    Block(
                        inside,
                        stage.inner,
                        stage.outside,
                        stage.stride if first else 1,
                        stage.first_dilation if first else stage.dilation,
                        stage.dilation,
                    ),
                )
                inside = stage.outside
        self.b6 = Bottleneck(1024, 2048, 0.3)
        self.b7 = Bottleneck(2048, 4096, 0.5)
        self.bn7 = BatchNorm2d(4096)
        for name in ("conv1a", *_block_names("b2")):
            self.get_submodule(name).requires_grad_(False)
        freeze_affine(self)
        freeze_batch_norm(self)

    def train(self, mode: bool = True) -> ResNet38:
        """Set the mode of everything but batch norm, which stays in eval."""
        super().train(mode)
        freeze_batch_norm(self)
        return self

    def run_stage(self, name: str, x: Tensor) -> Tensor:
        """One stage's output; only that of the last stage is rectified."""
        if name == "stem":
            return self._blocks("b2", self.conv1a(x))
        return self._blocks(name, x)

    def forward(self, images: Tensor) -> Features:
        """Features of [N, 3, H, W]: conv4, conv5; conv6 [N, 4096, H/8, W/8], sizes rounded up."""
        x = self.advance(images, 0, self.stages.index("b4"))
        levels = []
        for name in ("b4", "b5", "b6"):
            rectified = self._block(name).rectified(x)
            levels.append(rectified)
            x = self._blocks(name, x, rectified)
        last = self.run_stage("b7", x)
        conv3, conv4, conv5 = levels
        return Features((conv4, conv5), last, (conv3, conv4, conv5, last))

    def _block(self, name: str) -> Block | Bottleneck:
        block = self.get_submodule(name)
        assert isinstance(block, Block | Bottleneck)
        return block

    def _blocks(self, stage: str, x: Tensor, rectified: Tensor | None = None) -> Tensor:
        for name in _block_names(stage):
            x = self._block(name)(x, rectified if name == stage else None)
        if stage == "b7":
            x = functional.relu(self.bn7(x), inplace=True)
            x = dropout2d(x, HEAD_DROPOUT, self.training)
        return x


def _block_names(stage: str) -> list[str]:
    """b4 -> b4, b4_1, ... b4_5."""
    count = STAGES[stage].blocks if stage in STAGES else 1
    return [stage, *(f"{stage}_{i}" for i in range(1, count))]


def _conv(
    inside: int, outside: int, kernel: int, stride: int = 1, dilation: int = 1, gain: float = 1.0
) -> nn.Conv2d:
    """A bias-free convolution that keeps a rectified input's variance, times ``gain`` squared.

    Without pretrained weights nothing normalises; a small gain in every branch's last convolution
    keeps the sum of 17 residuals of the order of the input.
    """
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(inside, outside, kernel, stride, padding, dilation, bias=False)
    with torch.no_grad():
        conv.weight.mul_(gain * math.sqrt(6))  # torch draws with a variance of 1 / (3 fan_in)
    return conv
