"""Pairs of pixels nearer than a radius, each counted once: what AffinityNet and IRN learn on.

A pair is a source pixel and one of the offsets in the half disc below and to the right of it. The
released codes take as sources only the pixels whose whole half disc lies in the grid (the
*window*), so every offset has as many pairs; ``on_grid`` puts them back on the pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Offset = tuple[int, int]
#: Labels from here on belong to no class; IRN's code has 21, its number of classes.
IGNORE = 255
#: Added to counts, and inside logarithms.
EPS = 1e-5


def half_disc(radius: int) -> list[Offset]:
    """The offsets (dy, dx) nearer than ``radius``: to the right, or below; 34 for a radius of 5."""
    right = [(0, x) for x in range(1, radius)]
    below = [
        (y, x)
        for y in range(1, radius)
        for x in range(1 - radius, radius)
        if x * x + y * y < radius * radius
    ]
    return right + below


def shrunk(radius: int, size: tuple[int, int]) -> int:
    """The radius that SEAM's code takes for a small grid; 0 or 1 has no pairs.

    psa keeps the radius, and so has no pairs at all where no half disc fits.
    """
    least = min(size)
    return (least - 1) // 2 if least < 2 * radius + 1 else radius


def window(size: tuple[int, int], radius: int) -> tuple[int, int]:
    """Rows and columns of source pixels: the first rows, and the columns in the middle."""
    margin = max(radius - 1, 0)
    return max(size[0] - margin, 0), max(size[1] - 2 * margin, 0)


def shifted(values: Tensor, offset: Offset, radius: int) -> Tensor:
    """What lies ``offset`` from each source: ``[..., H, W] -> [..., rows, columns]``, a view."""
    size = (values.shape[-2], values.shape[-1])
    rows, columns = window(size, radius)
    top, left = offset[0], offset[1] + max(radius - 1, 0)
    return values[..., top : top + rows, left : left + columns]


def sources(size: tuple[int, int], radius: int) -> Tensor:
    """Flat indices of the source pixels of a grid [H, W], int64 [S]."""
    return shifted(torch.arange(size[0] * size[1]).view(size), (0, 0), radius).reshape(-1)


def targets(size: tuple[int, int], offsets: list[Offset], radius: int) -> Tensor:
    """Flat indices of the sources' partners, int64 [P, S], a row for each offset."""
    moves = torch.tensor([dy * size[1] + dx for dy, dx in offsets], dtype=torch.int64)
    return sources(size, radius) + moves[:, None]


def widened(values: Tensor, radius: int, fill: float) -> Tensor:
    """``[..., H, W]`` with a margin that makes every pixel a source; ``fill`` lies outside."""
    margin = max(radius - 1, 0)
    return F.pad(values, (margin, margin, 0, margin), value=fill)


def on_grid(pairs: Tensor, size: tuple[int, int], radius: int) -> Tensor:
    """Values of pairs ``[..., S]`` at their sources ``[..., H, W]``; 0 at all other pixels."""
    rows, columns = window(size, radius)
    margin = max(radius - 1, 0)
    found = pairs.new_zeros(*pairs.shape[:-1], *size)
    found[..., :rows, margin : margin + columns] = pairs.unflatten(-1, (rows, columns))
    return found


class PairLabels(NamedTuple):
    """Which pairs are to be alike; a pair with an ignored pixel is in none, bool [N, P, S] each.

    Attributes:
        background: both are background.
        foreground: both are of the same class.
        different: they are of different classes, or one is background.
    """

    background: Tensor
    foreground: Tensor
    different: Tensor


def pair_labels(labels: Tensor, offsets: list[Offset], radius: int) -> PairLabels:
    """What label maps say of the pairs.

    Args:
        labels: integers [N, H, W], 0 = background, 255 = undecided; on the grid of the affinities.
        offsets: P of them, in the affinities' order.
        radius: of the window.
    """
    here = shifted(labels, (0, 0), radius).flatten(1)[:, None]
    there = torch.stack([shifted(labels, o, radius).flatten(1) for o in offsets], 1)
    known = (here < IGNORE) & (there < IGNORE)
    same = (here == there) & known
    return PairLabels(same & (here == 0), same & (here > 0), known & (here != there))


class PairLosses(NamedTuple):
    """Mean cross entropy of affinities over each kind of pairs, 0 where there are none."""

    background: Tensor
    foreground: Tensor
    different: Tensor


def pair_counts(labels: Tensor, offsets: list[Offset], radius: int) -> Tensor:
    """How many pairs of each kind an image has, int64 [N, 3], in the order of ``PairLabels``.

    Args:
        labels: as in ``pair_labels``.
        offsets: P of them.
        radius: of the window.
    """
    labels = labels.to(torch.uint8)  # a batch of IRN's has 60 million pairs
    here = shifted(labels, (0, 0), radius)
    sure, ground = here < IGNORE, here == 0
    counts = torch.zeros(len(labels), 3, dtype=torch.int64, device=labels.device)
    for offset in offsets:
        there = shifted(labels, offset, radius)
        same = here == there
        counts[:, 0] += (same & ground).sum((1, 2))
        counts[:, 1] += (same & sure).sum((1, 2))
        counts[:, 2] += (sure & (there < IGNORE)).sum((1, 2))
    background, alike, known = counts.unbind(1)
    return torch.stack([background, alike - background, known - alike], 1)


def pair_losses(affinity: Tensor, labels: PairLabels, totals: Tensor | None = None) -> PairLosses:
    """-log a of pairs that are alike, -log (1 - a) of the others.

    Args:
        affinity: [N, P, S], 0..1.
        labels: of the same pairs.
        totals: [3], by which the sums of the three kinds are divided; None = their pairs' numbers.
    """
    alike = -(affinity + EPS).log()
    unlike = -(1 + EPS - affinity).log()
    background, foreground, different = [None] * 3 if totals is None else totals
    return PairLosses(
        mean_where(alike, labels.background, background),
        mean_where(alike, labels.foreground, foreground),
        mean_where(unlike, labels.different, different),
    )


def mean_where(values: Tensor, mask: Tensor, total: Tensor | None = None, axes: int = 1) -> Tensor:
    """The mean of values where ``mask``, as released: the sum over the count + 1e-5.

    Args:
        values: [N, P, S].
        mask: bool [N, P, S].
        total: the count to divide by; None = how often ``mask`` is true.
        axes: how many numbers each of the values is the sum of; 2 of displacements.
    """
    number = mask.sum() if total is None else total
    return (values * mask).sum() / (axes * number + EPS)
