"""What a training step sees: which samples, how augmented, and which random draws.

All of it is a function of (seed, epoch, step or sample index) and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from camsweep.shards.augment import Augment, augment, sample_rng
from camsweep.shards.normalisation import IMAGENET_MEAN, IMAGENET_STD
from camsweep.shards.reader import epoch_order


class TrainingSet(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Augmented samples; the key (epoch, index) fixes every draw."""

    def __init__(self, config: Any, reader: Any, superpixels: Any) -> None:
        self.reader, self.superpixels, self.seed = reader, superpixels, config.seed
        resize = (config.resize_min, config.resize_max) if config.resize_max else None
        self.settings = Augment(
            crop=config.crop,
            resize=resize,
            flip=config.flip,
            jitter=config.jitter,
            gain=config.gain,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        )

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """Image [3, crop, crop], labels [C-1], region ids [crop, crop], 0 = padding.

        The ids are those of superpixels, or 1 all over the image where there are none.
        """
        epoch, index = key
        picture = self.reader[index].image
        if self.superpixels is None:
            ids = np.ones(picture.shape[:2], np.uint16)
        else:
            ids = self.superpixels[index]
        rng = sample_rng(self.seed, epoch, index)
        image, regions = augment(picture, ids, self.settings, rng)
        assert regions is not None
        return image, torch.as_tensor(self.reader.labels[index]), regions


class EpochBatches:
    """Batch sampler of (epoch, index) keys; drops the last short batch, as released.

    Attributes:
        epoch: the epoch whose order it gives.
        start: steps of it that are left out, as they were made before.
    """

    def __init__(self, n: int, batch: int, seed: int) -> None:
        self.n, self.batch, self.seed, self.epoch, self.start = n, batch, seed, 0, 0

    @property
    def steps(self) -> int:
        """Steps of a whole epoch."""
        return self.n // self.batch

    def __len__(self) -> int:
        return self.steps - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = epoch_order(self.n, self.seed, self.epoch).tolist()
        for step in range(self.start, self.steps):
            chosen = order[step * self.batch : (step + 1) * self.batch]
            yield [(self.epoch, index) for index in chosen]


def step_seed(seed: int, epoch: int, step: int, use: int) -> int:
    """A seed of 63 bits for one step's draws; ``use`` is 1 for hiding, 2 for dropout."""
    state = np.random.SeedSequence([seed, epoch, step, use]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def step_generator(seed: int, epoch: int, step: int) -> torch.Generator:
    """The CPU generator of one step's hiding draws."""
    return torch.Generator().manual_seed(step_seed(seed, epoch, step, 1))
