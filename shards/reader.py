"""Reading shards: random access for training, and one pass in order for everything else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camsweep.shards.decoding import Sample, decode_facts, decode_image, decode_mask
from camsweep.shards.errors import InputError
from camsweep.shards.manifest import Manifest, ShardEntry, find_split, load_manifest, shard_path
from camsweep.shards.streaming import check_rank, stream
from camsweep.shards.tarindex import Span, TarBytes, last_key, tar_index

__all__ = ["Sample", "SplitReader", "epoch_order", "open_split", "rank_slice", "stream"]

CACHE_BYTES = 512 * 2**20


@dataclass(frozen=True)
class _Entry:
    key: str
    shard: int
    spans: dict[str, Span]


class SplitReader:
    """Random access to the samples of one split; make it with ``open_split``.

    Picklable, so DataLoader workers can hold it: the copy opens its own files and starts with an
    empty cache.

    Attributes:
        manifest: of the data folder.
        root: the data folder.
        split: the split's name.
        keys: the samples' names, in stored order.
        labels: float32 [N, C-1], 1 where class c+1 is present.
        sizes: int64 [N, 2], (H, W) of every image.
    """

    def __init__(
        self, root: Path, manifest: Manifest, split: str, entries: list[_Entry], cache_bytes: int
    ) -> None:
        self.root = root
        self.manifest = manifest
        self.split = split
        self.keys = [entry.key for entry in entries]
        self._entries = entries
        self._cache_bytes = cache_bytes
        shards = manifest.splits[split].shards
        self._tars = [TarBytes(root / shard.file) for shard in shards]
        self._reset()
        facts = [self._facts(index) for index in range(len(entries))]
        self._label_sets = [labels for labels, _ in facts]
        self.sizes = np.array([size for _, size in facts], dtype=np.int64).reshape(-1, 2)
        self.labels = np.zeros((len(entries), len(manifest.classes) - 1), dtype=np.float32)
        for row, labels in enumerate(self._label_sets):
            self.labels[row, [label - 1 for label in labels]] = 1

    def _reset(self) -> None:
        self._cache: dict[int, Sample] = {}
        self._cache_left = self._cache_bytes

    def __getstate__(self) -> dict[str, Any]:
        skip = {"_cache", "_cache_left"}
        return {name: value for name, value in self.__dict__.items() if name not in skip}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Sample:
        """Sample ``index``, decoded; kept in memory while the cache has room.

        Raises:
            IndexError: outside 0..len-1 (negative numbers count from the end).
            InputError: the shard is damaged at this sample.
        """
        index = range(len(self))[index]
        held = self._cache.get(index)
        if held is not None:
            return held
        mask = self.mask(index)
        sample = Sample(self.keys[index], self.image(index), mask, self._label_sets[index])
        cost = sample.image.nbytes + (0 if mask is None else mask.nbytes)
        if cost <= self._cache_left:
            self._cache_left -= cost
            self._cache[index] = sample
        return sample

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def image(self, index: int) -> NDArray[np.uint8]:
        """The image alone, uint8 [H, W, 3], read-only, not kept."""
        held = self._cache.get(index)
        if held is not None:
            return held.image
        return decode_image(self.read(index, "jpg"), self.where(index))

    def mask(self, index: int) -> NDArray[np.uint8] | None:
        """The mask alone, uint8 [H, W], read-only, not kept; None where there is none."""
        if not self.has(index, "mask.png"):
            return None
        return decode_mask(self.read(index, "mask.png"), self.where(index))

    def has(self, index: int, member: str) -> bool:
        """Whether sample ``index`` has a member such as ``"mask.png"`` or ``"sp200.png"``."""
        return member in self._entries[index].spans

    def read(self, index: int, member: str) -> bytes:
        """The bytes of one member of a sample.

        Raises:
            InputError: no such member, or the shard ends before it.
        """
        entry = self._entries[index]
        if member not in entry.spans:
            raise InputError(f"{self.where(index)}: no {entry.key}.{member}; build the data again")
        return self._tars[entry.shard].read(entry.spans[member], self.where(index))

    def where(self, index: int) -> str:
        """How error lines call a sample: the shard's path and the key."""
        entry = self._entries[index]
        return f"{self._tars[entry.shard].path}, sample {entry.key}"

    def _facts(self, index: int) -> tuple[tuple[int, ...], tuple[int, int]]:
        return decode_facts(self.read(index, "json"), len(self.manifest.classes), self.where(index))


def open_split(root: Path, split: str, *, cache_bytes: int = CACHE_BYTES) -> SplitReader:
    """Open one split of a data folder for random access.

    Reads the tar headers and the small JSON members, no pixels. Checks every shard's size and the
    number of samples against the manifest; the full digests are ``verify.check_digests``'s work.

    Args:
        root: the data folder.
        split: a split's name.
        cache_bytes: how many bytes of decoded samples are kept in memory at most.

    Raises:
        InputError: no data there, no such split, or a shard is missing or damaged.
    """
    root = Path(root)
    manifest = load_manifest(root)
    content = find_split(root, manifest, split)
    entries: list[_Entry] = []
    for number, shard in enumerate(content.shards):
        entries += _index(root, shard, number)
    if len(entries) != content.count:
        raise InputError(
            f"{root}: split '{split}' holds {len(entries)} samples, "
            f"its manifest says {content.count}; build the data again"
        )
    return SplitReader(root, manifest, split, entries, cache_bytes)


def epoch_order(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of samples in one training epoch: int64 [n], a permutation of 0..n-1.

    A pure function of its arguments, so a resumed run sees the same order; it changes with the
    epoch and the seed.
    """
    return np.random.default_rng([seed, epoch, 0]).permutation(n).astype(np.int64)


def rank_slice(order: NDArray[np.int64], rank: int, world: int) -> NDArray[np.int64]:
    """What one process takes of an epoch's order: every ``world``-th entry.

    All ranks get ``len(order) // world`` entries, so that none waits for a step that the others
    do not take: the last ``len(order) % world`` entries are left out of this epoch, as the
    released code's ``drop_last`` does with a batch, and the next epoch's order leaves out others.
    """
    check_rank(rank, world)
    return order[: len(order) // world * world][rank::world]


def _index(root: Path, shard: ShardEntry, number: int) -> list[_Entry]:
    path = shard_path(root, shard)
    index = tar_index(path)
    if len(index) != shard.samples:
        raise InputError(
            f"{path}: damaged after sample {last_key(index)}: {len(index)} samples found, "
            f"its manifest says {shard.samples}; build the data again"
        )
    return [_Entry(key, number, spans) for key, spans in index.items()]
