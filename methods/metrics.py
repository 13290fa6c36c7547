"""Confusion counts of all background thresholds in one pass over the maps.

A pixel is background at threshold t exactly if its best foreground value is <= t (argmax over
[t, maps] prefers index 0), else its best class, the lower index among equals. So the best value,
its class and the true class are all that the whole sweep needs: one histogram over the index of
the first threshold that is >= the best value, summed up once. The released evaluations (SEAM, CPN)
read every file again for each threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from camsweep.shards.errors import InputError

if TYPE_CHECKING:  # the reports count without torch, which takes seconds to import
    from torch import Tensor

Counts = npt.NDArray[np.int64]
IGNORE = 255


def threshold_values(start: float, stop: float, step: float) -> npt.NDArray[np.float32]:
    """``start, start + step, ...`` up to ``stop`` (included), rounded to 1e-6, as float32."""
    count = int(np.floor((stop - start) / step + 1e-6)) + 1
    return np.round(start + step * np.arange(count), 6).astype(np.float32)


class ThresholdCounts:
    """Integer confusion counts over a data set for every threshold.

    Attributes:
        thresholds: float32 [T], ascending; the maps' values are compared in float32.
        total: int64 [T, C, 3], the sum over all images of (tp, fp, fn) by class.
    """

    def __init__(self, classes: int, thresholds: npt.ArrayLike) -> None:
        """Start with zeros.

        Args:
            classes: C, background included.
            thresholds: ascending background thresholds.
        """
        self.classes = classes
        self.thresholds = np.asarray(thresholds, dtype=np.float32)
        if self.thresholds.ndim != 1 or not self.thresholds.size:
            raise ValueError("thresholds must be a list of at least one number")
        if (np.diff(self.thresholds) <= 0).any():
            raise ValueError("thresholds must ascend")
        self.total: Counts = np.zeros((self.thresholds.size, classes, 3), np.int64)

    def add(
        self,
        maps: Tensor | npt.NDArray[Any],
        mask: npt.NDArray[np.uint8],
        classes: Sequence[int] | None = None,
    ) -> Counts:
        """Count one image.

        Args:
            maps: float [P, H, W] >= 0, normalised, a map for each of ``classes``.
            mask: uint8 [H, W] of class indices; 255 is left out.
            classes: the maps' class indices, ascending from 1; all other classes' maps are 0.
                None for all of 1..C-1.

        Returns:
            The image's own counts, int64 [T, C, 3] = (tp, fp, fn).

        Raises:
            InputError: the mask has another size or an index outside the classes.
        """
        values = np.asarray(maps, dtype=np.float32)
        chosen = np.arange(1, self.classes) if classes is None else np.asarray(classes, np.int64)
        if values.shape != (len(chosen), *mask.shape):
            raise InputError(
                f"maps of shape {list(values.shape)} do not fit a mask of {list(mask.shape)} "
                f"and {len(chosen)} of {self.classes} classes"
            )
        keep = mask != IGNORE
        truth = mask[keep].astype(np.int64)
        if truth.size and truth.max() >= self.classes:
            raise InputError(f"mask has class {truth.max()}, the last one is {self.classes - 1}")
        if len(chosen):
            values = values[:, keep]
            winner = values.argmax(0)
            best = np.take_along_axis(values, winner[None], 0)[0]
            winner = chosen[winner]
        else:  # without a label all maps are 0, which is background at every threshold
            winner, best = np.ones_like(truth), np.zeros(truth.shape, np.float32)
        counts = self._counts(truth, winner, best)
        self.total += counts
        return counts

    def _counts(self, truth: Counts, winner: Counts, best: npt.NDArray[np.float32]) -> Counts:
        size, classes = self.thresholds.size, self.classes
        # Foreground for the thresholds before `first`, background from it on.
        first = np.searchsorted(self.thresholds, best, side="left")
        bins = size + 1
        hits = truth == winner
        predicted = _histogram(winner, first, classes, bins)
        correct = _histogram(winner[hits], first[hits], classes, bins)
        empty = np.bincount(first[truth == 0], minlength=bins)

        counts = np.empty((size, classes, 3), np.int64)
        positives = np.bincount(truth, minlength=classes)
        counts[:, 1:, 0] = _above(correct)[:, 1:]
        counts[:, 1:, 1] = _above(predicted)[:, 1:] - counts[:, 1:, 0]
        below = np.cumsum(empty)[:size]
        called_background = np.cumsum(np.bincount(first, minlength=bins))[:size]
        counts[:, 0, 0] = below
        counts[:, 0, 1] = called_background - below
        counts[:, :, 2] = positives[None] - counts[:, :, 0]
        return counts


def _histogram(classes: Counts, first: Counts, n: int, bins: int) -> Counts:
    """Counts by class and first background threshold, int64 [bins, n]."""
    return np.bincount(first * n + classes, minlength=bins * n).reshape(bins, n)


def _above(histogram: Counts) -> Counts:
    """For each threshold index the sum of all bins behind it, int64 [bins - 1, n]."""
    summed: Counts = np.cumsum(histogram[::-1], axis=0)[::-1]
    return summed[1:]


def iou(counts: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Intersection over union tp / (tp + fp + fn).

    Args:
        counts: [..., 3] of tp, fp, fn.

    Returns:
        float64 [...], NaN where all three are 0.
    """
    tp = counts[..., 0].astype(np.float64)
    union = counts.sum(-1).astype(np.float64)
    return np.divide(tp, union, out=np.full(tp.shape, np.nan), where=union > 0)


def miou(counts: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Mean IoU over the classes that occur in truth or prediction, 0..1.

    Args:
        counts: [..., C, 3]; [C, 3] gives a 0-d array.
    """
    values = iou(counts)
    seen = ~np.isnan(values)
    total = np.where(seen, values, 0.0).sum(-1)
    return np.asarray(total / np.maximum(seen.sum(-1), 1))
