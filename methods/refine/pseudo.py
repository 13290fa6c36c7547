"""The pseudo mask of one image, whichever way its maps are refined."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from camsweep.methods.inference import ClassMaps
from camsweep.methods.refine.config import RefineConfig
from camsweep.methods.refine.masks import mask_of, rows_of, scored
from camsweep.methods.refine.spreading import spread


def pseudo_mask(
    config: RefineConfig,
    net: nn.Module | None,
    image: NDArray[np.uint8],
    maps: ClassMaps,
    threshold: float,
    device: torch.device | str = "cpu",
) -> NDArray[np.uint8]:
    """The class of every pixel.

    Args:
        config: ``refine`` is ``crf``, ``affinity`` or ``irn``.
        net: the trained network, in eval, on ``device``; None for ``crf``.
        image: uint8 [H, W, 3].
        maps: of the image's classes, in 0..1, as large as the image.
        threshold: see ``masks.scored``; the walks need none.
        device: where CRFs and walks run.

    Returns:
        uint8 [H, W], numbers of classes, 0 = background; all 0 where the image has no class.

    Raises:
        ValueError: the maps are of another size, or lack the background that the recipe asks for.
    """
    if maps.values.shape[1:] != image.shape[:2]:
        raise ValueError(f"maps {tuple(maps.values.shape)} of an image {image.shape[:2]}")
    foreground = maps.foreground().classes
    if not foreground:
        return np.zeros(image.shape[:2], np.uint8)
    own = maps.has_background
    if net is None:
        rows = mask_of(config, image, scored(config, maps.values, own, threshold), device)
    else:
        rows = rows_of(spread(config, net, image, maps.values, own, device))
    return np.array((0, *foreground), np.uint8)[rows]
