"""What a run knows of its trials while it goes; the live view and the status file read it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from camsweep.platform.context import Progress
from camsweep.sweeps.plan import Plan, PlannedTrial

STATES = ("waiting", "running", "done", "failed", "stopped")
#: `stopped`: a search gave the trial up early.
ENDED = ("done", "failed", "stopped")
#: From so many trials on, a trial's line tells where the run stands once a second at most.
MANY = 1000


class Listener(Protocol):
    """Somebody who follows a run: a tracker. Called in the driver, one call at a time."""

    def started(self, trial_id: str) -> None:
        """A trial began."""

    def progress(self, progress: Progress) -> None:
        """A trial stands somewhere new."""

    def finished(self, row: dict[str, Any]) -> None:
        """A trial ended; the row has its id, status, cause and headline metric at least."""

    def closed(self) -> None:
        """The run is over."""


@dataclass
class NodeState:
    """A machine of the run: how many slots live on it."""

    slots: int = 0


@dataclass
class TrialState:
    """One trial as the driver sees it."""

    title: str
    kind: str = ""
    state: str = "waiting"
    progress: Progress | None = None
    miou: float | None = None
    cause: str | None = None
    seconds: float | None = None
    began: float | None = None
    skipped: tuple[str, ...] = ()
    elsewhere: bool = False


@dataclass
class Monitor:
    """The state of every trial of a run. Methods may be called from any thread.

    Attributes:
        plan: what is run.
        planned: trials by id, those found in the store left out.
        trials: state by trial id, the same trials.
        expected: seconds by trial id from the store's history, where there is any.
        slots: how many trials run at a time.
        nodes: the machines that run trials, by name.
        listeners: are told of everything that happens to a trial.
        messages: one line an event, for views without a terminal.
    """

    plan: Plan
    slots: int = 1
    expected: dict[str, float] | None = None
    trials: dict[str, TrialState] = field(default_factory=dict)
    nodes: dict[str, NodeState] = field(default_factory=dict)
    listeners: list[Listener] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        """Every trial to run starts as waiting."""
        self.planned: dict[str, PlannedTrial] = {}
        self._stood = -math.inf
        self.plan_for(self.plan.to_run)

    def plan_for(self, trials: Iterable[PlannedTrial]) -> None:
        """More trials are to run; those that are known keep their state."""
        with self.lock:
            for trial in trials:
                self.planned[trial.id] = trial
                self.trials.setdefault(trial.id, TrialState(trial.title, trial.config.method))

    def follow(self, plan: Plan) -> None:
        """A plan takes the place of the one before: the next round of a run, or what limits left.

        Trials that waited and are not in it will not be run.
        """
        with self.lock:
            self.plan = plan
            kept = {trial.id for trial in plan.to_run}
            for trial_id in [i for i, t in self.trials.items() if t.state == "waiting"]:
                if trial_id not in kept:
                    del self.trials[trial_id], self.planned[trial_id]
            self.plan_for(plan.to_run)

    def hear(self, kind: str, *content: Any) -> None:
        """An event of a worker.

        Args:
            kind: `progress`, `row`, `slot` (one more or less on a node), `elsewhere` (ids of
                trials that another driver is running), or `message` (a line).
            content: of the event.
        """
        if kind == "progress":
            self.progress(*content)
        elif kind == "row":
            self.finished(*content)
        elif kind == "elsewhere":
            self.elsewhere(*content)
        elif kind == "message":
            with self.lock:
                self.messages.append(*content)
        elif kind == "slot":
            node, change = content
            with self.lock:
                self.nodes.setdefault(node, NodeState()).slots += change

    def progress(self, progress: Progress) -> None:
        """A trial stands somewhere new."""
        with self.lock:
            state = self.trials[progress.trial_id]
            if state.state in ENDED:
                return  # news that was overtaken by the trial's end
            if state.state != "running":
                state.state, state.began = "running", time.monotonic()
                where = f" on {progress.node}" if progress.node and len(self.nodes) > 1 else ""
                self.messages.append(f"started  {state.title}{where}")
                for listener in self.listeners:
                    listener.started(progress.trial_id)
            state.progress = progress
            for listener in self.listeners:
                listener.progress(progress)

    def elsewhere(self, ids: Iterable[str]) -> None:
        """Another driver on the store is running these; what it finds counts here too."""
        with self.lock:
            for state in (self.trials[trial_id] for trial_id in ids):
                if not state.elsewhere:
                    state.elsewhere = True
                    self.messages.append(f"waiting  {state.title}: another driver is running it")

    def finished(self, row: dict[str, Any]) -> None:
        """A trial ended, well or not."""
        with self.lock:
            state = self.trials[row["id"]]
            if state.state in ENDED:
                return
            state.state = row["status"]
            state.seconds = time.monotonic() - (state.began or self.started)
            if row["status"] == "done":
                state.miou = row["metric.miou"]
                state.skipped = tuple(row.get("skipped") or ())
                self.messages.append(
                    f"done     {state.title}: mIoU {100 * row['metric.miou']:.2f} "
                    f"in {state.seconds:.0f} s{self._standing()}"
                )
            elif row["status"] == "stopped":
                state.cause = row["cause"]
                self.messages.append(f"stopped  {state.title}: {row['cause']}")
            else:
                state.cause = row["cause"]
                self.messages.append(f"failed   {state.title}: {row['cause']}")
            for listener in self.listeners:
                listener.finished(row)

    def _standing(self) -> str:
        """`` (3 of 12 done)``; of many trials not after each, as it looks at all of them."""
        now = time.monotonic()
        if len(self.trials) > MANY and now - self._stood < 1:
            return ""
        self._stood = now
        return f" ({self.summary()})"

    def closed(self) -> None:
        """The run is over; the listeners are told, and may take their time."""
        for listener in self.listeners:
            listener.closed()

    def counts(self) -> dict[str, int]:
        """How many trials are in each state."""
        with self.lock:
            states = [t.state for t in self.trials.values()]
        return {state: states.count(state) for state in STATES}

    def failures(self) -> list[TrialState]:
        """The failed trials."""
        with self.lock:
            return [t for t in self.trials.values() if t.state == "failed"]

    def skipped(self) -> list[str]:
        """The damaged samples that this run's trials left out, each once."""
        with self.lock:
            return sorted({sample for t in self.trials.values() for sample in t.skipped})

    def best(self) -> TrialState | None:
        """The finished trial with the highest mIoU so far."""
        with self.lock:
            done = [t for t in self.trials.values() if t.miou is not None]
        return max(done, key=lambda t: t.miou or 0.0, default=None)

    def images_per_second(self) -> float:
        """Training images a second over all running trials, from their last epochs."""
        with self.lock:
            running = [t.progress for t in self.trials.values() if t.state == "running"]
        return sum(p.images_per_second or 0.0 for p in running if p and p.phase.startswith("train"))

    def seconds_left(self) -> float | None:
        """Wall-clock seconds to go: from this run's trials of a method, else history, else None."""
        with self.lock:
            took: dict[str, list[float]] = {}
            for trial in self.trials.values():
                if trial.state == "done" and trial.seconds:
                    took.setdefault(trial.kind, []).append(trial.seconds)
            means = {kind: sum(seconds) / len(seconds) for kind, seconds in took.items()}
            left = [(i, t) for i, t in self.trials.items() if t.state in ("waiting", "running")]
            total = 0.0
            for trial_id, state in left:
                # This run's own trials tell more of it than history, once there are any.
                expected = means.get(state.kind, (self.expected or {}).get(trial_id))
                if expected is None:
                    return None
                spent = time.monotonic() - state.began if state.began else 0.0
                total += max(0.0, expected - spent)
            return total / max(1, min(self.slots, len(left) or 1))

    def summary(self) -> str:
        """`3 of 12 done, 1 failed, 2 running, about 4 min left`."""
        counts = self.counts()
        parts = [f"{counts['done']} of {len(self.trials)} done"]
        parts += [f"{counts[s]} {s}" for s in ("failed", "stopped", "running") if counts[s]]
        left = self.seconds_left()
        if left is not None and counts["waiting"] + counts["running"]:
            parts.append(f"about {duration(left)} left")
        return ", ".join(parts)


def duration(seconds: float) -> str:
    """Seconds as people say them: `45 s`, `12 min`, `3.5 h`, `2.1 days`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 172800:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"
