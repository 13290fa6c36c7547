"""The one thread of a process that keeps all its leases alive."""

from __future__ import annotations

import math
import os
import threading
import time
from typing import Protocol


class Beating(Protocol):
    """Something that has to tell now and then that it lives."""

    period: float

    def beat(self) -> None:
        """Tell it; must not raise."""


class Heart:
    """Beats for all that was added, each every `period` seconds; the thread starts when needed."""

    def __init__(self) -> None:
        self._forget()
        # Threads don't live on in a forked child, nor are the leases its own.
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._changed = threading.Condition()
        self._due: dict[Beating, float] = {}
        self._wakes = math.inf
        self._thread: threading.Thread | None = None

    def add(self, lease: Beating) -> None:
        """Beat for it from now on."""
        with self._changed:
            self._due[lease] = due = time.monotonic() + lease.period
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="leases", daemon=True)
                self._thread.start()
            elif due < self._wakes:  # else it wakes early enough: short leases must stay cheap
                self._changed.notify()

    def remove(self, lease: Beating) -> None:
        """Beat for it no more; one beat may still be under way."""
        with self._changed:
            self._due.pop(lease, None)

    def _run(self) -> None:
        while True:
            for lease in self._wait():
                lease.beat()

    def _wait(self) -> list[Beating]:
        """Wait until a beat is due; what is due is due again a period later."""
        with self._changed:
            while True:
                now = time.monotonic()
                due = [lease for lease, at in self._due.items() if at <= now]
                if due:
                    self._due.update({lease: now + lease.period for lease in due})
                    return due
                self._wakes = min(self._due.values(), default=math.inf)
                self._changed.wait(None if self._wakes == math.inf else self._wakes - now)
