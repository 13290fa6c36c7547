"""Localize and evaluate in one pass: counts of every threshold, map and scale, and the pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from camsweep.methods.base import Method
from camsweep.methods.inference import localize
from camsweep.methods.metrics import ThresholdCounts, iou, miou, threshold_values
from camsweep.shards.errors import InputError
from camsweep.shards.reader import SplitReader

Counts = npt.NDArray[np.int64]

#: Images of the evaluated split whose maps are kept for the picture grids.
PICTURES = 12

#: The argmax over maps that carry their own background (SIPE's "estimated" pseudo labels).
ESTIMATED = "estimated"


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
            `KEY/raw` [1, H, W], the same of the raw map.
    """

    thresholds: npt.NDArray[np.float32]
    curves: dict[tuple[str, str], Counts]
    headline: str
    best: int
    floor: float
    images: Counts
    keys: list[str]
    pictures: dict[str, Tensor]

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
        if self.headline != ESTIMATED:
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


class _ImageCounts(NamedTuple):
    """One image's counts of all thresholds, of the classes that have any: 81 would fill the memory.

    Attributes:
        classes: int64 [K], the classes with any pixel counted.
        counts: int32 [T, K, 3].
    """

    classes: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int32]

    @classmethod
    def of(cls, counts: Counts) -> _ImageCounts:
        """The part of int64 [T, C, 3] that is not zero."""
        classes = np.flatnonzero(counts.any((0, 2)))
        return cls(classes, counts[:, classes].astype(np.int32))

    def at(self, threshold: int, classes: int) -> Counts:
        """The counts of one threshold, int64 [classes, 3]."""
        full = np.zeros((classes, 3), np.int64)
        full[self.classes] = self.counts[threshold]
        return full


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
    """Maps of every image of the split, counted against its mask at every threshold.

    Args:
        method: whose maps are made.
        net: the trained network.
        reader: the split, with masks.
        config: the trial's settings: scales, thresholds, the headline map, pseudo labels.
        device: where the network runs.
        on_image: called with the index of each image done.
        on_damaged: called with the index of an image that can't be read, which is not counted;
            None: the first one ends the pass.
        workers: threads that read ahead.

    Raises:
        InputError: an image without a mask, or no image at all.
        DamagedSample: an image can't be read and ``on_damaged`` is None.
    """
    thresholds = threshold_values(*config.thresholds)
    classes = len(reader.manifest.classes)
    totals: dict[tuple[str, str], ThresholdCounts] = {}
    uniform = ThresholdCounts(classes, [0.0, 1.0])
    images: list[_ImageCounts] = []
    keys: list[str] = []
    headline = config.headline
    pictures: dict[str, Tensor] = {}
    found_maps = localize(method, net, reader, config, device, on_image, on_damaged, workers)
    for index, maps, mask in found_maps:
        if mask is None:
            raise InputError(
                f"{reader.place}: image {reader.keys[index]} of split '{reader.split}' has no "
                "mask; evaluate on a split with masks"
            )
        keys.append(reader.keys[index])
        present = (np.flatnonzero(np.asarray(reader.labels[index])) + 1).tolist()
        uniform.add(np.broadcast_to(np.float32(1), (len(present), *mask.shape)), mask, present)
        for name, scales in maps.items():
            for scale, found in scales.items():
                if (name, scale) not in totals:
                    totals[name, scale] = ThresholdCounts(classes, thresholds)
                front = found.foreground()
                counts = totals[name, scale].add(front.values, mask, front.classes)
                if found.has_background:
                    # Counted as foreground exactly where a class beats the map's own background.
                    beats = torch.where(front.values > found.values[:1], front.values, 0.0)
                    single = totals.setdefault((ESTIMATED, scale), ThresholdCounts(classes, [0.0]))
                    argmax = single.add(beats, mask, front.classes)
                if name == config.headline and scale == "all":
                    if found.has_background and config.pseudo_labels == ESTIMATED:
                        headline, counts = ESTIMATED, argmax
                    images.append(_ImageCounts.of(counts))
        if len(keys) <= PICTURES:
            key = reader.keys[index]
            pictures[f"{key}/image"] = torch.from_numpy(reader[index].image.copy())
            pictures[f"{key}/mask"] = torch.from_numpy(mask.copy())
            for what, name in (("map", config.headline), ("raw", "raw")):
                # The strongest class alone: what a picture shows, at a twentieth of the size.
                shown = torch.zeros(1, *mask.shape)
                front = maps[name]["all"].foreground()
                if front.classes:
                    shown = front.values.amax(0, keepdim=True)
                pictures[f"{key}/{what}"] = (shown.clamp(0, 1) * 255).round().to(torch.uint8)
    if not images:
        raise InputError(f"{reader.place}: split '{reader.split}' has no images to evaluate")
    curves = {key: counts.total for key, counts in totals.items()}
    best = int(miou(curves[headline, "all"]).argmax())
    chosen = np.stack([counts.at(best, classes) for counts in images])
    floor = float(miou(uniform.total).max())
    return Evaluation(thresholds, curves, headline, best, floor, chosen, keys, pictures)
