"""Confusion counts of all background thresholds in one pass over the maps.

A pixel is background at threshold t exactly if its best foreground value is <= t (argmax over
[t, maps] prefers index 0), else its best class, the lower index among equals. So the best value,
its class and the true class are all that the whole sweep needs: one histogram over the index of
the first threshold that is >= the best value, the best class and the true one, summed up once. The
released evaluations (SEAM, CPN) read every file again for each threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
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
        truths = np.bincount(mask.reshape(-1), minlength=IGNORE + 1)
        last = int(truths[:IGNORE].nonzero()[0].max(initial=0))
        if last >= self.classes:
            raise InputError(f"mask has class {last}, the last one is {self.classes - 1}")
        if not len(chosen):  # without a label all maps are 0, background at every threshold >= 0
            chosen, values = np.ones(1, np.int64), np.zeros((1, *mask.shape), np.float32)
        counts = self._counts(*_best(values), mask, chosen, truths[: self.classes])
        self.total += counts
        return counts

    def _counts(
        self,
        best: npt.NDArray[np.float32],
        winner: Counts,
        mask: npt.NDArray[np.uint8],
        chosen: Counts,
        truths: Counts,
    ) -> Counts:
        """Counts of an image by its best values, the numbers of their maps, and its truths."""
        maps, bins = len(chosen), self.thresholds.size + 1
        # What a pixel is: background, of the class of map 0, 1, ..., of another class, or left out.
        kinds = maps + 3
        kind = np.full(IGNORE + 1, maps + 1)
        kind[[0, *chosen, IGNORE]] = [0, *range(1, maps + 1), maps + 2]
        # Foreground for the thresholds before the first one >= best, background from it on.
        code = (self._first(best) * maps + winner) * kinds
        code += kind.take(mask)
        found = np.bincount(code.reshape(-1), minlength=bins * maps * kinds)
        found = found.reshape(bins, maps, kinds)[:, :, :-1]
        every = np.arange(maps)

        counts = np.zeros((self.thresholds.size, self.classes, 3), np.int64)
        counts[:, chosen, 0] = _above(found[:, every, every + 1])
        counts[:, chosen, 1] = _above(found.sum(2)) - counts[:, chosen, 0]
        called_background = found.sum(1).cumsum(0)[:-1]
        counts[:, 0, 0] = called_background[:, 0]
        counts[:, 0, 1] = called_background[:, 1:].sum(1)
        counts[:, :, 2] = truths - counts[:, :, 0]
        return counts

    def _first(self, values: npt.NDArray[np.float32]) -> Counts:
        """The index of the first threshold that is >= each value; T where there is none.

        The upper half of a value's bits gives it, but for the few thresholds that share this half:
        a fifth of the time of a binary search.
        """
        bounds, most = self._bounds
        found: Counts = bounds.take(values.view(np.uint32) >> 16)
        padded = np.append(self.thresholds, np.float32(np.inf))
        for _ in range(most):
            found += padded.take(found) < values
        return found

    @cached_property
    def _bounds(self) -> tuple[Counts, int]:
        """By upper half: the index of its smallest value; and the most thresholds in one half."""
        halves = np.arange(1 << 16, dtype=np.uint32) << 16
        ends = np.sort([halves.view(np.float32), (halves | 0xFFFF).view(np.float32)], axis=0)
        # Infinity shares its half with NaNs.
        ends[1] = np.where(np.isnan(ends[1]), ends[0], ends[1])
        low, high = np.searchsorted(self.thresholds, ends, side="left")
        return low, int((high - low).max())


def _best(values: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], Counts]:
    """The best of the maps [P, H, W] at each place, and its number, the lower among equals."""
    best, winner = np.array(values[0], order="C"), np.zeros(values.shape[1:], np.uint8)
    for number in range(1, len(values)):
        # Later numbers are larger, so that the last one that was better is the largest.
        better = (values[number] > best).view(np.uint8)
        np.maximum(winner, better * np.uint8(number), out=winner)
        np.maximum(best, values[number], out=best)
    return best, winner.astype(np.int64)


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
