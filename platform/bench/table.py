"""What a benchmark found, as a table and as JSON."""

from __future__ import annotations

import operator
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Spread:
    """Median, smallest and largest value over the rounds."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Ratio:
    """One measurement divided by its peer's of the same round, and what it should be.

    A goal is "at least", "above", "at most" or "under" and a number, or empty.
    """

    thing: str
    peer: str
    values: tuple[float, ...]
    goal: str


@dataclass(frozen=True)
class Result:
    """What one benchmark found.

    Attributes:
        name: of the benchmark.
        unit: of the measured values.
        rounds: by what was measured: one value a round.
        ratios: between them.
        notes: lines on what was measured and how.
        goals: what the median of a measured value itself should be, by name.
    """

    name: str
    unit: str
    rounds: Mapping[str, tuple[float, ...]]
    ratios: tuple[Ratio, ...]
    notes: tuple[str, ...] = ()
    goals: Mapping[str, str] = field(default_factory=dict)


_COMPARED = {
    "at least": operator.ge,
    "above": operator.gt,
    "at most": operator.le,
    "under": operator.lt,
}


def met(value: float, goal: str) -> bool | None:
    """Whether a median reaches its goal, such as "at most 1.3"; None where there is none.

    Raises:
        ValueError: the goal is written otherwise.
    """
    if not goal:
        return None
    words, _, number = goal.rpartition(" ")
    if words not in _COMPARED:
        raise ValueError(f"a goal is one of {', '.join(_COMPARED)} and a number, not '{goal}'")
    return bool(_COMPARED[words](value, float(number)))


def spread(values: Sequence[float]) -> Spread:
    """Median and range of at least one value."""
    return Spread(statistics.median(values), min(values), max(values))


def ratio(rounds: Mapping[str, Sequence[float]], thing: str, peer: str, goal: str = "") -> Ratio:
    """``thing / peer``, round by round: what slows a whole round cancels out."""
    pairs = zip(rounds[thing], rounds[peer], strict=True)
    return Ratio(thing, peer, tuple(ours / theirs for ours, theirs in pairs), goal)


def tables(result: Result) -> tuple[Table, Table]:
    """The measured values, and the ratios between them."""
    from rich.table import Table

    values = Table(title=f"{result.name}: {result.unit}", title_justify="left")
    ratios = Table(title=f"{result.name}: ratios in one run", title_justify="left")
    for table in (values, ratios):
        table.add_column("what")
        for column in ("median", "range"):
            table.add_column(column, justify="right")
        for column in ("goal", "met"):
            table.add_column(column)
    for what, measured in result.rounds.items():
        values.add_row(what, *_cells(measured, result.goals.get(what, "")))
    for found in result.ratios:
        what = f"{found.thing} / {found.peer}"
        ratios.add_row(what, *_cells(found.values, found.goal))
    return values, ratios


def as_json(result: Result) -> dict[str, Any]:
    """The same as plain values, every round included."""
    return {
        "name": result.name,
        "unit": result.unit,
        "values": {
            what: _plain(measured, result.goals.get(what, ""))
            for what, measured in result.rounds.items()
        },
        "ratios": [
            {"of": found.thing, "to": found.peer, **_plain(found.values, found.goal)}
            for found in result.ratios
        ],
        "notes": list(result.notes),
    }


def _plain(values: tuple[float, ...], goal: str) -> dict[str, Any]:
    found = spread(values)
    return {
        "median": found.median,
        "low": found.low,
        "high": found.high,
        "rounds": list(values),
        "goal": goal,
        "met": met(found.median, goal),
    }


def _cells(values: tuple[float, ...], goal: str) -> tuple[str, str, str, str]:
    found = spread(values)
    return number(found.median), span(found), goal, VERDICTS[met(found.median, goal)]


def span(found: Spread) -> str:
    """The range in words: 1.2 to 3.4."""
    return f"{number(found.low)} to {number(found.high)}"


#: How it is told whether a goal is met.
VERDICTS = {True: "yes", False: "no", None: ""}


def number(value: float) -> str:
    """Three significant digits, thousands apart: 1,234 and 12.3 and 0.0123."""
    if value == 0:
        return "0"
    digits = 2 - len(f"{abs(value):.0f}") + 1 if abs(value) >= 1 else _below_one(value)
    return f"{value:,.{max(0, digits)}f}"


def _below_one(value: float) -> int:
    exponent = int(f"{value:e}".partition("e")[2])
    return 2 - exponent
