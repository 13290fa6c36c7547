"""Metrics of summed pixel counts, and which regions each of them sums.

Counts are ``[..., C, 3]`` with the last axis (tp, fp, fn) and class 0 the background. A metric is a
function of counts that were summed over the set before anything is divided.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from camsweep.methods.metrics import iou

Floats = NDArray[np.float64]
Counts = NDArray[np.generic]
#: Shares of an image's labelled pixels that part small, medium and large regions. COCO's 96 x 96
#: pixels, its limit of large objects, are 5 % of an image of VOC's usual size.
SMALL, LARGE = 0.05, 0.20


@dataclass(frozen=True)
class Counted:
    """A metric that is known for every resample of the images.

    Attributes:
        of: summed counts ``[..., C, 3] -> [...]``, a fraction.
        regions: which (image, class) regions are summed: ``[I, C, 3] -> bool [I, C]``; None: all.
    """

    of: Callable[[Counts], Floats]
    regions: Callable[[Counts], NDArray[np.bool_]] | None = None

    def kept(self, counts: Counts) -> Counts:
        """The counts of the regions that the metric is about, others zero."""
        return counts if self.regions is None else counts * self.regions(counts)[..., None]


def mean_present(values: Floats) -> Floats:
    """Mean over the last axis without NaN; NaN where nothing is present."""
    present = ~np.isnan(values)
    number = present.sum(axis=-1)
    total = np.where(present, values, 0.0).sum(axis=-1)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def miou(counts: Counts) -> Floats:
    """Mean IoU over the classes with any pixel in tp + fp + fn: ``[..., C, 3] -> [...]``."""
    return mean_present(iou(counts))


def background_iou(counts: Counts) -> Floats:
    """IoU of class 0: ``[..., C, 3] -> [...]``."""
    return iou(counts)[..., 0]


def foreground_iou(counts: Counts) -> Floats:
    """Mean IoU of the classes 1.. that are present: ``[..., C, 3] -> [...]``."""
    return mean_present(iou(counts)[..., 1:])


def precision(counts: Counts) -> Floats:
    """Mean of tp / (tp + fp) over the foreground classes with any pixel: ``[..., C, 3] -> [...]``.

    A class that is in the masks and never predicted counts as 0, not as unknown: leaving it out
    would reward silence.
    """
    fg = np.asarray(counts, dtype=np.float64)[..., 1:, :]
    ratio = fg[..., 0] / np.maximum(fg[..., 0] + fg[..., 1], 1)
    return mean_present(np.where(fg.sum(axis=-1) > 0, ratio, np.nan))


def recall(counts: Counts) -> Floats:
    """Mean of tp / (tp + fn) over the foreground classes in the masks: ``[..., C, 3] -> [...]``."""
    fg = np.asarray(counts, dtype=np.float64)[..., 1:, :]
    there = fg[..., 0] + fg[..., 2]
    return mean_present(np.where(there > 0, fg[..., 0] / np.maximum(there, 1), np.nan))


def _share(counts: Counts) -> Floats:
    """The share of each class in the labelled pixels of each image: ``[I, C, 3] -> [I, C]``."""
    given = np.asarray(counts, dtype=np.float64)
    area = given[..., 0] + given[..., 2]
    return area / np.maximum(area.sum(axis=-1, keepdims=True), 1)


def _between(low: float, high: float) -> Callable[[Counts], NDArray[np.bool_]]:
    def regions(counts: Counts) -> NDArray[np.bool_]:
        share = _share(counts)
        return (share > 0) & (share >= low) & (share < high)

    return regions


#: By the name of the metric. The sizes are those of a class's whole region in an image: masks tell
#: classes apart, not objects. False positives in images without the class belong to no size.
COUNTED = {
    "miou": Counted(miou),
    "background_iou": Counted(background_iou),
    "foreground_iou": Counted(foreground_iou),
    "precision": Counted(precision),
    "recall": Counted(recall),
    "iou_small": Counted(foreground_iou, _between(0.0, SMALL)),
    "iou_medium": Counted(foreground_iou, _between(SMALL, LARGE)),
    "iou_large": Counted(foreground_iou, _between(LARGE, np.inf)),
}
