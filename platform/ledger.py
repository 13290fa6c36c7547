"""The run's own file in the store, so that `camsweep status` can tell what is running."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from camsweep.platform.monitor import Monitor
from camsweep.sweeps.store import Store

HEARTBEAT_SECONDS = 5.0
#: A run that was not heard of for this long is taken to have died.
STALE_SECONDS = 30.0


@dataclass
class Ledger:
    """Writes `runs/<run>.json` every few seconds while a run goes, and once at its end."""

    store: Store
    monitor: Monitor
    command: str
    data: str

    def __enter__(self) -> Ledger:
        """Start the heartbeat."""
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        self.name = f"runs/{stamp}-{socket.gethostname()}-{os.getpid()}.json"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write the run's end."""
        self._stop.set()
        self._thread.join()
        left = self.monitor.counts()
        complete = not (left["waiting"] + left["running"]) and kind is None
        self.write("ended" if complete else "stopped")

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            self.write("running")

    def write(self, state: str) -> None:
        """Write the file, from the first trial's start on: a run that never began leaves nothing.

        A disk that is full must not take the sweep down with it.
        """
        if self.monitor.counts()["waiting"] == len(self.monitor.trials):
            return
        with self.monitor.lock:
            trials = {
                trial_id: {
                    "title": t.title,
                    "state": t.state,
                    "phase": t.progress.phase if t.progress else None,
                    "done": t.progress.done if t.progress else None,
                    "total": t.progress.total if t.progress else None,
                    "cause": t.cause,
                }
                for trial_id, t in self.monitor.trials.items()
            }
        content = {
            "state": state,
            "updated": time.time(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "command": self.command,
            "profile": self.monitor.plan.profile.name,
            "data": self.data,
            "cached": len(self.monitor.plan.cached),
            "trials": trials,
        }
        try:
            self.store.write(self.name, json.dumps(content).encode())
        except OSError:
            return


def last_run(store: Store) -> dict[str, Any] | None:
    """The newest run's file with `alive` added, or None where nothing ran."""
    names = store.names("runs", ".json")
    if not names:
        return None
    content: dict[str, Any] = json.loads(store.read(f"runs/{names[-1]}"))
    fresh = time.time() - content["updated"] < STALE_SECONDS
    content["alive"] = content["state"] == "running" and fresh
    return content
