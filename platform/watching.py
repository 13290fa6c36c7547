"""A report that is written again whenever its store changed, while a sweep fills the store.

It only reads the store, as any report does: whole files that were put there under their names.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import pyarrow as pa

from camsweep.platform.liveness import look
from camsweep.platform.states import count_states, ledger_states
from camsweep.reports.build import Request, check, gather, publish, write_page
from camsweep.reports.report import Report
from camsweep.shards.errors import InputError
from camsweep.sweeps.results import load_trials
from camsweep.sweeps.store import Store

#: A page is read again no more often than that: its reader shall be able to read.
PAGE_SECONDS = 5
#: What the ledger needs of a trial's row.
_COLUMNS = (
    "id", "status", "sweeps", "labels", "seed", "cause", "profile", "data_digest", "finished",
    "overrides", "config.weights_sha256",
)  # fmt: skip
Say = Callable[[str], object]
#: What changes with the store's results: file names with the times they were written.
Mark = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Standing:
    """Where a store stands.

    Attributes:
        runs: how many drivers told of a run, going on or not.
        live: how many of them go on.
        counts: trials by state, as `states.count_states` gives them.
    """

    runs: int
    live: int
    counts: dict[str, int]

    @property
    def rows(self) -> int:
        """How many trials ended, well or not."""
        return sum(self.counts.get(state, 0) for state in ("done", "failed", "superseded"))

    def text(self, before: Standing | None) -> str:
        """``12 of 30 trials done (2 new), 1 failed, 3 running``."""
        done, failed, running = (self.counts.get(s, 0) for s in ("done", "failed", "leased"))
        total = done + failed + running + self.counts.get("planned", 0)
        new = done - before.counts.get("done", 0) if before else 0
        words = f"{done} of {total} trials done" + (f" ({new} new)" if new > 0 else "")
        rest = ((failed, "failed"), (running, "running"))
        return ", ".join([words, *(f"{number} {what}" for number, what in rest if number)])


def mark(store: Store) -> Mark:
    """What to compare to find out whether there are other results than before; two listings."""
    folders = ("trials", "repeats")
    found = ((f"{f}/{name}", when) for f in folders for name, when in store.times(f).items())
    return tuple(sorted(found))


def standing(store: Store) -> Standing:
    """Where a store stands.

    Raises:
        InputError: a newer camsweep uses the store.
        OSError: it can't be read.
    """
    seen = look(store)
    table = load_trials(store)
    names = [name for name in _COLUMNS if name in table.column_names]
    entries = ledger_states(store, table.select(names).to_pylist(), seen)
    return Standing(len(seen.runs), len(seen.live), count_states(entries))


def watch(
    request: Request,
    seconds: int,
    say: Say,
    *,
    until_done: bool = False,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Write a report again whenever its store changed, until Ctrl-C.

    A store that is not there yet, has no results yet or can't be read is waited for. The page has
    its browser read it again; the last one, which stays, has not.

    Args:
        request: of the report; without formats it is the page alone.
        seconds: between two looks at the store; longer where writing the report takes longer, so
            that no more than half of the time is taken from the sweep.
        say: gets one line for each time that the report was written, and for what hinders it.
        until_done: end when no driver works on the store any more and all is in the report.
        sleep: waits so many seconds.

    Raises:
        InputError: no such artefact, or no folder to write to.
    """
    check(request)
    if request.formats is None:
        request = replace(request, formats=("html",))
    watcher = _Watcher(request, seconds, say)
    try:
        while True:
            begun = time.monotonic()
            if watcher.turn() and until_done:
                break
            sleep(max(float(seconds), time.monotonic() - begun))
    except KeyboardInterrupt:
        say("stopped watching")
    finally:
        if watcher.report is not None and "html" in (request.formats or ()):
            write_page(watcher.report, request)


class _Watcher:
    """What was seen and said so far."""

    def __init__(self, request: Request, seconds: int, say: Say) -> None:
        self.report: Report | None = None
        self._request = request
        self._refresh = max(seconds, PAGE_SECONDS)
        self._say = say
        self._store = Store(request.store)
        self._mark: Mark | None = None
        self._before: Standing | None = None
        self._said: set[str] = set()
        self._over = False

    def turn(self) -> bool:
        """Look once; whether the sweep is over and all of it in the report."""
        try:
            return self._look()
        except InputError as error:
            self._once(f"waiting: {error}")
        except (OSError, pa.ArrowException) as error:
            # A file may go while it is read, a server may not answer: the next look may see it.
            self._once(f"waiting: {' '.join(str(error).split())}")
        return False

    def _look(self) -> bool:
        # First who works, then what there is: whoever ends in between has written all of it.
        now = standing(self._store)
        found = mark(self._store)
        if not found:
            self._once(f"no results in {self._store} yet; waiting")
        elif found != self._mark:
            self.report = gather(self._request, self._once)
            written = publish(self.report, self._request, self._once, self._refresh)
            self._mark = found
            when = time.strftime("%H:%M:%S")
            self._say(f"{when} {now.text(self._before)}: {written[0]}")
            self._before = now
        return self._ended(now, bool(found))

    def _ended(self, now: Standing, results: bool) -> bool:
        over = not now.live and (results or now.runs > 0)
        if over and not self._over:
            self._say(f"no sweep is running any more: {now.text(None)}")
        self._over = over
        return over

    def _once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._say(line)
