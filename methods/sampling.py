"""What a training step sees: which samples, how augmented, and which random draws.

All of it is a function of (seed, epoch, step or sample index) and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from camsweep.shards.augment import Augment, draw, move_image, move_labels, sample_rng
from camsweep.shards.errors import DamagedSample
from camsweep.shards.normalisation import IMAGENET_MEAN, IMAGENET_STD


class TrainingSet:
    """Augmented samples; the key (epoch, index) fixes every draw. Threads may share it."""

    def __init__(
        self, config: Any, reader: Any, superpixels: Any, skip_damaged: bool = False
    ) -> None:
        """Remember where samples come from.

        Args:
            config: the trial's settings.
            reader: of the split.
            superpixels: of the split, or None.
            skip_damaged: give another sample in place of one that is damaged.
        """
        self.reader, self.superpixels, self.seed = reader, superpixels, config.seed
        self.skip_damaged = skip_damaged
        self._damaged: set[int] = set()
        resize = (config.resize_min, config.resize_max) if config.resize_max else None
        self.settings = Augment(
            crop=config.crop,
            resize=resize,
            rescale=config.rescale,
            rescale_step=getattr(config, "rescale_step", 0.0),
            flip=config.flip,
            jitter=config.jitter,
            gain=config.gain,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        )

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, int]:
        """Image [3, crop, crop], labels [C-1], regions [crop, crop], 0 = padding; -1.

        The regions are int32 ids of superpixels; where there are none a bool map, true where the
        crop shows the image. Where the sample is damaged and ``skip_damaged`` is set, the last
        value is its index, and the rest is of a sample drawn in its place, so that all batches
        keep their size.

        Raises:
            DamagedSample: it can't be read and is not to be skipped, or no sample can be read.
        """
        epoch, asked = key
        reason = ""
        for index in self._substitutes(epoch, asked):
            if index in self._damaged:
                continue
            try:
                image, labels, regions = self._sample(epoch, index)
            except DamagedSample as error:
                if not self.skip_damaged:
                    raise
                self._damaged.add(index)
                reason = f" (the last one: {error})"
                continue
            return image, labels, regions, -1 if index == asked else asked
        raise DamagedSample(f"split '{self.reader.split}': no sample of it can be read{reason}")

    def _substitutes(self, epoch: int, asked: int) -> Iterator[int]:
        """The sample itself, then all others in an order of this draw's own."""
        yield asked
        rng = np.random.default_rng([self.seed, epoch, 2, asked])
        yield from (int(index) for index in rng.permutation(len(self)) if index != asked)

    def _sample(self, epoch: int, index: int) -> tuple[Tensor, Tensor, Tensor]:
        picture = self.reader.image(index)
        rng = sample_rng(self.seed, epoch, index)
        drawn = draw(picture.shape[0], picture.shape[1], self.settings, rng)
        if self.superpixels is None:
            regions = drawn.valid()
        else:
            moved = getattr(self.superpixels, "moved", None)  # of regions that are made of a crop
            regions = moved(index, drawn) if moved else move_labels(self.superpixels[index], drawn)
        image = move_image(picture, drawn, self.settings)
        return image, torch.as_tensor(self.reader.labels[index]), regions


def collate(samples: TrainingSet, pinned: bool, keys: list[tuple[int, int]]) -> list[Tensor]:
    """The batch of some keys: images, labels, regions, damaged indices."""
    batch: list[Tensor] = default_collate([samples[key] for key in keys])
    return [part.pin_memory() for part in batch] if pinned else batch


def step_seed(seed: int, epoch: int, step: int, use: int) -> int:
    """A seed of 63 bits for one step's draws; ``use`` is 1 for hiding, 2 for dropout."""
    state = np.random.SeedSequence([seed, epoch, step, use]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def step_generator(seed: int, epoch: int, step: int) -> torch.Generator:
    """The CPU generator of one step's hiding draws."""
    return torch.Generator().manual_seed(step_seed(seed, epoch, step, 1))
