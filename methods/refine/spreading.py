"""Maps after the random walk of a trained AffinityNet or IRN, with the published numbers."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from camsweep.methods.inference import to_input
from camsweep.methods.refine.affinity import AffinityNet
from camsweep.methods.refine.affinity_masks import spread_by_affinity
from camsweep.methods.refine.config import RefineConfig
from camsweep.methods.refine.irn import IrnNet
from camsweep.methods.refine.irn_masks import (
    edge_displacement,
    enlarged,
    propagate,
    with_constant,
)
from camsweep.methods.refine.learning import recipe_of, settings_of
from camsweep.methods.refine.masks import crf_of_scores
from camsweep.methods.refine.published import Affinity, Irn


@torch.no_grad()
def spread(
    config: RefineConfig,
    net: nn.Module,
    image: NDArray[np.uint8],
    maps: Tensor,
    own_background: bool,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Scores of all pixels after the walk, and after ``walk_crf`` where there is one.

    Args:
        config: ``refine`` is ``affinity`` or ``irn``; ``walk_*`` in place of the recipe's numbers.
        net: the trained network of ``learning.task_of``, in eval, on ``device``.
        image: uint8 [H, W, 3].
        maps: of the image's classes, float32 [P, H, W] in 0..1.
        own_background: whether the first map is the maps' own background. It walks with the others
            in IRN's recipe ``sipe``; all others leave it out.
        device: where all of it runs.

    Returns:
        float32 [1 + C, H, W] on the CPU, background first; the mask is their argmax.

    Raises:
        ValueError: the maps lack the background that the recipe asks for.
    """
    recipe = recipe_of(config)
    maps = maps.to(device)
    foreground = maps[int(own_background) :]
    if len(foreground) == 0:
        return torch.ones(1, *image.shape[:2])
    normalised = to_input(image).to(device)
    if isinstance(recipe, Affinity):
        assert isinstance(net, AffinityNet)
        found = _by_affinity(config, recipe, net, normalised, foreground)
    else:
        assert isinstance(net, IrnNet)
        if recipe.background is None and not own_background:
            raise ValueError("this recipe of IRN needs maps with a background of their own")
        walking = maps if recipe.background is None else foreground
        found = _by_boundaries(config, recipe, net, normalised, walking)
    if config.walk_crf != "none":
        picture = torch.as_tensor(image, device=device)
        found = crf_of_scores(picture, found, config.walk_crf, config.crf_reach)
    return found.cpu()


def _by_affinity(
    config: RefineConfig, recipe: Affinity, net: AffinityNet, image: Tensor, maps: Tensor
) -> Tensor:
    return spread_by_affinity(
        net,
        image,
        maps,
        alpha=recipe.alpha if config.walk_alpha is None else config.walk_alpha,
        beta=recipe.beta if config.walk_beta is None else config.walk_beta,
        doublings=_doublings(config, recipe),
        radius=recipe.radius,
    )


def _by_boundaries(
    config: RefineConfig, recipe: Irn, net: IrnNet, image: Tensor, maps: Tensor
) -> Tensor:
    """IRN's scores.

    Maps come in the image's size and are reduced to the boundaries' grid (bilinear) before they are
    raised to their power, as SIPE's code does; IRN's code sums the scales' maps on that grid.
    """
    edge, _ = edge_displacement(net, image, settings_of(config).crop)
    size = (edge.shape[-2], edge.shape[-1])
    small = F.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]
    beta = recipe.beta if config.walk_beta is None else config.walk_beta
    doublings = _doublings(config, recipe)
    spread_out = propagate(small**recipe.power, edge, recipe.radius, beta, doublings)
    found = enlarged(spread_out, (image.shape[-2], image.shape[-1]), net.stride)
    if recipe.background is None:
        return found
    own = config.walk_background
    return with_constant(found, recipe.background if own is None else own)


def _doublings(config: RefineConfig, recipe: Affinity | Irn) -> int:
    return recipe.doublings if config.walk_doublings is None else config.walk_doublings
