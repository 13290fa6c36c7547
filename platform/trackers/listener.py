"""A listener of the monitor that hands everything to a tracker in a thread of its own.

The run never waits for a tracker and never fails for it: a server that is down, a full disk or an
error in the tracker's package costs one warning.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from camsweep.platform.context import Progress
from camsweep.platform.notify import warn
from camsweep.platform.trackers.facts import Backend, Find, TrialFacts, ended_of, facts_of
from camsweep.sweeps.store import Store

#: Events that may wait for a slow tracker; further ones are left out.
WAITING = 20_000
#: So many failures in a row switch a tracker off.
PATIENCE = 3
#: The end of a run waits for what is still to be written, but not for a tracker that has written
#: nothing for so many seconds, and not longer than this in all.
STALLED_SECONDS = 30.0
CLOSING_SECONDS = 300.0


class TrackerListener:
    """Hands a run's events to one tracker. Methods return at once and may be called anywhere.

    Args:
        backend: the tracker.
        find: the planned trial of an id.
        store: where finished trials' numbers are, or None.
        warn: is given one line when the tracker first fails, and one if it never ends.
    """

    def __init__(
        self, backend: Backend, find: Find, store: Store | None, warn: Callable[[str], None] = warn
    ) -> None:
        self._backend, self._find, self._store, self._warn = backend, find, store, warn
        self._events: queue.Queue[Callable[[], object]] = queue.Queue(WAITING)
        self._open: dict[str, TrialFacts] = {}
        self._told: dict[str, dict[int, set[str]]] = {}
        self._failures = 0
        self._handled = 0
        self._warned = False
        self._closing = False
        self._thread = threading.Thread(
            target=self._work, name=f"camsweep-{backend.name}", daemon=True
        )
        self._thread.start()

    def started(self, trial_id: str) -> None:
        """A trial has begun, or begun again."""
        self._put(lambda: self._begin(trial_id))

    def progress(self, progress: Progress) -> None:
        """A trial stands somewhere new; the epochs of its training are passed on."""
        if progress.phase == "train" and progress.loss is not None:
            self._put(lambda: self._epoch(progress))

    def finished(self, row: Mapping[str, Any]) -> None:
        """A trial ended, well or not."""
        self._put(lambda: self._end(dict(row)))

    def closed(self) -> None:
        """The run is over: waits a while for what is still to be written."""
        self._closing = True
        end = time.monotonic() + CLOSING_SECONDS
        handled, moved = self._handled, time.monotonic()
        while self._thread.is_alive() and time.monotonic() < end:
            if self._handled != handled:
                handled, moved = self._handled, time.monotonic()
            if time.monotonic() - moved > STALLED_SECONDS:
                break
            self._thread.join(0.1)
        if self._thread.is_alive():
            self._warn(f"{self._backend.name}: still writing at the end; the rest is left out")

    def _put(self, event: Callable[[], object]) -> None:
        try:
            self._events.put_nowait(event)
        except queue.Full:
            self._warn_once("too slow for this run; what it can't take is left out")

    def _work(self) -> None:
        while True:
            try:
                event = self._events.get(timeout=0.1)
            except queue.Empty:
                if self._closing:
                    break
                continue
            if self._failures < PATIENCE:
                self._try(event)
            self._handled += 1
        self._try(self._backend.close)

    def _try(self, event: Callable[[], object]) -> None:
        try:
            event()
            self._failures = 0
        except Exception as error:  # whatever a tracker's package raises
            self._failures += 1
            lines = str(error).strip().splitlines() or [""]
            self._warn_once(f"{type(error).__name__}: {lines[0][:200]}; the run goes on")

    def _warn_once(self, why: str) -> None:
        if not self._warned:
            self._warned = True
            self._warn(f"{self._backend.name}: {why}")

    def _begin(self, trial_id: str) -> TrialFacts:
        facts = self._open.get(trial_id)
        if facts is None:
            facts = facts_of(trial_id, self._find(trial_id))
            self._backend.begin(facts)
            self._open[trial_id], self._told[trial_id] = facts, {}
        return facts

    def _epoch(self, progress: Progress) -> None:
        facts, told = self._begin(progress.trial_id), self._told[progress.trial_id]
        if progress.done in told:
            return
        parts = progress.losses or {}
        values = {f"loss/{name}": value for name, value in parts.items() if name != "loss"}
        others = {
            "loss": progress.loss,
            "lr": progress.lr,
            "images_per_second": progress.images_per_second,
        }
        values |= {name: value for name, value in others.items() if value is not None}
        self._backend.epoch(facts, progress.done, values)
        told[progress.done] = set(values)

    def _end(self, row: dict[str, Any]) -> None:
        facts = self._begin(row["id"])
        ended = ended_of(row, self._store)
        told = self._told.pop(row["id"])
        del self._open[row["id"]]
        for epoch, values in ended.epochs.items():
            # What nobody here has seen: another trial, another driver or an earlier run trained it.
            fresh = {k: v for k, v in values.items() if k not in told.get(epoch, ())}
            self._backend.epoch(facts, epoch, fresh)
        self._backend.end(facts, ended)
