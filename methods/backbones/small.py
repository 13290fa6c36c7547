"""SmallNet: the residual network of the embedded profile, small enough for one CPU core."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from camsweep.methods.backbones import Backbone, Features, freeze_affine, freeze_batch_norm
from camsweep.methods.backbones.norm import BatchNorm2d

WIDTHS = (16, 24, 32, 48)


class ConvNorm(nn.Module):
    """A bias-free convolution followed by batch normalisation.

    With frozen statistics the normalisation is an affine map per channel, so it is folded into the
    weights on every call: the same function and the same gradients, without two passes over the
    feature map.
    """

    def __init__(self, inside: int, outside: int, kernel: int, stride: int = 1, dilation: int = 1):
        super().__init__()
        padding = dilation * (kernel // 2)
        self.conv = nn.Conv2d(inside, outside, kernel, stride, padding, dilation, bias=False)
        self.norm = BatchNorm2d(outside)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Map float [N, inside, H, W] to float [N, outside, H/stride, W/stride]."""
        if self.norm.training:
            return self.norm(self.conv(x))
        norm, conv = self.norm, self.conv
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        shift = norm.bias - norm.running_mean * scale
        weight = conv.weight * scale.view(-1, 1, 1, 1)
        return functional.conv2d(
            x, weight, shift, conv.stride, conv.padding, conv.dilation, conv.groups
        )


class Residual(nn.Module):
    """Two 3x3 convolutions with a shortcut (projected where shape changes)."""

    def __init__(self, inside: int, outside: int, stride: int = 1, dilation: int = 1):
        super().__init__()
        self.first = ConvNorm(inside, outside, 3, stride, dilation)
        self.second = ConvNorm(outside, outside, 3, 1, dilation)
        nn.init.constant_(self.second.norm.weight, 0.5)
        same = inside == outside and stride == 1
        self.shortcut = nn.Identity() if same else ConvNorm(inside, outside, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map float [N, inside, H, W] to float [N, outside, H/stride, W/stride], rectified."""
        inner = self.second(functional.relu(self.first(x)))
        return functional.relu(inner + self.shortcut(x))


class SmallNet(Backbone):
    """Residual net with widths 16-24-32-48 and output stride 4: 96 pixels give 24 cells.

    The side features are those of stages 2 and 3, both at stride 4.

    Args:
        train_norm: Let batch normalisation learn, and use batch statistics in training mode. Only
            pretraining does; in trials statistics and affine parameters stay frozen, as in the
            CAM recipes of the literature.
    """

    stride = 4
    side_channels = (WIDTHS[1], WIDTHS[2])
    channels = WIDTHS[3]
    level_channels = WIDTHS
    stages = ("stem", "stage1", "stage2", "stage3", "stage4")

    def __init__(self, train_norm: bool = False) -> None:
        super().__init__()
        self.train_norm = train_norm
        self.stem = ConvNorm(3, WIDTHS[0], 3, stride=2)
        self.stage1 = Residual(WIDTHS[0], WIDTHS[0])
        self.stage2 = Residual(WIDTHS[0], WIDTHS[1], stride=2)
        self.stage3 = Residual(WIDTHS[1], WIDTHS[2])
        self.stage4 = Residual(WIDTHS[2], WIDTHS[3], dilation=2)
        if not train_norm:
            freeze_affine(self)
        self.train()

    def run_stage(self, name: str, x: Tensor) -> Tensor:
        """One stage's output, all >= 0; ``stem`` and ``stage2`` halve the resolution."""
        found: Tensor = self.get_submodule(name)(x)
        return functional.relu(found) if name == "stem" else found

    def forward(self, x: Tensor) -> Features:
        """Compute features.

        Args:
            x: Normalised images, float [N, 3, H, W].

        Returns:
            Side features [N, 24, H/4, W/4] and [N, 32, H/4, W/4], last feature [N, 48, H/4, W/4]
            and the outputs of the four stages, the first at stride 2 (sizes rounded up), all >= 0.
        """
        levels = []
        for name in self.stages:
            x = self.run_stage(name, x)
            levels.append(x)
        return Features(side=(levels[2], levels[3]), last=x, levels=tuple(levels[1:]))

    def train(self, mode: bool = True) -> SmallNet:
        """Switch training mode; frozen normalisation stays in evaluation mode."""
        super().train(mode)
        if not self.train_norm:
            freeze_batch_norm(self)
        return self
