"""What a benchmark found, as a table and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    """One measurement divided by its peer's of the same round, and what it should be."""

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
    """

    name: str
    unit: str
    rounds: Mapping[str, tuple[float, ...]]
    ratios: tuple[Ratio, ...]
    notes: tuple[str, ...] = ()


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
    ratios.add_column("goal")
    for what, measured in result.rounds.items():
        values.add_row(what, *_cells(spread(measured)))
    for found in result.ratios:
        what = f"{found.thing} / {found.peer}"
        ratios.add_row(what, *_cells(spread(found.values)), found.goal)
    return values, ratios


def as_json(result: Result) -> dict[str, Any]:
    """The same as plain values, every round included."""
    return {
        "name": result.name,
        "unit": result.unit,
        "values": {what: _plain(measured) for what, measured in result.rounds.items()},
        "ratios": [
            {"of": found.thing, "to": found.peer, "goal": found.goal, **_plain(found.values)}
            for found in result.ratios
        ],
        "notes": list(result.notes),
    }


def _plain(values: tuple[float, ...]) -> dict[str, Any]:
    found = spread(values)
    return {
        "median": found.median,
        "low": found.low,
        "high": found.high,
        "rounds": list(values),
    }


def _cells(found: Spread) -> tuple[str, str]:
    return number(found.median), f"{number(found.low)} to {number(found.high)}"


def number(value: float) -> str:
    """Three significant digits, thousands apart: 1,234 and 12.3 and 0.0123."""
    if value == 0:
        return "0"
    digits = 2 - len(f"{abs(value):.0f}") + 1 if abs(value) >= 1 else _below_one(value)
    return f"{value:,.{max(0, digits)}f}"


def _below_one(value: float) -> int:
    exponent = int(f"{value:e}".partition("e")[2])
    return 2 - exponent
