"""On CPUs, a team's gradients that are those of one process to the last bit.

A sum of two ranks' gradients is rounded otherwise than one process's sum over the whole batch, and
a training magnifies that: after 200 steps some pixels of the maps fall on the other side of a
threshold. What of a gradient is summed over images is, in these networks, the weights of
convolutions. So each such gradient is computed by one rank, from all ranks' inputs and output
gradients; the ranks divide the layers instead of the images. All other parts of a step treat every
image by itself. On GPUs, whose own sums are not the same from run to run, gradients are summed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from camsweep.methods.parts import Part, current_rows_an_image
from camsweep.methods.team import Team

_aten = torch.ops.aten


class WholeBatchGradients(TorchDispatchMode):
    """Forward and backward of a step in it: weights of convolutions get whole-batch gradients.

    The gradient of each weight is on one rank, and 0 on the others, so that their sum is exact.
    """

    def __init__(self, team: Team, part: Part) -> None:
        """Begin a step.

        Args:
            team: more than one process.
            part: the images of this one.
        """
        super().__init__()
        self.team, self.part = team, part
        self._inner: dict[int, int] = {}
        self._owners: dict[tuple[int, ...], int] = {}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operation; those of convolutions as the class says."""
        if func is _aten.convolution.default:
            return self._forward(func, args)
        if func is _aten.convolution_backward.default:
            return self._backward(func, args)
        return func(*args, **(kwargs or {}))

    def _forward(self, func: Callable[..., Any], args: Any) -> Tensor:
        given, weight, *how = args
        inner = current_rows_an_image()
        self._inner[given.data_ptr()] = inner
        if not _is_product(weight):
            return func(*args)
        layout = self._layout(given, inner)
        return self._own(func(self._in_place(given, layout), weight, *how), layout)

    def _backward(self, func: Callable[..., Any], args: Any) -> tuple[Tensor | None, ...]:
        gradient, given, weight, *how, (to_input, to_weight, to_bias) = args
        layout = self._layout(given, self._inner.get(given.data_ptr(), 1))
        found: list[Tensor | None] = [None, None, None]
        if to_bias:
            found[2] = func(*args[:-1], [False, False, True])[2]
        if to_input and _is_product(weight):
            whole, dummy = self._in_place(gradient, layout), self._in_place(given, layout)
            below = func(whole, dummy, weight, *how, [True, False, False])[0]
            found[0] = self._own(below, layout)
        elif to_input:
            found[0] = func(*args[:-1], [True, False, False])[0]
        if to_weight:
            found[1] = self._weight_gradient(func, gradient, given, weight, how, layout)
        return tuple(found)

    def _weight_gradient(
        self,
        func: Callable[..., Any],
        gradient: Tensor,
        given: Tensor,
        weight: Tensor,
        how: list[Any],
        layout: tuple[int, int],
    ) -> Tensor:
        # The same weight has the same owner, in whatever form it is used: sums have one order.
        owner = self._owners.setdefault(tuple(weight.shape), len(self._owners) % self.team.world)
        inputs, gradients = (self._gathered(rows, owner, layout) for rows in (given, gradient))
        if inputs is None or gradients is None:
            return torch.zeros_like(weight)
        found: Tensor = func(gradients, inputs, weight, *how, [False, True, False])[1]
        return found

    def _layout(self, rows: Tensor, inner: int) -> tuple[int, int]:
        """Views in the rows, and rows an image: [views, images, rows an image]."""
        return rows.shape[0] // (self.part.count * inner), inner

    def _in_place(self, rows: Tensor, layout: tuple[int, int]) -> Tensor:
        """The rows where they are in the whole batch, and 0 elsewhere."""
        views, inner = layout
        size = (views * self.part.whole * inner, *rows.shape[1:])
        whole = torch.zeros(size, dtype=rows.dtype).contiguous(memory_format=_format(rows))
        start, stop = self.part.start * inner, (self.part.start + self.part.count) * inner
        whole.unflatten(0, (views, -1))[:, start:stop] = rows.unflatten(0, (views, -1))
        return whole

    def _own(self, whole: Tensor, layout: tuple[int, int]) -> Tensor:
        """The rows of this process's images, of those of the whole batch."""
        views, inner = layout
        start, stop = self.part.start * inner, (self.part.start + self.part.count) * inner
        rows = whole.unflatten(0, (views, -1))[:, start:stop].flatten(0, 1)
        return rows.contiguous(memory_format=_format(whole))

    def _gathered(self, rows: Tensor, owner: int, layout: tuple[int, int]) -> Tensor | None:
        """The rows of the whole batch, in one process's order and layout; None but on the owner."""
        last = _format(rows) == torch.channels_last
        sent = rows.permute(0, 2, 3, 1) if last else rows
        parts = self.team.send(sent.contiguous(), owner)
        if not parts:
            return None
        whole = torch.cat([p.unflatten(0, (layout[0], -1)) for p in parts], 1).flatten(0, 1)
        return whole.permute(0, 3, 1, 2) if last else whole


def _is_product(weight: Tensor) -> bool:
    """A 1 x 1 convolution is a matrix product, in blocks that depend on the number of rows."""
    return weight.shape[2:] == (1, 1)


def _format(rows: Tensor) -> torch.memory_format:
    last = rows.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format
