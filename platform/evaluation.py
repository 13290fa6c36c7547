"""Localize and evaluate in one pass: counts of every threshold, map and scale, and the pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from camsweep.methods.base import Method
from camsweep.methods.metrics import Counts, iou, miou, threshold_values
from camsweep.methods.team import SOLO
from camsweep.platform.counting import ESTIMATED, PICTURES, Share, count_share
from camsweep.shards.errors import InputError
from camsweep.shards.reader import SplitReader


@dataclass(frozen=True)
class Evaluation:
    """Everything the pass over the images found.

    Attributes:
        thresholds: float32 [T].
        curves: int64 [T, C, 3] of tp, fp, fn over the set by (map, scale); `estimated` stands for
            the argmax with the map's own background and has a single row, which is no threshold.
        headline: the curve of the headline metric: a map's name, or `estimated`.
        best: index of the threshold with the highest mIoU of the headline map, all scales.
        floor: mIoU without any skill: maps that are 1 all over, with the true image labels, at the
            better one of "all background" and "all foreground".
        images: int64 [N, C, 3] at the best threshold, headline map, all scales.
        keys: the keys of the images that were read, N.
        pictures: uint8 tensors of the first images, by `KEY/image` [H, W, 3], `KEY/mask` [H, W] and
            `KEY/map` [1, H, W], the strongest foreground class at each pixel of the final map, and
            `KEY/raw` [1, H, W], the same of the raw map; `KEY/map_class` and `KEY/raw_class`
            [1, H, W] are that class's index, 0 where no class has a score.
    """

    thresholds: npt.NDArray[np.float32]
    curves: dict[tuple[str, str], Counts]
    headline: str
    best: int
    floor: float
    images: Counts
    keys: list[str]
    pictures: dict[str, Tensor]

    @property
    def estimated(self) -> bool:
        """Whether the headline is the argmax with the maps' own background."""
        return self.headline == ESTIMATED

    def metrics(self) -> dict[str, float]:
        """Metrics as fractions 0..1, each at its own best threshold where that is not said."""
        counts = self.curves[self.headline, "all"][self.best]
        by_class = iou(counts)
        values = {
            "miou": float(miou(counts)),
            "background_iou": float(by_class[0]),
            "foreground_iou": float(np.nanmean(by_class[1:])),
            "miou_floor": self.floor,
        }
        if not self.estimated:
            values["threshold"] = round(float(self.thresholds[self.best]), 6)
        for (name, scale), curve in self.curves.items():
            if scale == "all":
                values[f"miou_{name}"] = float(miou(curve).max())
            elif name == self.headline:
                values[f"miou_scale_{scale}"] = float(miou(curve).max())
        return values

    def curve_columns(self, trial_id: str) -> dict[str, Any]:
        """Columns of the curves table: a row a map, scale, threshold and class."""
        curves = {key: counts for key, counts in self.curves.items() if key[0] != ESTIMATED}
        size, classes = len(self.thresholds), next(iter(curves.values())).shape[1]
        rows = size * classes
        counts = np.concatenate([c.reshape(-1, 3) for c in curves.values()])
        return {
            "trial_id": [trial_id] * len(counts),
            "map": [name for name, _ in curves for _ in range(rows)],
            "scale": [scale for _, scale in curves for _ in range(rows)],
            "threshold": np.tile(
                np.repeat(np.round(self.thresholds.astype(np.float64), 6), classes),
                len(curves),
            ),
            "class": np.tile(np.arange(classes, dtype=np.int16), size * len(curves)),
            **_count_columns(counts),
        }

    def image_columns(self, trial_id: str) -> dict[str, Any]:
        """Columns of the images table: a row an image and class that has any pixel counted."""
        image, label = np.nonzero(self.images.any(-1))
        return {
            "trial_id": [trial_id] * len(image),
            "image": [self.keys[i] for i in image],
            "class": label.astype(np.int16),
            **_count_columns(self.images[image, label]),
        }


def _count_columns(counts: Counts) -> dict[str, Counts]:
    return {"tp": counts[:, 0], "fp": counts[:, 1], "fn": counts[:, 2]}


def evaluate(
    method: Method,
    net: nn.Module,
    reader: SplitReader,
    config: Any,
    device: torch.device | str = "cpu",
    on_image: Callable[[int], None] | None = None,
    on_damaged: Callable[[int], None] | None = None,
    workers: int = 0,
) -> Evaluation:
    """Maps of every image, counted against its mask at every threshold, by this process alone.

    Args:
        method: whose maps are made.
        net: the trained network.
        reader: the split, with masks.
        config: the trial's settings: scales, thresholds, the headline map, pseudo labels.
        device: where the network runs.
        on_image: called with the index of each image that is done.
        on_damaged: called with the index of each image that can't be read, which is not counted;
            None: the first one ends the pass.
        workers: threads that read ahead.

    Raises:
        InputError: an image without a mask, or no image at all.
        DamagedSample: an image can't be read and ``on_damaged`` is None.
    """
    skip = on_damaged is not None
    shares = count_share(method, net, reader, config, device, on_image, skip, workers, SOLO)
    for index in damaged_of(shares):
        assert on_damaged is not None
        on_damaged(index)
    return summed(shares, reader, config)


def damaged_of(shares: list[Share]) -> list[int]:
    """Indices of the images that no process could read, in order."""
    return sorted(index for share in shares for index in share.damaged)


def summed(shares: list[Share], reader: SplitReader, config: Any) -> Evaluation:
    """The evaluation of the whole split.

    Args:
        shares: what every process counted, see ``count_share``.
        reader: the split.
        config: the trial's settings.

    Raises:
        InputError: no image at all.
    """
    images = dict(sorted((i, c) for share in shares for i, c in share.images.items()))
    if not images:
        raise InputError(f"{reader.place}: split '{reader.split}' has no images to evaluate")
    curves: dict[tuple[str, str], Counts] = {}
    for share in shares:
        for key, counts in share.totals.items():
            curves[key] = curves[key] + counts if key in curves else counts
    pictures = {i: found for share in shares for i, found in share.pictures.items()}
    first = [pictures[i] for i in list(images)[:PICTURES]]
    headline = ESTIMATED if any(share.estimated for share in shares) else config.headline
    best = int(miou(curves[headline, "all"]).argmax())
    classes = len(reader.manifest.classes)
    return Evaluation(
        threshold_values(*config.thresholds),
        curves,
        headline,
        best,
        float(miou(np.sum([share.floor for share in shares], 0)).max()),
        np.stack([counts.at(best, classes) for counts in images.values()]),
        [reader.keys[i] for i in images],
        {name: picture for found in first for name, picture in found.items()},
    )
