"""The run's own file in the store, so that `camsweep status` can tell what is running."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from camsweep.platform.background import every
from camsweep.platform.monitor import Monitor
from camsweep.sweeps.store import Store

HEARTBEAT_SECONDS = 5.0
#: A run that was not heard of for this long is taken to have died.
STALE_SECONDS = 30.0


@contextmanager
def ledger(store: Store, monitor: Monitor, command: str, data: str) -> Iterator[None]:
    """Write `runs/<run>.json` every few seconds while a run goes, and once at its end.

    Args:
        store: where.
        monitor: what is written.
        command: the run's command line.
        data: the run's data.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    name = f"runs/{stamp}-{socket.gethostname()}-{os.getpid()}.json"
    about = {"command": command, "data": data}
    try:
        with every(HEARTBEAT_SECONDS, lambda: _write(store, name, monitor, about, "running")):
            yield
    finally:
        counts = monitor.counts()
        ended = not (counts["waiting"] + counts["running"])
        _write(store, name, monitor, about, "ended" if ended else "stopped")


def _write(store: Store, name: str, monitor: Monitor, about: dict[str, str], state: str) -> None:
    """Write the file, from the first trial's start on: a run that never began leaves nothing.

    A disk that is full must not take the sweep down with it.
    """
    if monitor.counts()["waiting"] == len(monitor.trials):
        return
    with monitor.lock:
        trials = {
            trial_id: {
                "title": t.title,
                "state": t.state,
                "phase": t.progress.phase if t.progress else None,
                "done": t.progress.done if t.progress else None,
                "total": t.progress.total if t.progress else None,
                "cause": t.cause,
            }
            for trial_id, t in monitor.trials.items()
        }
    content = {
        **about,
        "state": state,
        "updated": time.time(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "profile": monitor.plan.profile.name,
        "cached": len(monitor.plan.cached),
        "trials": trials,
    }
    with suppress(OSError):
        store.write(name, json.dumps(content).encode())


def last_run(store: Store) -> dict[str, Any] | None:
    """The newest run's file with `alive` added, or None where nothing ran."""
    names = store.names("runs", ".json")
    if not names:
        return None
    content: dict[str, Any] = json.loads(store.read(f"runs/{names[-1]}"))
    fresh = time.time() - content["updated"] < STALE_SECONDS
    content["alive"] = content["state"] == "running" and fresh
    return content
