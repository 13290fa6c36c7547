"""Processes that train one network together: how they exchange numbers, and fail as one.

Rank 0 is the one that reads and writes results; the others compute with it in lock-step. An error
on one rank must not leave the others waiting for its numbers, so work that can fail is done in
``together()`` blocks: at their end all ranks meet, and where one failed all raise its error.
"""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from typing import Any, TypeVar

import torch
from torch import Tensor

from camsweep.shards.errors import InputError

T = TypeVar("T")

#: Ranks wait for each other while one computes superpixels or writes to a slow store. One that is
#: dead is noticed at once by its closed connection, or by Ray.
PATIENCE = timedelta(days=2)


def check_team(config: Any, workers: int) -> None:
    """Refuse a batch that cannot be divided equally.

    Args:
        config: a trial's settings.
        workers: processes that are to train together.

    Raises:
        InputError: names the batch and the workers.
    """
    if workers < 1 or config.batch % workers:
        raise InputError(
            f"batch: {config.batch} images cannot be divided equally among {workers} workers; "
            "a batch that is a multiple of the workers is right"
        )


class RankTraceback(Exception):  # noqa: N818
    """The cause of an error that came from another rank: its traceback as text."""

    def __init__(self, rank: int, text: str) -> None:
        """Keep the text."""
        super().__init__(f"on rank {rank} of the team:\n{text}")


class RankFailed(RuntimeError):  # noqa: N818
    """An error of another rank that could not be sent as it is."""


class TeamLost(BaseException):
    """The ranks no longer do the same; only new processes help, as after a death of one.

    No ``Exception``, so that it is not recorded as a trial's own failure and tried again in vain.
    """


class Team:
    """One process alone: everything is done at once and nothing is sent.

    Attributes:
        rank: this process, 0..world-1.
        world: how many there are.
        agreed: the last error that all ranks raised at a meeting.
        lost: the ranks no longer do the same.
    """

    rank = 0
    world = 1
    agreed: BaseException | None = None
    lost = False

    def agree(self, error: Exception | None) -> None:
        """Meet. Where any rank brings an error, every rank raises it: that of the lowest rank."""
        if error is not None:
            raise error

    @contextmanager
    def together(self) -> Iterator[None]:
        """Meet at the block's end; an error of any rank in it is raised on all of them."""
        error = None
        try:
            yield
        except Exception as caught:
            error = caught
        self.agree(error)

    @contextmanager
    def or_lost(self) -> Iterator[None]:
        """A block whose errors the other ranks cannot learn of, as they wait for its numbers.

        Raises:
            TeamLost: in place of any other error that all ranks did not agree on.
        """
        try:
            yield
        except Exception as error:
            if error is not self.agreed:
                self.lost = True
                raise TeamLost(f"rank {self.rank}: {type(error).__name__}: {error}") from error
            raise

    def in_step(self, items: Iterable[T]) -> Iterator[T]:
        """The same items, which are as many on every rank; an error of any rank's ends them all."""
        iterator = iter(items)
        while True:
            with self.together():
                found = list(islice(iterator, 1))
            if not found:
                return
            yield found[0]

    def gather(self, rows: Tensor) -> Tensor:
        """All ranks' rows, in order of rank: [n, ...] of the same shape each -> [world n, ...]."""
        return rows

    def add(self, tensor: Tensor) -> None:
        """Put the sum over all ranks in its place, the same bits on each; of one shape and type."""

    def send(self, rows: Tensor, owner: int) -> list[Tensor]:
        """On rank ``owner`` the tensors of all ranks, of one shape; nothing on the others."""
        return [rows]

    def share(self, value: T) -> T:
        """Rank 0's value."""
        return value

    def collect(self, value: T) -> list[T]:
        """The values of all ranks by rank, on rank 0; nothing on the others."""
        return [value]


#: The team of a process that works alone.
SOLO = Team()


class TorchTeam(Team):
    """The processes of torch's default group: tensors by its backend, all else by gloo."""

    def __init__(self) -> None:
        """Join; ``torch.distributed`` is initialised, and every rank does this."""
        import torch.distributed as dist

        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        # NCCL moves nothing but tensors on GPUs, and a wait in it keeps the GPU busy.
        gloo = dist.get_backend() == "gloo"
        self._control: Any = None if gloo else dist.new_group(backend="gloo", timeout=PATIENCE)

    def agree(self, error: Exception | None) -> None:
        """Meet. Where any rank brings an error, every rank raises it: that of the lowest rank."""
        import torch.distributed as dist

        failed = torch.tensor([int(error is not None)])
        dist.all_reduce(failed, group=self._control)
        if not failed:
            return
        reports: list[Any] = [None] * self.world
        dist.all_gather_object(reports, _packed(error), group=self._control)
        rank = next(i for i, report in enumerate(reports) if report is not None)
        if rank == self.rank and error is not None:
            self.agreed = error
        else:
            self.agreed = _unpacked(rank, *reports[rank])
        raise self.agreed

    def gather(self, rows: Tensor) -> Tensor:
        """All ranks' rows, in order of rank: [n, ...] of the same shape each -> [world n, ...]."""
        import torch.distributed as dist

        parts = [torch.empty_like(rows) for _ in range(self.world)]
        dist.all_gather(parts, rows.contiguous(), group=self._control)
        return torch.cat(parts)

    def add(self, tensor: Tensor) -> None:
        """Put the sum over all ranks in its place, the same bits on each; of one shape and type."""
        import torch.distributed as dist

        dist.all_reduce(tensor)

    def send(self, rows: Tensor, owner: int) -> list[Tensor]:
        """On rank ``owner`` the tensors of all ranks, of one shape; nothing on the others."""
        import torch.distributed as dist

        mine = self.rank == owner
        parts = [torch.empty_like(rows) for _ in range(self.world)] if mine else None
        dist.gather(rows, parts, owner)
        return parts or []

    def share(self, value: T) -> T:
        """Rank 0's value."""
        import torch.distributed as dist

        box = [value]
        dist.broadcast_object_list(box, 0, group=self._control, device=torch.device("cpu"))
        return box[0]

    def collect(self, value: T) -> list[T]:
        """The values of all ranks by rank, on rank 0; nothing on the others."""
        import torch.distributed as dist

        found: list[Any] | None = [None] * self.world if self.rank == 0 else None
        dist.gather_object(value, found, group=self._control)
        return found or []


def _packed(error: Exception | None) -> tuple[bytes, str] | None:
    """An error as it is sent: itself where it survives that, and its traceback."""
    if error is None:
        return None
    text = "".join(traceback.format_exception(error))
    try:
        sent = pickle.dumps(error)
        pickle.loads(sent)
    except Exception:
        sent = pickle.dumps(RankFailed(f"{type(error).__name__}: {error}"))
    return sent, text


def _unpacked(rank: int, sent: bytes, text: str) -> Exception:
    error: Exception = pickle.loads(sent)
    error.__cause__ = RankTraceback(rank, text)
    return error
