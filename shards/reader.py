"""Reading shards: random access for training and evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray

from camsweep.shards.decoding import Sample, decode_image, decode_mask
from camsweep.shards.digests import shard_problems
from camsweep.shards.epochs import counted, epoch_order
from camsweep.shards.errors import DamagedSample, InputError
from camsweep.shards.index import SplitIndex
from camsweep.shards.manifest import Manifest, find_split, load_manifest, size_problems
from camsweep.shards.node.cache import NodeCache
from camsweep.shards.opening import damaged_samples, load_index
from camsweep.shards.places import Place, as_place
from camsweep.shards.shardfiles import ShardFiles
from camsweep.shards.streaming import stream

__all__ = ["Sample", "SplitReader", "epoch_order", "open_split", "stream"]


class SplitReader:
    """Random access to the samples of one split; make it with ``open_split``.

    Picklable, so worker processes can hold it: a copy opens its own files.

    Attributes:
        manifest: of the data.
        place: where the data lie.
        split: the split's name.
        keys: the samples' names, in stored order.
        labels: float32 [N, C-1], 1 where class c+1 is present.
        sizes: int64 [N, 2], (H, W) of every image.
    """

    def __init__(
        self,
        place: Place,
        manifest: Manifest,
        split: str,
        index: SplitIndex,
        *,
        decoded: bool,
        suspect: Sequence[int] = (),
    ) -> None:
        self.place, self.manifest, self.split = place, manifest, split
        self.keys, self.sizes = index.keys, index.sizes
        self._index = index
        self._files = ShardFiles(place, manifest.splits[split].shards, suspect)
        self.labels = np.zeros((len(index), len(manifest.classes) - 1), dtype=np.float32)
        rows = np.repeat(np.arange(len(index)), np.diff(index.label_ends))
        self.labels[rows, index.label_values - 1] = 1
        pixels = self.sizes.prod(axis=1) if decoded else np.zeros(len(index), np.int64)
        # Another version of Pillow may decode a JPEG to other pixels.
        stem = f"{manifest.digest[:16]}-{split}-{{}}-pillow{PIL.__version__}"
        self._images = NodeCache(stem.format("images"), 3 * pixels)
        masked = index.members["mask.png"].length >= 0 if "mask.png" in index.members else 0
        self._masks = NodeCache(stem.format("masks"), pixels * masked)

    @property
    def root(self) -> Path | str:
        """The data folder; the URL without its query where the data are remote."""
        return self.place.local or str(self.place)

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int) -> Sample:
        """Sample ``index``, decoded.

        Raises:
            IndexError: outside 0..len-1 (negative numbers count from the end).
            DamagedSample: it cannot be read.
        """
        index = range(len(self))[index]
        image = self.image(index)
        return Sample(self.keys[index], image, self.mask(index), self._index.labels(index))

    def __iter__(self) -> Iterator[Sample]:
        """Every sample once, in stored order."""
        samples = (self[index] for index in range(len(self)))
        expected = self.manifest.splits[self.split].count
        return counted(samples, expected, f"{self.place}, split '{self.split}': samples")

    def image(self, index: int) -> NDArray[np.uint8]:
        """The image alone, uint8 [H, W, 3], read-only; DamagedSample where it cannot be read."""
        shape = (*self.sizes[index].tolist(), 3)
        held = self._held(self._images, index, shape)
        if held is not None:
            return held
        image = decode_image(self.read(index, "jpg"), self.where(index))
        self._keep(self._images, index, image, shape)
        return image

    def mask(self, index: int) -> NDArray[np.uint8] | None:
        """The mask alone, uint8 [H, W], read-only; None where there is none, errors as above."""
        if not self.has(index, "mask.png"):
            return None
        shape = tuple(self.sizes[index].tolist())
        held = self._held(self._masks, index, shape)
        if held is not None:
            return held
        mask = decode_mask(self.read(index, "mask.png"), self.where(index))
        self._keep(self._masks, index, mask, shape)
        return mask

    def has(self, index: int, member: str) -> bool:
        """Whether sample ``index`` has a member such as ``"mask.png"`` or ``"sp200.png"``."""
        return self._index.find(index, member) is not None

    def read(self, index: int, member: str) -> bytes:
        """The bytes of one member of a sample, compared with its CRC-32.

        Raises:
            InputError: the sample has no such member, or its shard cannot be reached now.
            DamagedSample: its shard is gone, it is not in it, or its bytes have changed.
        """
        return self._files.read(self._index, index, member)

    def where(self, index: int) -> str:
        """How error lines call a sample: the shard's name and the key."""
        return self._files.where(self._index, index)

    def _shared(self, index: int) -> bool:
        # Pixels that were decoded before a damage would hide it, here but not on other nodes.
        return int(self._index.shards[index]) not in self._files.suspect

    def _held(
        self, cache: NodeCache, index: int, shape: tuple[int, ...]
    ) -> NDArray[np.uint8] | None:
        pixels = cache.get(index) if self._shared(index) and cache.sizes[index] else None
        return None if pixels is None else pixels.reshape(shape)

    def _keep(
        self, cache: NodeCache, index: int, pixels: NDArray[np.uint8], shape: tuple[int, ...]
    ) -> None:
        """Refuse pixels of another size than the JSON says; give the others to the node."""
        if pixels.shape != shape:
            raise DamagedSample(
                f"{self.where(index)}: decodes to {pixels.shape}, its JSON says {shape}"
            )
        if self._shared(index) and cache.sizes[index]:
            cache.put(index, pixels)


def open_split(
    root: Place | Path | str, split: str, *, decoded: bool = True, strict: bool = True
) -> SplitReader:
    """Open one split of a data set for random access.

    Reads the manifest and the split's index, no shard (data of format 1 are read through once for
    each node). Compares the shards' sizes and the number of samples with the manifest; the full
    digests are ``verify.check_digests``'s work, and every member read is compared with its CRC-32.

    Args:
        root: the data folder or URL.
        split: a split's name.
        decoded: whether pixels are shared with the other processes of the node (``NodeCache``).
        strict: whether a shard of the wrong size, or a missing one, is an error here. If not, those
            of its samples that cannot be read are ``DamagedSample`` when they are asked for.

    Raises:
        InputError: no data there, no such split, or a shard or the index is missing or damaged.
    """
    place = as_place(root)
    manifest = load_manifest(place)
    shards = find_split(place, manifest, split).shards
    problems = size_problems(place, shards)
    if problems and strict:
        number, line = next(iter(problems.items()))
        raise InputError(line + damaged_samples(place, manifest, split, number))
    index = load_index(place, manifest, split)
    suspect = [] if strict else sorted(shard_problems(place, manifest, split))
    return SplitReader(place, manifest, split, index, decoded=decoded, suspect=suspect)
