"""A search while it runs in one driver: points out, news in, whoever runs the trials."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from camsweep.platform.context import Progress, RunContext
from camsweep.platform.searching.beginnings import take_up_lost
from camsweep.platform.searching.rules import Rule, cause_of_stop, sign_of
from camsweep.platform.searching.rungs import Watch
from camsweep.platform.searching.search import Search, Suggestion
from camsweep.sweeps.plan import PlannedTrial
from camsweep.sweeps.search import SearchSpec

#: Between two looks for points whose driver has died.
LOST_SECONDS = 15.0


class Audience(Protocol):
    """What a search tells the run: the part of `Monitor` that it needs."""

    messages: list[str]
    slots: int

    def plan_for(self, trials: list[PlannedTrial]) -> None:
        """One more trial is to run."""

    def progress(self, progress: Progress) -> None:
        """A trial stands somewhere new."""

    def finished(self, row: dict[str, Any]) -> None:
        """A trial ended."""


@dataclass
class Session:
    """A search with everything around it.

    Attributes:
        search: the study.
        context: where trials read and write.
        audience: is told of every trial.
        max_trials: at most so many points are run now, or None.
        deadline: `time.monotonic()` after which no more points are handed out, or None.
        clock: for tests.
    """

    search: Search
    context: RunContext
    audience: Audience
    max_trials: int | None = None
    deadline: float | None = None
    clock: Callable[[], float] = time.monotonic
    begun: int = 0
    _looked: float = field(default=float("-inf"), repr=False)
    _known: set[str] = field(default_factory=set, repr=False)

    @property
    def spec(self) -> SearchSpec:
        """The `search:` section."""
        return self.search.spec

    def next(self) -> Suggestion | None:
        """The next point to run, None when there are no more."""
        if self.max_trials is not None and self.begun >= self.max_trials:
            return None
        if self.deadline is not None and self.clock() >= self.deadline:
            return None
        if self.clock() - self._looked > LOST_SECONDS:
            take_up_lost(self.search, self.context.store)
            self._looked = self.clock()
        found = self.search.ask()
        if found is None:
            return None
        self.begun += 1
        self._known.add(found.trial.id)
        self.audience.plan_for([found.trial])
        return found

    def conclude(self) -> None:
        """Give up what Tune left undone: the next run draws these points first.

        Raises:
            KeyboardInterrupt: it was not time that ended the search. Tune keeps Ctrl-C to itself.
        """
        left = self.search.lose_all()
        if left and (self.deadline is None or self.clock() < self.deadline):
            raise KeyboardInterrupt

    def rung(self, number: int, epoch: int, value: float) -> None:
        """A training is worth `value` after an epoch."""
        self.search.report(number, epoch, value)

    def ended(self, number: int, row: dict[str, Any]) -> None:
        """A point's trial has its row."""
        self.search.tell(number, row)
        if row.get("id") in self._known:
            self.audience.finished(row)


def watch(spec: SearchSpec, goes_on: Callable[[int, float], bool]) -> Watch:
    """The watch of one training.

    Args:
        spec: says what is measured.
        goes_on: told the epochs done and the value; false ends the training.
    """
    return Watch(
        spec.metric[0],
        spec.scheduler.images,
        goes_on,
        lambda epoch: cause_of_stop(spec, epoch),
    )


def recalled(rule: Rule, search: Search) -> Rule:
    """The rule, told of all trainings of earlier runs of this search."""
    rule.recall(search.trials(), sign_of(search.spec))
    return rule
