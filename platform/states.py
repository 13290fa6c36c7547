"""The ledger: the state of every trial that a store knows of, by plan, lease or result."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from camsweep.platform.liveness import Look
from camsweep.platform.runfiles import read_plans
from camsweep.sweeps.leasing.holders import Holder
from camsweep.sweeps.store import Store

#: `stopped`: a search ended the trial early. `superseded`: all its cells have newer results.
STATES = ("planned", "leased", "done", "failed", "stopped", "superseded")

#: A cell of a sweep, of one seed, under one profile, data set, `--set` and weights file.
Cell = tuple[str, str, int, str, str, str, str | None]


def ledger_states(store: Store, rows: Iterable[Mapping[str, Any]], seen: Look) -> list[Entry]:
    """The state of every trial.

    * `leased`: somebody who lives holds its lease, and it is not done;
    * `done`, `failed`, `stopped`: as its row says;
    * `planned`: a run whose files are there plans it, going on or not, and nothing else is known;
    * `superseded`: each of its cells has a newer result under another id by now: the recipe of the
      code was raised, or the sweep file or the profile changed. What has failed gives way to any
      newer row, a result only to a result.

    Args:
        store: where the plans are.
        rows: of `load_trials`.
        seen: of `look`.

    Raises:
        InputError: a newer camsweep uses the store.
        OSError: it can't be read.
    """
    known = {record.id: record for record in map(_from_row, rows)}
    newest = _newest(known.values())
    runs: dict[str, list[str]] = {}
    for name, plan in read_plans(store, seen.runs).items():
        for trial in plan["trials"]:
            runs.setdefault(trial["id"], []).append(name)
            known.setdefault(trial["id"], _from_plan(trial, plan))
    held = {h.name: h for h in seen.leases}
    entries = []
    for record in known.values():
        holder = None if record.status == "done" else held.get(record.id)
        state = record.status
        if holder is not None:
            state = "leased"
        elif _is_superseded(record, newest):
            state = "superseded"
        planned_by = tuple(runs.get(record.id, ()))
        entries.append(
            Entry(record.id, state, record.uses, record.seed, record.cause, holder, planned_by)
        )
    return entries


def count_states(entries: Iterable[Entry]) -> dict[str, int]:
    """How many trials are in each state, 0 included."""
    counts = dict.fromkeys(STATES, 0)
    for entry in entries:
        counts[entry.state] = counts.get(entry.state, 0) + 1
    return counts


@dataclass(frozen=True)
class Entry:
    """A trial of the ledger.

    Attributes:
        id: the trial's.
        state: one of `STATES`.
        uses: the (sweep, label) pairs of the cells that it fills.
        seed: its seed.
        cause: why it failed or was stopped.
        holder: who runs it now.
        runs: the names of the runs that plan it.
    """

    id: str
    state: str
    uses: tuple[tuple[str, str], ...]
    seed: int
    cause: str | None = None
    holder: Holder | None = None
    runs: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """How people call it."""
        sweep, label = self.uses[0] if self.uses else ("trial", self.id[:12])
        return f"{sweep} {label} seed {self.seed}"


@dataclass(frozen=True)
class _Record:
    """A trial by its row, or by the first plan that names it; `when` is its row's or plan's."""

    id: str
    status: str
    uses: tuple[tuple[str, str], ...]
    seed: int
    cause: str | None
    when: float
    cells: tuple[Cell, ...]


def _from_row(row: Mapping[str, Any]) -> _Record:
    uses = tuple(zip(row["sweeps"] or (), row["labels"] or (), strict=False))
    seed, data, finished = row["seed"] or 0, row["data_digest"], row["finished"]
    rest = (seed, row["profile"] or "", data or "", _text(dict(row["overrides"] or ())))
    cells = tuple((*use, *rest, row.get("config.weights_sha256")) for use in uses)
    return _Record(
        row["id"],
        row["status"],
        uses,
        seed,
        row["cause"],
        finished.timestamp() if finished else 0.0,
        cells if data else (),  # rows of old failures don't tell what they were of
    )


def _from_plan(trial: Mapping[str, Any], plan: Mapping[str, Any]) -> _Record:
    uses = tuple((str(sweep), str(label)) for sweep, label in trial["uses"])
    rest = (trial["seed"], plan["profile"], plan["data"], _text(trial["overrides"]))
    cells = tuple((*use, *rest, trial["weights"]) for use in uses)
    return _Record(trial["id"], "planned", uses, trial["seed"], None, plan["written"], cells)


def _text(overrides: Mapping[str, str]) -> str:
    return json.dumps(overrides, sort_keys=True)


def _newest(records: Iterable[_Record]) -> dict[tuple[Cell, bool], tuple[float, str]]:
    """When the newest row of each cell ended, and its id: of all rows, and of the done ones."""
    newest: dict[tuple[Cell, bool], tuple[float, str]] = {}
    for record in records:
        for cell in record.cells:
            for key in {(cell, False), (cell, record.status == "done")}:
                newest[key] = max(newest.get(key, (0.0, "")), (record.when, record.id))
    return newest


def _is_superseded(record: _Record, newest: Mapping[tuple[Cell, bool], tuple[float, str]]) -> bool:
    only_done = record.status == "done"
    latest = [newest.get((cell, only_done)) for cell in record.cells]
    return bool(latest) and all(
        one is not None and one[1] != record.id and one[0] > record.when for one in latest
    )
