"""When Tune starts another slot: a searcher that suggests one whenever there is work and room."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import astuple
from typing import Any

from ray.tune.search import Searcher

from camsweep.platform.engine.coordinator import Demand
from camsweep.platform.engine.shapes import Node, Shape, fits_beside

#: Tune asks many times a second; what there is to do changes more slowly.
LOOK_SECONDS = 0.2
#: So long may nothing run for want of room before that is said.
STUCK_SECONDS = 20.0


def next_shape(demand: Demand, nodes: Callable[[], list[Node]], limit: int | None) -> Shape | None:
    """The shape of a slot worth starting now: the largest that has work and fits; or None.

    Args:
        demand: from the coordinator.
        nodes: gives the nodes that live, empty.
        limit: slots at a time, or None.
    """
    live = [shape for shape, count in demand.live.items() for _ in range(count)]
    if limit is not None and len(live) >= limit:
        return None
    for shape in sorted(demand.open, reverse=True):
        if fits_beside(shape, live, nodes()):
            return shape
    return None


class SlotSearcher(Searcher):
    """Suggests slots to Tune. It searches nothing: a slot's jobs come from the coordinator."""

    def __init__(
        self,
        demand: Callable[[], Demand],
        began: Callable[[str, Shape], None],
        nodes: Callable[[], list[Node]],
        limit: int | None,
        say: Callable[[str], object],
    ) -> None:
        """Remember whom to ask.

        Args:
            demand: asks the coordinator what is open.
            began: tells the coordinator of a slot, before it lives.
            nodes: the nodes that live, empty.
            limit: slots at a time, or None.
            say: tells the user a line.
        """
        super().__init__(metric="jobs", mode="max")
        self._demand, self._began, self._nodes, self._limit = demand, began, nodes, limit
        self._say = say
        self._looked = 0.0
        self._stuck: float | None = None
        self._names: Iterator[int] = iter(range(10**9))
        self.broken: str | None = None

    def suggest(self, trial_id: str) -> Any:
        """A slot to start, None for not now, or that there will be no more."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return None
        demand = self._demand()
        self.broken = demand.broken
        if demand.finished or demand.broken:
            return str(Searcher.FINISHED)
        shape = next_shape(demand, self._nodes, self._limit)
        if shape is None:
            self._looked = now
            self._wait_aloud(demand, now)
            return None
        self._stuck = None
        name = f"slot-{next(self._names)}"
        self._began(name, shape)
        return {"slot": name, "shape": astuple(shape)}

    def _wait_aloud(self, demand: Demand, now: float) -> None:
        """Say once that nothing runs for want of room: the nodes that had it are lost."""
        if not demand.open or demand.live:
            self._stuck = None
        elif self._stuck is None:
            self._stuck = now + STUCK_SECONDS
        elif self._stuck <= now:
            self._stuck = float("inf")
            largest = max(demand.open).text
            self._say(f"waiting  no node has room for a trial of {largest}; add nodes, or Ctrl-C")

    def set_search_properties(self, *given: Any, **named: Any) -> bool:
        """Tune's metric and mode mean nothing here."""
        return True

    def on_trial_complete(self, *given: Any, **named: Any) -> None:
        """A slot's end is told by the coordinator's own events."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing is kept: an experiment is never restored."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing was kept."""
