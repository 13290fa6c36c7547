"""Pseudo masks: maps get a background, perhaps a CRF or a random walk, and every pixel a class."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from camsweep.methods.refine.config import CrfName, RefineConfig
from camsweep.methods.refine.densecrf import (
    SETTINGS,
    dense_crf,
    unary_of_labels,
    unary_of_probabilities,
)
from camsweep.methods.refine.irn_masks import with_constant
from camsweep.methods.refine.labels import with_background


def scored(config: RefineConfig, maps: Tensor, own_background: bool, threshold: float) -> Tensor:
    """Maps with a background before them, for ``refine: crf``.

    Args:
        config: ``mask_background``, and its constant or power.
        maps: of the image's classes, float32 [P, H, W] in 0..1.
        own_background: whether the first map is the maps' own background, which is then taken.
        threshold: the best constant background of the whole split (``mask_background: best``).

    Returns:
        float32 [1 + C, H, W].
    """
    if own_background:
        return maps
    if config.mask_background == "power":
        return with_background(maps, config.mask_power)
    best = config.mask_background == "best"
    return with_constant(maps, threshold if best else config.mask_constant)


def crf_of_scores(image: Tensor, scores: Tensor, name: CrfName, reach: float = 1.0) -> Tensor:
    """Probabilities after denseCRF of scores taken as they are, within 1e-5..1.

    So do all released codes (``unary_from_softmax`` of scores that are not normalised): a pixel's
    energies differ from those of its normalised scores by a constant, which changes no probability.

    Args:
        image: uint8 [H, W, 3].
        scores: float [1 + C, H, W].
        name: of the settings; not ``none``.
        reach: factor on their distances.

    Returns:
        float32 [1 + C, H, W], of each pixel the sum is 1.
    """
    return dense_crf(
        image, unary_of_probabilities(scores.clamp(max=1)), SETTINGS[name].within(reach)
    )


def mask_of(
    config: RefineConfig,
    image: NDArray[np.uint8],
    scores: Tensor,
    device: torch.device | str = "cpu",
) -> NDArray[np.uint8]:
    """The best row of every pixel after the CRF of ``refine: crf``; of equal ones the first.

    Args:
        config: ``crf``, ``crf_unary``.
        image: uint8 [H, W, 3].
        scores: of ``scored``, [1 + C, H, W].
        device: where the CRF runs.

    Returns:
        uint8 [H, W], 0 = background, then the maps' rows + 1.
    """
    if config.crf != "none" and len(scores) > 1:
        picture, scores = torch.as_tensor(image, device=device), scores.to(device)
        if config.crf_unary == "scores":
            scores = crf_of_scores(picture, scores, config.crf, config.crf_reach)
        else:
            unary = unary_of_labels(scores.argmax(0), len(scores))
            scores = dense_crf(picture, unary, SETTINGS[config.crf].within(config.crf_reach))
    return rows_of(scores)


def rows_of(scores: Tensor) -> NDArray[np.uint8]:
    """The best row of every pixel, of equal ones the first: uint8 [H, W] of [R, H, W]."""
    return np.asarray(scores.argmax(0).cpu().numpy(), dtype=np.uint8)
