"""CPMC's parts in our reading: context refinement, disputed regions, calibrated prototype maps.

Everything is a matrix product over images x classes x places. ``C`` counts the background, which is
channel 0; all maps of a call share one grid [h, w].
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from camsweep.methods.correlation import like_mean
from camsweep.methods.normalize import normalise_test
from camsweep.methods.prototypes import class_prototypes, prototype_maps


def spread(maps: Tensor, features: Tensor, tau: float = 0.0) -> Tensor:
    """Every place takes the mean of the maps over the places that are like it.

    The weights are cosines above ``tau``, divided by their sum, as in SEAM's PCM (tau 0) and POT
    (tau 0.8).

    Args:
        maps: [N, C, h, w].
        features: [N, D, h, w], of any length.
        tau: cosines up to it count as 0, 0..1.

    Returns:
        Float32 [N, C, h, w].
    """
    with torch.autocast(features.device.type, enabled=False):
        points = F.normalize(features.float().flatten(2), dim=1)
        found = like_mean(maps.float().flatten(2), points, tau)
        return found.unflatten(2, maps.shape[-2:])


def refine(maps: Tensor, features: Tensor, steps: int, tau: float = 0.0) -> Tensor:
    """Spread class maps by context, again and again.

    Args:
        maps: M [N, C, h, w] within 0..1, background first.
        features: [N, D, h, w], see ``spread``.
        steps: T. 0 returns ``maps``.
        tau: see ``spread``.

    Returns:
        R [N, C, h, w]; after each step every map, the background's too, is divided by its maximum.
    """
    for _ in range(steps):
        maps = normalise_test(spread(maps, features, tau), "max")
    return maps


class Disputed(NamedTuple):
    """Where two maps contradict each other, bool [N, C, h, w], never for the background."""

    false_negatives: Tensor
    false_positives: Tensor


def disputed_regions(
    refined: Tensor, prototype: Tensor, mask: Tensor, t_high: float, t_low: float
) -> Disputed:
    """Regions in which the classifier misses a class, and in which the prototype leaks.

    False negatives of class k: the prototype map is at least ``t_high`` and k is its best class,
    and the classifier's map is at most ``t_low``. False positives: the prototype map is at least
    ``t_low`` where the classifier's best is the background.

    Args:
        refined: R [N, C, h, w] within 0..1.
        prototype: G [N, C, h, w] within 0..1, divided by its maximum.
        mask: where a class may be, 0 and 1, [N, C, h, w] or [N, C, 1, 1].
        t_high: 0..1.
        t_low: 0..1, at most ``t_high`` where false negatives are looked at.
    """
    best = prototype.argmax(1, keepdim=True)
    classes = torch.arange(prototype.shape[1], device=best.device)[:, None, None]
    allowed = (mask > 0) & (classes > 0)
    missed = (prototype >= t_high) & (refined <= t_low) & (best == classes)
    leaked = (prototype >= t_low) & (refined.argmax(1, keepdim=True) == 0)
    return Disputed(missed & allowed, leaked & allowed)


def local_maps(features: Tensor, regions: Tensor, least: int) -> Tensor:
    """Maps of likeness to the mean feature of a region.

    Args:
        features: F [N, D, h, w].
        regions: bool [N, C, h, w].
        least: a class whose region has fewer places gets no prototype.

    Returns:
        ReLU of cosines, [N, C, h, w] within 0..1; 0 without prototype.
    """
    enough = regions.sum((2, 3), keepdim=True) >= least
    return prototype_maps(features, class_prototypes(features, (regions & enough).float()))


def calibrated_maps(
    prototype: Tensor, missed: Tensor | None, leaked: Tensor | None, gamma: float
) -> Tensor:
    """M~: the prototype map, completed by what it missed and relieved of what leaked.

    Args:
        prototype: G [N, C, h, w] within 0..1.
        missed: G+ [N, C, h, w], likeness to false negatives; None leaves it out.
        leaked: G- [N, C, h, w], likeness to false positives; None leaves it out.
        gamma: factor on ``leaked``.

    Returns:
        ReLU(max(G, G+) - gamma G-), every map divided by its maximum.
    """
    maps = prototype if missed is None else torch.maximum(prototype, missed)
    if leaked is not None:
        maps = maps - gamma * leaked
    return normalise_test(maps, "max")
