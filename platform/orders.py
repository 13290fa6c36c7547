"""What the other ranks of a team do while rank 0 runs a trial: its heavy parts, as it orders.

Rank 0 runs a trial as one process would: it alone knows leases, retries, the store and the live
view. Where many processes help it gives an order, and all do the same in lock-step: train, or count
their share of the evaluated images. Between two orders the others wait.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from camsweep.methods.base import load_method
from camsweep.methods.team import Team, TeamLost
from camsweep.methods.training import load_net, train
from camsweep.platform.context import Progress, RunContext
from camsweep.platform.counting import count_share
from camsweep.platform.lessons import Lesson
from camsweep.shards.reader import open_split
from camsweep.sweeps.plan import PlannedTrial

#: Starts the work that an order prepared.
Work = Callable[[], object]


class Order(Protocol):
    """What rank 0 tells the others to do; it is pickled."""

    @property
    def context(self) -> RunContext:
        """Where to read and write."""

    def prepare(self, team: Team) -> Work:
        """Open what the work needs; errors here are raised on all ranks before it begins."""


@dataclass(frozen=True)
class TrainOrder:
    """Train with rank 0, see ``methods.training.train``.

    Attributes:
        trial: whose training.
        context: where to read and write.
        init_state: the first weights, or None.
        accumulation: see ``methods.training.train``.
        lesson: which of the trial's trainings.
    """

    trial: PlannedTrial
    context: RunContext
    init_state: dict[str, Tensor] | None
    accumulation: int
    lesson: Lesson

    def prepare(self, team: Team) -> Work:
        """Open the data. What this rank computes is its part of rank 0's training."""
        config, context = self.trial.config, self.context
        reader = open_split(context.data, config.train_split, strict=not context.skip_damaged)
        learner, settings = self.lesson.learner(config, len(reader))
        regions = self.lesson.regions(self.trial, context, reader, _unheard)
        return lambda: train(
            learner,
            settings,
            reader,
            regions,
            self.init_state,
            device=context.device,
            on_damaged=_unheard if context.skip_damaged else None,
            threads=context.threads,
            workers=context.workers,
            team=team,
            accumulation=self.accumulation,
        )


@dataclass(frozen=True)
class EvaluateOrder:
    """Count a share of the evaluated images, see ``platform.counting``."""

    trial: PlannedTrial
    context: RunContext
    weights: dict[str, Tensor]

    def prepare(self, team: Team) -> Work:
        """Open the data and build the network."""
        config, context = self.trial.config, self.context
        reader = open_split(context.data, config.eval_split, strict=not context.skip_damaged)
        method = load_method(config.method)
        net = load_net(method, config, len(reader.manifest.classes), self.weights)
        return lambda: count_share(
            method,
            net,
            reader,
            config,
            context.device,
            None,
            context.skip_damaged,
            context.workers,
            team,
        )


def _unheard(what: Progress | int) -> None:
    """Rank 0 tells."""


@contextmanager
def ordered(team: Team, order: Order) -> Iterator[None]:
    """The other ranks do ``order`` while rank 0 does the same in the block.

    Raises:
        TeamLost: rank 0 left the block with an error that the others do not know of, now or before.
    """
    if team.world == 1:
        yield
        return
    if team.lost:
        raise TeamLost("rank 0 left the team before")
    try:
        with team.or_lost():
            team.share(order)
            team.agree(None)  # an error of another rank's in opening the data is raised here
            yield
    finally:
        team.agreed = None  # its traceback would keep a step's tensors


def follow(team: Team) -> None:
    """What every rank but 0 does: rank 0's orders, until it dismisses the team."""
    while (order := team.share(None)) is not None:
        _obey(team, order)
        del order
        release_memory()


def _obey(team: Team, order: Order) -> None:
    try:
        with team.or_lost():
            with team.together():
                # As run_trial does on rank 0: sums are rounded by their number.
                torch.set_num_threads(order.context.threads)
                work = order.prepare(team)
            work()
    except Exception:
        return  # rank 0 has it too, and knows what to do
    finally:
        team.agreed = None


def release_memory() -> None:
    """Give back what a step that failed held: an error's frames keep its tensors."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def dismiss(team: Team) -> None:
    """Rank 0: let the others go."""
    if team.world > 1 and not team.lost:
        team.share(None)
