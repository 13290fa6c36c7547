"""The run's own files in the store, so that others can tell what it plans and where it stands."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from camsweep.platform.background import every
from camsweep.platform.liveness import look
from camsweep.platform.monitor import Monitor
from camsweep.platform.runfiles import (
    HEARTBEAT_SECONDS,
    delete_run,
    new_name,
    prune,
    read_runs,
    write_json,
)
from camsweep.sweeps.leasing.processes import this_process
from camsweep.sweeps.plan import PlannedTrial
from camsweep.sweeps.store import Store


@contextmanager
def ledger(store: Store, monitor: Monitor, command: str, data: str) -> Iterator[None]:
    """Write the run's files at its start, every few seconds, and at its end.

    A run that ends before any of its trials began leaves nothing.

    Args:
        store: where.
        monitor: what is written.
        command: the run's command line.
        data: the run's data.

    Raises:
        InputError: a newer camsweep uses the store.
    """
    prune(store, read_runs(store))
    file = _File(store, monitor, {"command": command, "data": data})
    file.write("running")
    try:
        with every(HEARTBEAT_SECONDS, lambda: file.write("running")):
            yield
    finally:
        counts = monitor.counts()
        ended = not (counts["waiting"] + counts["running"])
        if counts["waiting"] == len(monitor.trials):
            delete_run(store, file.name)
        else:
            file.write("ended" if ended else "stopped")


def last_run(store: Store) -> dict[str, Any] | None:
    """What the newest run told last, with `alive` added, or None where nothing ran.

    Raises:
        InputError: a newer camsweep uses the store.
        OSError: it can't be read.
    """
    seen = look(store)
    if not seen.runs:
        return None
    newest = seen.runs[-1]
    return {**newest.content, "alive": newest.name in seen.live}


def planned_entry(trial: PlannedTrial) -> dict[str, Any]:
    """What a plan's file tells of a trial: enough to know which cells it fills."""
    return {
        "id": trial.id,
        "uses": [list(use) for use in trial.all_uses],
        "seed": trial.config.seed,
        "overrides": {key: str(value) for key, value in trial.overrides.items()},
        "weights": trial.config.weights_sha256,
    }


class _File:
    """The two files of one run."""

    def __init__(self, store: Store, monitor: Monitor, about: dict[str, str]) -> None:
        self.name = new_name()
        self._store = store
        self._monitor = monitor
        self._about = about
        self._beats = itertools.count()
        self._planned = -1

    def write(self, state: str) -> None:
        """Tell where the run stands; never raises for a disk that is full."""
        monitor = self._monitor
        with monitor.lock:
            trials = {
                trial_id: {
                    "title": t.title,
                    "state": t.state,
                    "phase": t.progress.phase if t.progress else None,
                    "done": t.progress.done if t.progress else None,
                    "total": t.progress.total if t.progress else None,
                    "node": t.progress.node if t.progress else None,
                    "cause": t.cause,
                }
                for trial_id, t in monitor.trials.items()
                if t.state in ("running", "failed")
            }
            planned = list(monitor.planned.values())
        content = {
            **self._about,
            "state": state,
            "beat": next(self._beats),
            "updated": time.time(),
            "process": (process := this_process().to_json()),
            "host": process["host"],
            "pid": process["pid"],
            "profile": monitor.plan.profile.name,
            "cached": len(monitor.plan.cached),
            "counts": monitor.counts(),
            "trials": trials,
        }
        # Seeds and search points are planned while the run goes.
        if len(planned) != self._planned and self._write_plan(planned):
            self._planned = len(planned)
        write_json(self._store, f"runs/{self.name}.json", content)

    def _write_plan(self, trials: Sequence[PlannedTrial]) -> bool:
        plan = self._monitor.plan
        content = {
            "run": self.name,
            "written": time.time(),
            "profile": plan.profile.name,
            "data": plan.data_digest,
            "trials": [planned_entry(trial) for trial in trials],
        }
        return write_json(self._store, f"plans/{self.name}.json", content)
