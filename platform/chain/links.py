"""What every stage of the chain needs: where its things lie, its splits, and maps as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import numpy.typing as npt
import torch

from camsweep.methods.config import Stage
from camsweep.methods.inference import ClassMaps, groups_of, shrink
from camsweep.methods.segment.config import SegmentConfig
from camsweep.platform.chain.sidesets import SideSet, Target, shards_of
from camsweep.platform.context import RunContext
from camsweep.platform.stages import SKIPPING
from camsweep.shards.errors import DamagedSample
from camsweep.shards.reader import SplitReader, open_split
from camsweep.shards.superpixels.labelmaps import decode_labels, encode_labels
from camsweep.sweeps.plan import PlannedTrial

Picture = npt.NDArray[np.uint8]

#: The largest value of a stored map: 16 bits hold 0..1 to within 8e-6.
FULL = 65535


@dataclass(frozen=True)
class Links:
    """A trial's chain, on any rank.

    Attributes:
        trial: whose chain.
        context: where to read and write.
    """

    trial: PlannedTrial
    context: RunContext

    @property
    def config(self) -> SegmentConfig:
        """The trial's settings; all methods have those of the chain."""
        return cast(SegmentConfig, self.trial.config)

    def folder(self, stage: Stage) -> str:
        """The folder of a stage's artefacts.

        What may leave out damaged samples has one of its own: it must never pass for the whole.
        """
        return self.trial.stages[stage] + (SKIPPING if self.context.skip_damaged else "")

    def target(self, stage: Stage, what: str, split: str) -> Target:
        """Where a stage's pictures of a split are."""
        return Target(self.context.store, self.folder(stage), what, split)

    @property
    def learns(self) -> bool:
        """Whether a network for the affinities of pixels is trained."""
        return "affinity" in self.trial.stages

    @property
    def segments(self) -> bool:
        """Whether a segmentation network is trained."""
        return "segment" in self.trial.stages


class Split:
    """One split as the chain reads it: images at the size of their maps, dealt to shards."""

    def __init__(self, links: Links, split: str) -> None:
        """Open the split's data."""
        self.links, self.name = links, split
        context = links.context
        self.reader: SplitReader = open_split(context.data, split, strict=not context.skip_damaged)
        self.present = [
            [int(c) + 1 for c in np.flatnonzero(row)] for row in np.asarray(self.reader.labels)
        ]

    @cached_property
    def groups(self) -> list[list[list[int]]]:
        """By shard the images that run through the network together."""
        return shards_of(groups_of(self.reader.sizes, self.links.config.max_side))

    @property
    def shards(self) -> list[list[int]]:
        """By shard its images."""
        return [[index for group in shard for index in group] for shard in self.groups]

    def image(self, index: int) -> Picture:
        """An image at the size of its maps, uint8 [H, W, 3]; DamagedSample where there is none."""
        # The reader's pixels are shared, and torch takes none that can't be written.
        return shrink(self.reader.image(index), None, self.links.config.max_side)[0].copy()

    def mask(self, index: int) -> Picture | None:
        """The true mask at the size of the maps, uint8 [H, W]; None where there is none."""
        mask = self.reader.mask(index)
        if mask is None or self.links.config.max_side == 0:
            return mask
        return shrink(self.reader.image(index), mask, self.links.config.max_side)[1]


class StoredMaps:
    """The maps of a split's images, as they were stored."""

    def __init__(self, split: Split) -> None:
        """Open the set."""
        self._split = split
        links = split.links
        self._set = SideSet(links.target("localize", "maps", split.name), split.reader)
        self._own = links.config.own_background

    def __getitem__(self, index: int) -> ClassMaps:
        """The maps of an image.

        Raises:
            DamagedSample: it has none.
        """
        where = f"{self._set.target.name(self._set.keys[index])}"
        classes = classes_of(self._split.present[index], self._own)
        return decode_maps(self._set.read(index), classes, where)


def classes_of(present: Sequence[int], own_background: bool) -> tuple[int, ...]:
    """The classes of an image's maps: its labels, after the maps' own background."""
    return (0, *present) if own_background else tuple(present)


def encode_maps(maps: ClassMaps) -> bytes:
    """Maps as one 16 bit picture, one below the other; without any a picture of zeros."""
    values = maps.values.clamp(0, 1)
    whole = (
        values.reshape(-1, values.shape[-1]) if len(values) else values.new_zeros(values.shape[1:])
    )
    scaled = (whole.double() * FULL).round()
    return encode_labels(scaled.numpy().astype(np.uint16))


def decode_maps(content: bytes, classes: tuple[int, ...], where: str) -> ClassMaps:
    """The maps of ``encode_maps``, float32 [P, H, W]."""
    levels = decode_labels(content, where)
    values = torch.from_numpy(levels.astype(np.float32) / FULL)
    height, rest = divmod(levels.shape[0], max(1, len(classes)))
    if rest:
        raise DamagedSample(f"{where}: {levels.shape[0]} rows are no {len(classes)} maps")
    if not classes:
        return ClassMaps((), values.new_zeros(0, *levels.shape))
    return ClassMaps(classes, values.reshape(len(classes), height, -1))
