"""Metrics and settings as people read them: percent, minutes, MiB, `56,112`."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from camsweep.reports.words import METRIC_TITLES, duration, memory, percent, scaled
from camsweep.sweeps.search import is_cost
from camsweep.sweeps.spec import format_value

NOT_SET = "not set"
#: Longer texts of values are cut in figures; tables have them whole.
LONGEST = 24
_TITLES = {
    "train_seconds": "training time",
    "peak_memory_bytes": "peak memory",
    "parameters": "parameters",
}


@dataclass(frozen=True)
class Unit:
    """How a metric is drawn.

    Attributes:
        title: of its axis, with the unit.
        factor: what values are multiplied by.
    """

    title: str
    factor: float

    def of(self, value: float) -> float:
        """A value in this unit."""
        return value * self.factor


def title_of(metric: str) -> str:
    """A metric's name for people."""
    return METRIC_TITLES.get(metric) or _TITLES.get(metric) or metric


def unit_of(metric: str, values: Sequence[float]) -> Unit:
    """The unit in which the largest of the values is a small number.

    Args:
        metric: its name says what it is: seconds, bytes, a count, else a share of 1.
        values: those that are drawn; may be empty.
    """
    largest = max(map(abs, values), default=0.0)
    title = title_of(metric)
    steps: tuple[tuple[float, float, str], ...]
    if metric.endswith("seconds"):
        steps = ((7200.0, 3600.0, "h"), (120.0, 60.0, "min"), (0.0, 1.0, "s"))
    elif metric.endswith("_bytes"):
        powers = ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB"))
        sizes = ((2.0**power, name) for power, name in powers)
        steps = (*((size, size, name) for size, name in sizes), (0.0, 1.0, "B"))
    elif metric == "parameters":
        steps = ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e3, 1e3, "k"), (0.0, 1.0, ""))
    else:
        return Unit(f"{title}, %", 100.0)
    size, name = next((size, name) for least, size, name in steps if largest >= least)
    return Unit(f"{title}, {name}" if name else title, 1.0 / size)


def value_text(metric: str, value: float) -> str:
    """``43.2`` (percent), ``12 min``, ``668 MiB``."""
    if not math.isfinite(value):
        return "no number"
    if metric.endswith("seconds"):
        return duration(value)
    if metric.endswith("_bytes"):
        return memory(value)
    return scaled(value) if metric == "parameters" else percent(value)


def with_unit(metric: str, value: float) -> str:
    """``43.2 %``, ``12 min``, ``668 MiB``."""
    text = value_text(metric, value)
    return text if is_cost(metric) else f"{text} %"


def setting_text(value: Any) -> str:
    """A setting's value as labels have it; numbers to five digits."""
    if isinstance(value, float):
        return f"{value:.5g}"
    return "null" if value is None else format_value(value)


def plotted(text: str) -> str:
    """Any text for plotly, which reads tags: cut to `LONGEST` and escaped.

    Quotes stay: plotly knows no entity for them, and they are harmless outside of tags.
    """
    short = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return html.escape(short, quote=False)
