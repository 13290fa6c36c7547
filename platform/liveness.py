"""Which drivers and holders of leases live, told without trusting anybody's time of day."""

from __future__ import annotations

import time
from dataclasses import dataclass

from camsweep.platform.runfiles import HEARTBEAT_SECONDS, RunFile, read_runs
from camsweep.sweeps.leasing.holders import Holder, holders
from camsweep.sweeps.store import Store

#: Between two looks at those who seem silent.
LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Look:
    """What a store tells of those who work on it.

    Attributes:
        runs: all whose files are there, the oldest first.
        live: names of the runs that go on.
        leases: those whose holders live, by name.
        dead: those whose holders died; whoever wants them takes over.
    """

    runs: tuple[RunFile, ...]
    live: frozenset[str]
    leases: tuple[Holder, ...]
    dead: tuple[Holder, ...]


def look(store: Store) -> Look:
    """Look who works on a store.

    Usually at once. Where a clock (this machine's, the writer's, the server's) says that somebody
    was silent for too long, that is not believed before a beat has failed to come, which takes
    some seconds.

    Raises:
        InputError: a newer camsweep uses the store.
        OSError: it can't be read.
    """
    runs, held = read_runs(store), holders(store)
    silent = _silent_runs(runs) | _silent_leases(held)
    periods = [HEARTBEAT_SECONDS, *(h.seconds / 4 for h in held if h.silent)]
    end = time.monotonic() + 1.5 * max(periods)
    while silent and time.monotonic() < end:
        time.sleep(LOOK_SECONDS)
        runs, held = read_runs(store), holders(store)
        silent &= _silent_runs(runs) | _silent_leases(held)
    return Look(
        tuple(runs),
        frozenset(r.name for r in runs if r.running and _beat_of(r) not in silent and _told(r)),
        tuple(h for h in held if not h.gone and ("lease", h.name, h.beat) not in silent),
        tuple(h for h in held if h.gone or ("lease", h.name, h.beat) in silent),
    )


def _told(run: RunFile) -> bool:
    """Whether a run can be believed; old versions counted no beats, so only clocks tell."""
    return "beat" in run.content or not run.silent


def _beat_of(run: RunFile) -> tuple[str, str, str]:
    return "run", run.name, str(run.content.get("beat"))


def _silent_runs(runs: list[RunFile]) -> set[tuple[str, str, str]]:
    return {_beat_of(r) for r in runs if r.running and r.silent and "beat" in r.content}


def _silent_leases(held: list[Holder]) -> set[tuple[str, str, str]]:
    return {("lease", h.name, h.beat) for h in held if h.silent and not h.gone}
