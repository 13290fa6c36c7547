"""The superpixels of a split by index: read where they lie, decoded once a node."""

from __future__ import annotations

import json
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from camsweep.shards.errors import DamagedSample
from camsweep.shards.node.cache import NodeCache
from camsweep.shards.reader import SplitReader
from camsweep.shards.superpixels.labelmaps import decode_labels
from camsweep.shards.superpixels.sidesets import SideSet


class SuperpixelReader:
    """The label maps of one split, in the order of its ``SplitReader``. Picklable.

    Attributes:
        digest: names the labels: of the side set, or of the data where they lie in the shards.
        seconds: what computing them took, summed over the images; None where they came with the
            shards.
    """

    def __init__(self, reader: SplitReader, s_n: int, side: SideSet | None) -> None:
        """Label maps of ``side``, or where it is None of the shards."""
        self._reader, self._s_n, self._side = reader, s_n, side
        self.digest = reader.manifest.digest if side is None else side.facts.digest
        self.seconds = None if side is None else side.facts.seconds
        pixels = reader.sizes.prod(axis=1)
        self._maps = NodeCache(f"{self.digest[:16]}-{reader.split}-sp{s_n}", 2 * pixels)

    @cached_property
    def segments(self) -> NDArray[np.int64]:
        """Superpixels obtained per image (fewer than asked for): int64 [N].

        Where they lie in the shards, every sample's JSON is read.
        """
        if self._side is not None:
            return self._side.rows.segments
        facts = (json.loads(self._reader.read(index, "json")) for index in range(len(self)))
        return np.array([fact["segments"][str(self._s_n)] for fact in facts], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._reader)

    def __getitem__(self, index: int) -> NDArray[np.uint16]:
        """Labels 1..``segments[index]`` of image ``index``: uint16 [H, W], read-only.

        Raises:
            IndexError: outside 0..len-1 (negative numbers count from the end).
            DamagedSample: they cannot be read.
        """
        index = range(len(self))[index]
        shape = tuple(self._reader.sizes[index].tolist())
        held = self._maps.get(index)
        if held is not None:
            return held.view(np.uint16).reshape(shape)
        where = self._reader.where(index) if self._side is None else self._side.where(index)
        labels = decode_labels(self._read(index), where)
        if labels.shape != shape:
            raise DamagedSample(f"{where}: superpixels of {labels.shape}, the image has {shape}")
        self._maps.put(index, labels.view(np.uint8))
        return labels

    def _read(self, index: int) -> bytes:
        if self._side is None:
            return self._reader.read(index, f"sp{self._s_n}.png")
        return self._side.read(index)
