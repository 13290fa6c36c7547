"""Which samples a process sees, in which order: functions of a few numbers and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from camsweep.shards.errors import InputError

T = TypeVar("T")


def epoch_order(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of samples in one training epoch: int64 [n], a permutation of 0..n-1.

    A pure function of its arguments, so a resumed run sees the same order; it changes with the
    epoch and the seed.
    """
    return np.random.default_rng([seed, epoch, 0]).permutation(n).astype(np.int64)


def evaluation_share(n: int, rank: int = 0, world: int = 1) -> range:
    """The samples that one process evaluates: over all ranks each of 0..n-1 exactly once.

    The ranks' numbers differ by at most one; a rank beyond ``n`` gets none.
    """
    check_rank(rank, world)
    return range(rank, n, world)


def check_rank(rank: int, world: int) -> None:
    """Refuse a rank outside 0..world-1 (InputError)."""
    if not 0 <= rank < world:
        raise InputError(f"rank {rank} of {world} processes; 0..{world - 1} is right")


def counted(items: Iterable[T], expected: int, what: str) -> Iterator[T]:
    """The same items, and at their end a check that as many came as were planned.

    Args:
        items: one epoch's batches or samples.
        expected: how many there must be, from the manifest.
        what: names them in the error line, such as ``"voc12, split 'train', epoch 3: batches"``.

    Raises:
        InputError: more or fewer came.
    """
    seen = 0
    for item in items:
        seen += 1
        if seen <= expected:
            yield item
    if seen != expected:
        raise InputError(f"{what}: {seen} came, {expected} were planned")


class EpochBatches:
    """Batch sampler of (epoch, index) keys; drops the last short batch, as released.

    Each step's batch is divided among the ranks in contiguous parts, so that all of them together
    see at a step what a single process would see, and all take the same number of steps.

    Attributes:
        epoch: the epoch whose order it gives.
        start: steps of it that are left out, as they were made before.
    """

    def __init__(self, n: int, batch: int, seed: int, rank: int = 0, world: int = 1) -> None:
        """A sampler at the beginning of epoch 0.

        Args:
            n: samples in the split.
            batch: samples a step over all ranks.
            seed: of the order.
            rank: this process, 0 to world-1.
            world: how many processes train together.

        Raises:
            InputError: ``batch`` is below 1 or no multiple of ``world``, or a wrong rank.
        """
        check_rank(rank, world)
        if batch < 1 or batch % world:
            raise InputError(
                f"batch is {batch}; a multiple of the {world} processes, 1 or more, is right"
            )
        self.n, self.batch, self.seed, self.epoch, self.start = n, batch, seed, 0, 0
        self.rank, self.world = rank, world

    @property
    def steps(self) -> int:
        """Steps of a whole epoch, the same on every rank."""
        return self.n // self.batch

    def __len__(self) -> int:
        return self.steps - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, part = self.epoch, self.batch // self.world
        order = epoch_order(self.n, self.seed, epoch)
        for step in range(self.start, self.steps):
            first = step * self.batch + self.rank * part
            yield [(epoch, index) for index in order[first : first + part].tolist()]
