"""Counting stored masks against the true ones, image by image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from camsweep.methods.metrics import Counts, miou
from camsweep.platform.chain.links import Split
from camsweep.platform.chain.sidesets import SideSet, Target
from camsweep.reports.counted import COUNTED
from camsweep.shards.errors import DamagedSample, InputError

IGNORE = 255
#: Metrics of a set of masks, those of `reports.counted`.
METRICS = ("miou", "background_iou", "foreground_iou", "precision", "recall")


@dataclass(frozen=True)
class Counted:
    """The counts of a set of masks.

    Attributes:
        keys: of the N images that have both a true mask and one of the set.
        counts: int64 [N, C, 3] of (tp, fp, fn).
        lacking: keys of the images that have none of the set, as they could not be read.
    """

    keys: list[str]
    counts: Counts
    lacking: list[str]

    @property
    def floor(self) -> float:
        """MIoU of masks that are background all over."""
        total = self.counts.sum(0)
        positives = total[:, 0] + total[:, 2]
        nothing = np.zeros_like(total)
        nothing[:, 2] = positives
        nothing[0] = positives[0], positives.sum() - positives[0], 0
        return float(miou(nothing))

    def columns(self, trial_id: str) -> dict[str, Any]:
        """Columns of the images table: a row an image and class that has any pixel counted."""
        image, label = np.nonzero(self.counts.any(-1))
        chosen = self.counts[image, label]
        return {
            "trial_id": [trial_id] * len(image),
            "image": [self.keys[i] for i in image],
            "class": label.astype(np.int16),
            "tp": chosen[:, 0],
            "fp": chosen[:, 1],
            "fn": chosen[:, 2],
        }


def counted(split: Split, target: Target) -> Counted:
    """The counts of a stored set against the split's true masks, where there are any."""
    pictures = SideSet(target, split.reader, indexed=True)
    classes = len(split.reader.manifest.classes)
    keys: list[str] = []
    counts: list[Counts] = []
    lacking: list[str] = []
    for index, key in enumerate(split.reader.keys):
        try:
            found = pictures.picture(index)
        except DamagedSample:
            if not split.links.context.skip_damaged:
                raise
            lacking.append(key)
            continue
        truth = split.mask(index)
        if truth is not None:
            keys.append(key)
            counts.append(image_counts(found, truth, classes))
    stacked = np.stack(counts) if counts else np.zeros((0, classes, 3), np.int64)
    return Counted(keys, stacked, lacking)


def quality_of(found: Counted) -> dict[str, float]:
    """Metrics of summed counts, fractions 0..1; empty where there is nothing to count."""
    if not found.keys:
        return {}
    total = found.counts.sum(0)
    return {name: float(COUNTED[name].of(total)) for name in METRICS}


def image_counts(
    found: npt.NDArray[np.uint8], truth: npt.NDArray[np.uint8], classes: int
) -> Counts:
    """(tp, fp, fn) of one image by class, int64 [C, 3].

    Args:
        found: class indices [H, W]; 255 is no class: it misses whatever is there.
        truth: class indices [H, W]; 255 is left out.
        classes: C.

    Raises:
        InputError: the sizes differ, or a mask has an index outside the classes.
    """
    if found.shape != truth.shape:
        raise InputError(f"a mask of {found.shape} does not fit the true one of {truth.shape}")
    keep = truth != IGNORE
    said, true = found[keep].astype(np.int64), truth[keep].astype(np.int64)
    if true.size and true.max() >= classes:
        raise InputError(f"mask has class {true.max()}, the last one is {classes - 1}")
    said = np.where(said == IGNORE, classes, said)
    if said.size and said.max() > classes:
        raise InputError(f"a mask has class {said.max()}, the last one is {classes - 1}")
    table = np.bincount(true * (classes + 1) + said, minlength=classes * (classes + 1))
    table = table.reshape(classes, classes + 1)
    hits = np.diagonal(table)
    return np.stack([hits, table[:, :classes].sum(0) - hits, table.sum(1) - hits], 1).astype(
        np.int64
    )
