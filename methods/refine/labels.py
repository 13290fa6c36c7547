"""What the affinity networks are trained on: labels of the pixels that two CRFs are sure of.

Labels are numbers of rows in the stacks given, 0 = background, 255 = undecided. A caller that gives
only the classes present in the image maps them with ``of_classes``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from camsweep.methods.refine.densecrf import (
    SETTINGS,
    Crf,
    dense_crf,
    unary_of_labels,
    unary_of_probabilities,
)
from camsweep.methods.refine.pairs import IGNORE

#: Below it in every row, a pixel has no score: the crop reaches beyond the image there.
NO_SCORE = 1e-5


def with_background(maps: Tensor, alpha: float) -> Tensor:
    """Maps [C, H, W] in 0..1 with the background (1 - best)^alpha before them, [1 + C, H, W]."""
    if len(maps) == 0:
        return maps.new_ones(1, *maps.shape[1:])
    return torch.cat([(1 - maps.amax(0, keepdim=True)) ** alpha, maps])


def alpha_scores(image: Tensor, maps: Tensor, alpha: float, crf: Crf = SETTINGS["seam"]) -> Tensor:
    """Scores after the CRF, [1 + C, H, W]: a low alpha makes much background, a high one little.

    Args:
        image: uint8 [H, W, 3].
        maps: of the image's C classes, [C, H, W] in 0..1.
        alpha: see ``with_background``.
        crf: settings.
    """
    return dense_crf(image, unary_of_probabilities(with_background(maps, alpha)), crf)


def affinity_labels(low: Tensor, high: Tensor, pool: int = 8) -> Tensor:
    """AffinityNet's labels of a crop, on the grid of its affinities.

    A class is sure where it wins even against the much background of the low alpha; background is
    sure where it wins with the little of the high alpha.

    Args:
        low: scores [1 + C, H, W] with the low alpha, 0 beyond the image.
        high: with the high alpha.
        pool: image pixels a cell, whose mean scores are compared.

    Returns:
        uint8 [H / pool, W / pool], sizes rounded up.
    """
    low, high = (_pooled(scores, pool) for scores in (low, high))
    labels = low.argmax(0)
    labels[labels == 0] = IGNORE
    labels[high.argmax(0) == 0] = 0
    labels[torch.maximum(low.amax(0), high.amax(0)) < NO_SCORE] = IGNORE
    return labels.to(torch.uint8)


def _pooled(scores: Tensor, pool: int) -> Tensor:
    """Means over blocks; what a block has beyond the scores counts as 0."""
    height, width = scores.shape[-2:]
    padded = F.pad(scores, (0, -width % pool, 0, -height % pool))
    return F.avg_pool2d(padded[None], pool)[0]


def ir_labels(
    image: Tensor, careful: Tensor, generous: Tensor, crf: Crf = SETTINGS["label"]
) -> Tensor:
    """IRN's and SIPE's labels of an image.

    Args:
        image: uint8 [H, W, 3].
        careful: scores [1 + C, H, W] with so high a background that what is foreground is sure;
            IRN takes the maps with a constant 0.30, SIPE the maps' own background.
        generous: with so low a background that what is background is sure; IRN 0.05, SIPE half
            the maps' own background.
        crf: settings.

    Returns:
        uint8 [H, W].
    """
    sure, perhaps = (
        dense_crf(image, unary_of_labels(scores.argmax(0), len(scores)), crf).argmax(0)
        for scores in (careful, generous)
    )
    labels = torch.where(sure == 0, IGNORE, sure)
    labels[(sure == 0) & (perhaps == 0)] = 0
    return labels.to(torch.uint8)


def of_classes(labels: Tensor, classes: list[int]) -> Tensor:
    """Labels with the classes' numbers in place of their rows'.

    Args:
        labels: uint8 [...], 0..C or 255.
        classes: numbers of the C foreground classes, each 1..254.
    """
    table = torch.full((IGNORE + 1,), IGNORE, dtype=torch.uint8, device=labels.device)
    table[: len(classes) + 1] = torch.tensor([0, *classes], dtype=torch.uint8)
    return table[labels.long()]
