"""Who runs which job, and what they tell: the queue that a run's slots pull from.

A plain class, run as an actor. What it knows can be lost: the store has the results and the leases,
so a coordinator that starts anew hands out everything again and finished trials are found by id.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from camsweep.platform.attempts import Job
from camsweep.platform.engine.shapes import Shape

#: Seconds until a job is offered again whose trials another driver has.
ELSEWHERE_SECONDS = 2.0
#: Seconds until a slot asks a coordinator again that has started anew and knows no jobs yet.
EMPTY_SECONDS = 1.0
#: So often may the node of a job be lost before the job is taken to be what kills it.
NODE_LOSSES = 10
#: So many slots in a row may die before they have begun.
DEAD_STARTS = 8


@dataclass(frozen=True)
class Order:
    """What a slot is told to do: run a job, or wait some seconds, or end (neither)."""

    number: int | None = None
    job: Job | None = None
    wait: float | None = None
    attempt: int = 1


@dataclass
class Slot:
    """A worker, or a group of workers, that pulls jobs of one shape."""

    shape: Shape
    node: str | None = None
    holds: int | None = None


@dataclass(frozen=True)
class Demand:
    """What the placing of slots needs to know.

    Attributes:
        open: jobs by shape that no slot has.
        live: slots by shape.
        finished: every job has ended.
        broken: why no more slots are worth starting, or None.
    """

    open: Mapping[Shape, int]
    live: Mapping[Shape, int]
    finished: bool
    broken: str | None


@dataclass
class Coordinator:
    """The jobs of a run, the slots that run them, and the events that the driver has not seen.

    Attributes:
        jobs: by number, with the shape each takes.
        clock: seconds, monotonic.
    """

    jobs: Sequence[tuple[Job, Shape]]
    clock: Callable[[], float] = time.monotonic
    slots: dict[str, Slot] = field(default_factory=dict)
    events: deque[Any] = field(default_factory=deque)

    def __post_init__(self) -> None:
        """Every job waits."""
        self._ready: dict[Shape, deque[int]] = {}
        for number, (_, shape) in enumerate(self.jobs):
            self._ready.setdefault(shape, deque()).append(number)
        self._elsewhere: dict[int, float] = {}
        self._ended: set[int] = set()
        self._deaths: Counter[int] = Counter()
        self._losses: Counter[int] = Counter()
        self._dead_starts = 0
        self._broken: str | None = None

    def began(self, name: str, shape: Shape, node: str | None = None) -> None:
        """A slot asked for is known from its planning on; its node when it lives."""
        slot = self.slots.setdefault(name, Slot(shape))
        if node is not None and slot.node is None:
            slot.node = node
            self.events.append(("slot", node, 1))

    def take(self, name: str, shape: Shape) -> Order:
        """The next job for a slot; the same again until it has ended.

        Ray may make a call twice when an answer is lost.
        """
        slot = self.slots.setdefault(name, Slot(shape))  # a coordinator started anew knows none
        if slot.holds is not None:
            return self._order(slot.holds)
        now = self.clock()
        for number, when in list(self._elsewhere.items()):
            if when <= now:
                del self._elsewhere[number]
                self._ready.setdefault(self.jobs[number][1], deque()).append(number)
        ready = self._ready.get(slot.shape)
        if ready:
            slot.holds = ready.popleft()
            return self._order(slot.holds)
        waiting = [t for n, t in self._elsewhere.items() if self.jobs[n][1] == slot.shape]
        if waiting:
            return Order(wait=max(0.05, min(waiting) - now))
        return Order()

    def _order(self, number: int) -> Order:
        return Order(number, self.jobs[number][0], attempt=1 + self._deaths[number])

    def ended(self, name: str, number: int, elsewhere: bool) -> None:
        """A slot is through with a job; some of its trials may be another driver's."""
        self._dead_starts = 0
        if (slot := self.slots.get(name)) is not None:
            slot.holds = None
        # A coordinator started anew has it waiting still.
        self._elsewhere.pop(number, None)
        for ready in self._ready.values():
            if number in ready:
                ready.remove(number)
        if elsewhere:
            self._elsewhere[number] = self.clock() + ELSEWHERE_SECONDS
        else:
            self._ended.add(number)

    def refuse(self, reason: str) -> None:
        """A slot can't work where it is: no more of them are placed."""
        self._broken = self._broken or reason

    def left(self, name: str) -> None:
        """A slot has ended in peace."""
        self._remove(name)

    def died(self, name: str, cause: str, node_lost: bool) -> int | None:
        """A slot's process died, or its node. Its job goes to another slot, or is given up.

        Returns:
            The number of a job that is given up, for the driver to write down; else None.
        """
        slot = self._remove(name)
        if slot is not None and slot.node is None and not node_lost:
            self._dead_starts += 1
            if self._dead_starts >= DEAD_STARTS + len(self.slots):
                self._broken = f"{self._dead_starts} workers died at their start: {cause}"
        if slot is None or slot.holds is None or slot.holds in self._ended:
            return None
        number = slot.holds
        retries = max(trial.retries for trial in self.jobs[number][0].trials)
        # That a node goes is no fault of the trial, up to a point.
        tally = self._losses if node_lost else self._deaths
        tally[number] += 1
        if self._deaths[number] > retries or self._losses[number] > NODE_LOSSES:
            self._ended.add(number)
            return number
        self._ready[slot.shape].appendleft(number)
        return None

    def _remove(self, name: str) -> Slot | None:
        slot = self.slots.pop(name, None)
        if slot is not None and slot.node is not None:
            self.events.append(("slot", slot.node, -1))
        return slot

    def demand(self) -> Demand:
        """What is open and who is there."""
        opened = {shape: len(numbers) for shape, numbers in self._ready.items() if numbers}
        for number in self._elsewhere:
            shape = self.jobs[number][1]
            opened[shape] = opened.get(shape, 0) + 1
        live = Counter(slot.shape for slot in self.slots.values())
        done = len(self._ended) == len(self.jobs)
        return Demand(opened, live, done, self._broken)

    def tell(self, kind: str, content: Any) -> None:
        """Keep an event for the driver: `progress` or `row`."""
        self.events.append((kind, content))

    def poll(self) -> list[Any]:
        """The events since the last call."""
        events = list(self.events)
        self.events.clear()
        return events


class CoordinatorActor(Coordinator):
    """The coordinator as Ray starts it, also anew after its process died: empty at first."""

    def __init__(self) -> None:
        """Wait for `fill`."""
        super().__init__(())
        self._filled = False

    def fill(self, jobs: Sequence[tuple[Job, Shape]]) -> None:
        """Take the run's jobs. The driver calls it when `poll` says that there are none."""
        super().__init__(jobs)
        self._filled = True

    def take(self, name: str, shape: Shape) -> Order:
        """The next job; an empty coordinator lets slots wait until it is filled."""
        return super().take(name, shape) if self._filled else Order(wait=EMPTY_SECONDS)

    def demand(self) -> Demand:
        """What is open; an empty coordinator has not finished."""
        return super().demand() if self._filled else Demand({}, {}, False, None)

    def poll(self) -> list[Any] | None:  # type: ignore[override]
        """The events since the last call, None where `fill` is needed."""
        return super().poll() if self._filled else None
