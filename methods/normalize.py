"""Normalising maps: in the losses, before PCM, and at test time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-5


def max_norm(maps: Tensor, eps: float = EPS) -> Tensor:
    """Min-max over each map, ReLU first: what the losses of SEAM and CPN compare.

    Args:
        maps: [..., H, W].
        eps: added to the range and taken off the values, as released.

    Returns:
        The same shape, within 0..1.
    """
    positive = F.relu(maps)
    low = positive.amin((-2, -1), keepdim=True)
    high = positive.amax((-2, -1), keepdim=True)
    return F.relu(positive - low - eps) / (high - low + eps)


def background(foreground: Tensor) -> Tensor:
    """1 - the largest foreground value (CPN eq. 16 with alpha 1).

    Args:
        foreground: [N, C-1, H, W].

    Returns:
        [N, 1, H, W].
    """
    return 1 - foreground.amax(1, keepdim=True)


def keep_max(maps: Tensor, spare: int = 0) -> Tensor:
    """Zero all but the largest channel at each place; equal ones all stay.

    Args:
        maps: [N, C, H, W].
        spare: that many first channels are neither compared nor changed (SEAM spares background).

    Returns:
        [N, C, H, W].
    """
    body = maps[:, spare:]
    kept = torch.where(body < body.amax(1, keepdim=True), torch.zeros_like(body), body)
    return kept if spare == 0 else torch.cat([maps[:, :spare], kept], 1)


def correlation_input(scores: Tensor) -> Tensor:
    """The map that PCM and PRCM spread: detached, divided by its maximum, background, one-hot.

    Args:
        scores: class scores [N, C-1, h, w].

    Returns:
        [N, C, h, w]: background = 1 - best foreground, and of the foreground only the best class
        at each place (SEAM's and CPN's released forward pass).
    """
    positive = F.relu(scores.detach())
    maps = F.relu(positive - EPS) / (positive.amax((-2, -1), keepdim=True) + EPS)
    return torch.cat([background(maps), keep_max(maps)], 1)


def normalise_test(summed: Tensor, how: str) -> Tensor:
    """Normalise maps summed over scales and flips.

    Args:
        summed: [..., H, W].
        how: ``"max"`` = x / (max + 1e-5) (psa, IRN); ``"minmax"`` = (x - min - 1e-5) / (max - min
            + 1e-5), cut at 0 (SEAM, CPN; CPN's code then halves the map, so its threshold t is 2t
            here).

    Returns:
        The same shape, within 0..1.
    """
    if how == "minmax":
        return max_norm(summed)
    positive = F.relu(summed)
    return positive / (positive.amax((-2, -1), keepdim=True) + EPS)
