"""Batch norm that only scales and shifts, as in the CAM recipes, with a gradient made for GPUs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class BatchNorm2d(nn.BatchNorm2d):
    """torch's, but for the gradient of a frozen one on a GPU.

    Where neither statistics nor affine parameters change, the gradient is the incoming one times a
    number a channel. torch's kernel gives it in the default memory layout, so that every
    convolution before it copies it back to channels-last: 16 of 90 ms of a training step of CPN
    (ResNet-38, 448 pixels, bfloat16, H200). On a CPU it stays torch's, whose last bits are part of
    the published numbers.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W], normalised."""
        learns = self.training or self.weight.requires_grad or self.bias.requires_grad
        if learns or not (x.is_cuda and x.requires_grad and torch.is_grad_enabled()):
            found: Tensor = super().forward(x)
            return found
        scaled: Tensor = FrozenNorm.apply(
            x, self.weight, self.bias, self.running_mean, self.running_var, self.eps
        )
        return scaled


class FrozenNorm(torch.autograd.Function):
    """Batch norm by stored statistics whose only gradient is its input's; it keeps no input."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, eps: float
    ) -> Tensor:
        """As ``torch.nn.functional.batch_norm`` in evaluation mode."""
        ctx.save_for_backward(weight * (var + eps).rsqrt())
        return functional.batch_norm(x, mean, var, weight, bias, training=False, eps=eps)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of ``x``, in the layout and type of the one given; none of the others."""
        (scale,) = ctx.saved_tensors
        # Multiplied in float32 and rounded once, in one kernel.
        found = torch.mul(gradient, scale[:, None, None], out=torch.empty_like(gradient))
        return found, None, None, None, None, None
