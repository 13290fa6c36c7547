"""Seeds, prototypes, and maps by likeness to them (SIPE, CVPR 2022; CPMC builds on them).

Everything is a matrix product over images x classes x places. ``C`` counts the background, which is
channel 0; all maps of a call share one grid [h, w].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camsweep.methods.correlation import like_sums, resize
from camsweep.methods.normalize import EPS, background, normalise_test

# Outputs of the 1 x 1 convolutions on the four levels as published, for levels at least that wide.
HIERARCHY_WIDTHS = (128, 128, 256, 256)
# Bound of the norms in a cosine, as in torch's own.
TINY = 1e-8


def joined_levels(levels: Sequence[Tensor]) -> Tensor:
    """Four levels of a network, each brought to length 1 by place, on the third one's grid.

    Args:
        levels: four maps [N, channels, ., .], low to high.

    Returns:
        Float32 [N, sum of channels, h, w].
    """
    size = levels[2].shape[-2:]
    parts = []
    for level in levels:
        values = level.float()
        unit = values / (values.norm(dim=1, keepdim=True) + EPS)
        if unit.shape[-2:] != size:
            unit = F.interpolate(unit, size, mode="bilinear", align_corners=False)
        parts.append(unit)
    return torch.cat(parts, 1)


class HierarchicalFeature(nn.Module):
    """SIPE's hierarchical feature: four levels reduced, normalised and joined.

    The levels are detached, so a loss on the feature trains these convolutions only. Levels with
    fewer channels than a published width keep their own number.
    """

    def __init__(self, level_channels: tuple[int, ...]) -> None:
        """Build the convolutions.

        Args:
            level_channels: channels of the four levels, low to high.
        """
        super().__init__()
        self.side = nn.ModuleList(
            nn.Conv2d(channels, min(width, channels), 1, bias=False)
            for channels, width in zip(level_channels, HIERARCHY_WIDTHS, strict=True)
        )

    def forward(self, levels: tuple[Tensor, ...]) -> Tensor:
        """Float32 [N, D, h, w] on the third level's grid, of four maps [N, channels, ., .]."""
        pairs = zip(self.side, levels, strict=True)
        return joined_levels([conv(level.detach()) for conv, level in pairs])


def class_mask(
    labels: Tensor, valid: Tensor | None = None, size: tuple[int, int] | None = None
) -> Tensor:
    """Where a class may be: the image's classes and the background, inside the picture.

    Args:
        labels: [N, C-1] of 0 and 1, foreground classes.
        valid: bool [N, H, W], False in the padding of the crop; None = all valid.
        size: grid of the mask (nearest), where ``valid`` is given.

    Returns:
        0 and 1, [N, C, h, w], or [N, C, 1, 1] without ``valid``.
    """
    present = F.pad(labels.float(), (1, 0), value=1.0)[:, :, None, None]
    if valid is None:
        return present
    return present * F.interpolate(valid[:, None].float(), size, mode="nearest")


def class_maps(
    scores: Tensor,
    labels: Tensor | None = None,
    valid: Tensor | None = None,
    attenuation: float = 1.0,
    size: tuple[int, int] | None = None,
) -> Tensor:
    """M: foreground maps divided by their maximum, and the background map of SIPE eq. 2.

    The background is taken from all classes, absent ones too, before the mask (released code).

    Args:
        scores: [N, C-1, h, w], before ReLU.
        labels: [N, C-1]; None leaves absent classes in, as the released inference does.
        valid: bool [N, H, W], see ``class_mask``; used with ``labels`` only.
        attenuation: alpha of M_b = alpha (1 - max_k M_k); the released code has 1.
        size: grid of the result, if it is not that of ``scores``.

    Returns:
        [N, C, h, w] within 0..1, with a gradient to ``scores``.
    """
    foreground = normalise_test(scores.float(), "max")
    maps = torch.cat([attenuation * background(foreground), foreground], 1)
    maps = maps if size is None else resize(maps, size)
    if labels is None:
        return maps
    return maps * class_mask(labels, valid, (maps.shape[-2], maps.shape[-1]))


def structure_similarity(features: Tensor, maps: Tensor) -> Tensor:
    """C_k(i): soft IoU of what place i resembles and of class k's map (SIPE eq. 3 and 4).

    The normalisation of the affinity is moved to the maps. Gives no gradient: it only makes seeds.

    Args:
        features: [N, D, h, w], of any length.
        maps: [N, C, h, w] >= 0.

    Returns:
        Float32 [N, C, h, w] within 0..1.
    """
    with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
        points = features.float().flatten(2)
        inverse = 1 / (points.norm(dim=1, keepdim=True) + EPS)
        flat = maps.float().flatten(2)
        # One more row of ones: its product is each place's total affinity.
        weights = torch.cat([flat, torch.ones_like(flat[:, :1])], 1) * inverse
        sums = like_sums(weights, points) * inverse
        inside, reach = sums[:, :-1], sums[:, -1:]
        union = reach + flat.sum(2, keepdim=True) - inside
        # A place without any feature resembles nothing, itself included.
        return (inside / union.clamp_min(EPS)).unflatten(2, features.shape[-2:])


def weigh_background(maps: Tensor, weight: float) -> Tensor:
    """``maps`` [N, C, h, w] with channel 0 multiplied by ``weight``."""
    return torch.cat([weight * maps[:, :1], maps[:, 1:]], 1)


def argmax_seeds(maps: Tensor, mask: Tensor, background_weight: float = 1.0) -> Tensor:
    """One-hot seeds of the best class at each place; no seed where that class is masked.

    Args:
        maps: [N, C, h, w]; the lower class wins a tie.
        mask: 0 and 1, [N, C, h, w] or [N, C, 1, 1] (``class_mask``).
        background_weight: factor on channel 0 before the comparison.

    Returns:
        0 and 1, float32 [N, C, h, w], without gradient.
    """
    best = weigh_background(maps.detach(), background_weight).argmax(1, keepdim=True)
    hot = torch.zeros(maps.shape, device=maps.device).scatter_(1, best, 1.0)
    return hot * mask


def threshold_seeds(maps: Tensor, mask: Tensor, threshold: float) -> Tensor:
    """``argmax_seeds`` against a constant background: the usual thresholded CAM.

    Args:
        maps: [N, C, h, w]; channel 0 is not looked at.
        mask: see ``argmax_seeds``.
        threshold: a class must be above it, 0..1.

    Returns:
        0 and 1, float32 [N, C, h, w].
    """
    constant = torch.full_like(maps[:, :1], threshold)
    return argmax_seeds(torch.cat([constant, maps[:, 1:]], 1), mask)


def structure_seeds(
    features: Tensor, maps: Tensor, mask: Tensor, background_weight: float = 0.5
) -> Tensor:
    """Structure-aware seeds (SIPE eq. 5): the class whose map fits each place's surroundings best.

    Args:
        features: [N, D, h, w].
        maps: M [N, C, h, w].
        mask: see ``argmax_seeds``.
        background_weight: factor on the background's similarity; the released code has 0.5, which
            the paper does not mention.

    Returns:
        0 and 1, float32 [N, C, h, w].
    """
    return argmax_seeds(structure_similarity(features, maps), mask, background_weight)


def class_prototypes(features: Tensor, seeds: Tensor) -> Tensor:
    """P: one feature a class from its seeds (SIPE eq. 6).

    The sum over seeds is divided by the number of all places, as released, and not by the number of
    seeds: only the length differs, which the cosine ignores.

    Args:
        features: [N, D, h, w].
        seeds: [N, C, h, w], one-hot or soft.

    Returns:
        Float32 [N, C, D]; 0 for a class without seeds.
    """
    with torch.autocast(features.device.type, enabled=False):
        points = features.float().flatten(2)
        return seeds.float().flatten(2) @ points.transpose(1, 2) / points.shape[2]


def prototype_maps(features: Tensor, prototypes: Tensor) -> Tensor:
    """IS-CAM: ReLU of the cosine of every place and every prototype (SIPE eq. 7).

    Args:
        features: [N, D, h, w].
        prototypes: [N, C, D].

    Returns:
        Float32 [N, C, h, w] within 0..1; 0 for an empty prototype.
    """
    with torch.autocast(features.device.type, enabled=False):
        points = features.float().flatten(2)
        likeness = prototypes.float() @ points
        length = prototypes.float().norm(dim=2).clamp_min(TINY)[:, :, None]
        likeness = likeness / length / points.norm(dim=1, keepdim=True).clamp_min(TINY)
        return F.relu(likeness).unflatten(2, features.shape[-2:])
