"""Small pictures of coloured squares, with maps that fire on a part of each square."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from camsweep.methods.base import make_config
from camsweep.methods.refine.sure import MovedLabels, stored_labels

SIDE = 64


def config_of(**values: Any) -> Any:
    return make_config({"method": "cam", "backbone": "small", "pretrain": "none", **values})


class Squares:
    """Squares of two classes, red and blue, on grey noise; the interface of a SplitReader."""

    split = "train"
    manifest = SimpleNamespace(classes=("background", "red", "blue"))

    def __init__(self, number: int = 12, side: int = SIDE) -> None:
        rng = np.random.default_rng(0)
        self.images = rng.integers(105, 115, (number, side, side, 3), dtype=np.uint8)
        self.masks = np.zeros((number, side, side), np.uint8)
        self.labels = np.zeros((number, 2), np.float32)
        self.blobs = torch.zeros(number, 1, side, side)
        rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        for index in range(number):
            kind, size = index % 2, int(rng.integers(side // 3, side // 2))
            top, left = rng.integers(2, side - size - 2, 2)
            inside = np.s_[top : top + size, left : left + size]
            colour = np.array([(200, 40, 40), (40, 40, 200)][kind])
            self.images[index][inside] = colour + rng.integers(-5, 5, (size, size, 3))
            self.masks[index][inside] = kind + 1
            self.labels[index, kind] = 1
            # A peak in one corner of the square, as CAMs have it on the head.
            way = (rows - top - size // 3) ** 2 + (columns - left - size // 3) ** 2
            self.blobs[index, 0] = torch.exp(-way / (2 * (size / 2.5) ** 2))

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> NDArray[np.uint8]:
        return self.images[index]

    def classes(self, index: int) -> list[int]:
        return (self.labels[index].nonzero()[0] + 1).tolist()

    def moved_labels(self, config: Any, cell: int) -> MovedLabels:
        stacks = [
            stored_labels(config, image, blob, False)
            for image, blob in zip(self.images, self.blobs, strict=True)
        ]
        return MovedLabels(stacks, [self.classes(i) for i in range(len(self))], cell)


def overlap(found: NDArray[np.uint8] | Tensor, truth: NDArray[np.uint8]) -> float:
    """Foreground's intersection over union."""
    ours, theirs = np.asarray(found) > 0, truth > 0
    return float((ours & theirs).sum() / max((ours | theirs).sum(), 1))
