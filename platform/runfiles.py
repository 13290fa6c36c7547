"""The files by which drivers tell what they plan and where they stand: two for every run.

`runs/RUN.json` is written again every few seconds while a run goes; `plans/RUN.json`, which may be
large, only when its plan grows. A run's name is never used twice.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from camsweep.shards.errors import InputError
from camsweep.sweeps.leasing.processes import process_from
from camsweep.sweeps.store import Store

VERSION = 2
HEARTBEAT_SECONDS = 5.0
#: A run whose file did not change for this long is taken to have died.
STALE_SECONDS = 30.0
#: The files of so many runs that are over are kept; the trials' rows stay for ever.
KEPT_RUNS = 20
DAY = 86400.0


def new_name() -> str:
    """A name for a run; names sort by the time of their start."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
    return f"{stamp}-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"


def write_json(store: Store, name: str, content: dict[str, Any]) -> bool:
    """Write a run's file; whether that worked. A full disk must not take the sweep with it."""
    with suppress(OSError):
        store.write(name, json.dumps({"version": VERSION, **content}).encode())
        return True
    return False


def read_runs(store: Store) -> list[RunFile]:
    """What the drivers last told of their runs, the oldest first.

    Raises:
        InputError: a newer camsweep wrote a file.
        OSError: the store can't be read.
    """
    names = store.names("runs", ".json")
    with ThreadPoolExecutor(8) as pool:
        contents = list(pool.map(lambda name: _read(store, f"runs/{name}"), names))
    return [
        RunFile(name.removesuffix(".json"), content)
        for name, content in zip(names, contents, strict=True)
        if content is not None
    ]


def read_plans(store: Store, runs: Sequence[RunFile]) -> dict[str, dict[str, Any]]:
    """The plan files of these runs, by their names; runs of old versions have none.

    Raises:
        InputError: as by `read_runs`.
        OSError: as by `read_runs`.
    """
    there = set(store.names("plans", ".json"))
    names = [run.name for run in runs if f"{run.name}.json" in there]
    with ThreadPoolExecutor(8) as pool:
        contents = pool.map(lambda name: _read(store, f"plans/{name}.json"), names)
        return {name: c for name, c in zip(names, contents, strict=True) if c is not None}


def prune(store: Store, runs: Iterable[RunFile]) -> None:
    """Delete the files of runs that are over, but of the newest `KEPT_RUNS`."""
    over = [run for run in runs if run.over]
    for run in over[: max(0, len(over) - KEPT_RUNS)]:
        delete_run(store, run.name)


def delete_run(store: Store, name: str) -> None:
    """Delete a run's files."""
    with suppress(OSError):
        store.delete(f"plans/{name}.json")
        store.delete(f"runs/{name}.json")


def _read(store: Store, name: str) -> dict[str, Any] | None:
    """A file's content; None where it was deleted since it was listed, or is no such file."""
    try:
        content = json.loads(store.read(name))
    except (FileNotFoundError, ValueError):
        return None  # nothing depends on it: results are in the rows, claims in the leases
    if not isinstance(content, dict):
        return None
    version = content.get("version", 1)
    if version > VERSION:
        raise InputError(
            f"{store}/{name}: written by a newer camsweep (run files of format {version}, this one "
            f"knows {VERSION}); use that version here, too"
        )
    return content


@dataclass(frozen=True)
class RunFile:
    """What a driver last told of its run.

    Attributes:
        name: the run's.
        content: of its file; what old versions did not write is missing.
    """

    name: str
    content: dict[str, Any]

    @property
    def running(self) -> bool:
        """Whether the run was going on when it last told, and its process may still be there."""
        gone = process_from(self.content.get("process", {})).is_gone()
        return self.content.get("state") == "running" and not gone

    @property
    def silent(self) -> bool:
        """Whether the run seems not to have told anything for long; its clock may differ."""
        return abs(time.time() - float(self.content.get("updated", 0.0))) > STALE_SECONDS

    @property
    def over(self) -> bool:
        """Whether its files are of no use to it any more."""
        age = time.time() - float(self.content.get("updated", 0.0))
        return not self.running or age > DAY
