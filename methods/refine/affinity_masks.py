"""AffinityNet's inference: maps of an image spread by the affinities of its features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from camsweep.methods.refine.affinity import RADIUS, AffinityNet, affinity_bands
from camsweep.methods.refine.labels import with_background
from camsweep.methods.refine.walk import transition, walk


@torch.no_grad()
def spread_by_affinity(
    net: AffinityNet,
    image: Tensor,
    maps: Tensor,
    *,
    alpha: float,
    beta: float,
    doublings: int,
    radius: int = RADIUS,
    everywhere: bool = False,
) -> Tensor:
    """Scores of all pixels after the walk, the background's first.

    Args:
        net: in eval.
        image: normalised, float [3, H, W].
        maps: of the image's C classes, [C, H, W] in 0..1.
        alpha: power of the background map (1 - best)^alpha.
        beta: power of the affinities.
        doublings: 2^doublings steps, ``logt``.
        radius: of the neighbours that a step reaches; below it.
        everywhere: see ``affinity_bands``.

    Returns:
        float32 [1 + C, H, W]; the mask is their argmax.
    """
    height, width = image.shape[-2:]
    stride = net.stride
    # As released, image and scores are padded with 0 to whole cells, and the means of the cells
    # at the border are lower for it.
    pad = (0, -width % stride, 0, -height % stride)
    bands, offsets = affinity_bands(net(F.pad(image, pad)[None])[0], radius, everywhere=everywhere)
    scores = F.avg_pool2d(F.pad(with_background(maps, alpha), pad)[None], stride)[0]
    spread = walk(scores, transition(bands, offsets, beta), doublings)
    big = F.interpolate(spread[None], scale_factor=stride, mode="bilinear", align_corners=False)
    return big[0, :, :height, :width]
