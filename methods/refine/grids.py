"""What the training of AffinityNet and that of IRN share: the grid of cells that pairs lie on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from camsweep.methods.base import Batch
from camsweep.methods.refine.pairs import IGNORE, half_disc, pair_counts, shrunk
from camsweep.methods.task import TaskSettings
from camsweep.shards.errors import InputError

#: Image pixels a cell of each task's grid, by backbone: of ResNet-38's conv4 and of ResNet-50's
#: second layer for AffinityNet, of the second stage for IRN.
CELLS = {
    "affinity": {"resnet38": 8, "resnet50": 8, "resnet101": 8, "small": 4},
    "irn": {"resnet50": 4, "resnet101": 4, "small": 2},
}
#: A radius below it has no pairs.
LEAST_RADIUS = 2


@dataclass(frozen=True)
class Learning:
    """What a task's own functions need beside its settings.

    Attributes:
        network: name of the backbone.
        cell: image pixels a cell of the network's grid.
        radius: of the pairs in training, in cells.
    """

    network: str
    cell: int
    radius: int


def fitting_radius(radius: int, side: int, crop: int) -> int:
    """The radius, shrunk on a small grid so that pairs fit on it, as SEAM's code does.

    Args:
        radius: as published, in cells.
        side: of the grid, in cells.
        crop: the pixels that it covers, for the error line.

    Raises:
        InputError: no pair fits.
    """
    fits = shrunk(radius, (side, side))
    if fits < LEAST_RADIUS:
        raise InputError(
            f"affinity_crop: {crop} pixels are {side} cells, in which no pair of pixels fits; "
            f"make it at least {-(-crop // side) * (2 * LEAST_RADIUS + 1)}"
        )
    return fits


def labels_of(regions: Tensor | None) -> Tensor:
    """Classes of cells, 0 = background, 255 = undecided, of class + 1 and 0: int32 [N, h, w]."""
    if regions is None:
        raise ValueError("this task learns from the labels of cells, none were given")
    return torch.where(regions > 0, regions - 1, IGNORE)


def counts(regions: Tensor, settings: TaskSettings) -> Tensor:
    """Each image's pairs by their kind, int64 [N, 3]: ``Task.counts``.

    The released losses are means over all pairs of a batch, so its parts must know them.

    Args:
        regions: class + 1 of the cells, 0 = unknown, [N, h, w].
        settings: of the task.
    """
    radius = radius_of(settings)
    return pair_counts(labels_of(regions), half_disc(radius), radius)


def totals_of(batch: Batch) -> Tensor | None:
    """What the sums over a part's pairs are divided by, float [3]; None for a whole batch.

    They are the whole batch's pairs times the part's share, so that means of parts add up, each
    weighted by its share, to the mean of the whole.
    """
    if batch.part is None:
        return None
    if batch.counts is None:
        raise ValueError("a part of a batch needs the counts of the whole")
    return (batch.counts.sum(0) * batch.part.share).to(batch.images.device)


def radius_of(settings: TaskSettings) -> int:
    """The radius that fits on the grid of a training crop; see ``fitting_radius``."""
    learning: Learning = settings.extra
    side = -(-settings.crop // learning.cell)
    return fitting_radius(learning.radius, side, settings.crop)
