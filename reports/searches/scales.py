"""A setting as an axis: where a value stands, with a place of its own for "not set"."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from camsweep.reports.searches.studied import Point, Setting
from camsweep.reports.searches.units import NOT_SET, plotted, setting_text

#: Where "not set" stands, in lengths of the axis.
ASIDE = -0.16
ROOM = 0.06
MOST_TICKS = 12


@dataclass(frozen=True)
class Scale:
    """An axis of a setting, from 0 to 1 in its own length.

    Attributes:
        setting: its range or its choices.
        unset: whether some point lacks it, so that "not set" has a place.
    """

    setting: Setting
    unset: bool

    def unit(self, value: Any) -> float:
        """The place of a value: 0..1 between the ends, `ASIDE` for None (not set)."""
        if value is None:
            return ASIDE
        setting = self.setting
        if not setting.numeric:
            return (setting.index(value) + 0.5) / len(setting.choices)
        low, high, at = self._ends(), self._ends(high=True), float(value)
        if setting.log:
            at = math.log10(at)
        return 0.5 if high <= low else (at - low) / (high - low)

    def of(self, point: Point) -> float:
        """The place of a point on the axis."""
        # A choice may be null, which is not the same as a setting that does not apply.
        if self.setting.name not in point.settings:
            return ASIDE
        value = point.settings[self.setting.name]
        if value is None:
            return (self.setting.index(None) + 0.5) / len(self.setting.choices)
        return self.unit(value)

    def data(self, place: float) -> float:
        """A place in the axis' own numbers: the setting's, or the place itself of a choice."""
        setting = self.setting
        if not setting.numeric:
            return place
        low, high = self._ends(), self._ends(high=True)
        at = low + place * (high - low)
        return float(10.0**at) if setting.log else at

    def ticks(self, most: int = 5) -> list[tuple[float, str]]:
        """Places and their texts, escaped for plotly, "not set" first where there is any."""
        setting = self.setting
        if setting.numeric:
            numbers = _numbers(setting, most)
            found = [(self.unit(n), plotted(setting_text(n))) for n in numbers]
        else:
            step = math.ceil(len(setting.choices) / MOST_TICKS)
            found = [
                ((i + 0.5) / len(setting.choices), plotted(setting_text(choice)))
                for i, choice in enumerate(setting.choices)
                if i % step == 0
            ]
        return [(ASIDE, NOT_SET), *found] if self.unset else found

    def axis(self) -> dict[str, Any]:
        """For plotly, in the axis' own numbers: logarithmic where the setting is."""
        left = ASIDE - ROOM if self.unset else -ROOM
        ends = [self.data(left), self.data(1 + ROOM)]
        log = self.setting.numeric and self.setting.log
        ticks = self.ticks(4)
        return {
            "type": "log" if log else "linear",
            "range": [math.log10(e) for e in ends] if log else ends,
            "tickmode": "array",
            "tickangle": 0,
            "title_standoff": 6,
            "tickvals": [self.data(place) for place, _ in ticks],
            "ticktext": [
                text.replace(NOT_SET, "not<br>set") if p < 0 else text for p, text in ticks
            ],
        }

    def _ends(self, *, high: bool = False) -> float:
        end = self.setting.high if high else self.setting.low
        return math.log10(end) if self.setting.log else float(end)


def scale_of(setting: Setting, points: Sequence[Point]) -> Scale:
    """The axis of a setting for these points."""
    return Scale(setting, any(setting.name not in p.settings for p in points))


def _numbers(setting: Setting, most: int) -> list[float]:
    """Round numbers inside a range, a few; the ends where there are none."""
    low, high = setting.low, setting.high
    if setting.log:
        first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
        decades = [10.0**k for k in range(first, last + 1)]
        if len(decades) > most:
            decades = decades[:: math.ceil(len(decades) / most)]
        found = decades if len(decades) > 2 else _one_two_five(low, high)
        found = found if len(found) > 1 else [low, high]
    else:
        width = high - low
        rough = 10.0 ** math.floor(math.log10(width / most)) if width > 0 else 1.0
        step = next((s * rough for s in (1, 2, 5) if width <= most * s * rough), 10 * rough)
        if setting.whole:
            step = max(1.0, round(step))
        count = math.floor((high - math.ceil(low / step - 1e-9) * step) / step + 1e-9)
        start = math.ceil(low / step - 1e-9)
        found = [float(f"{(start + i) * step:.10g}") for i in range(count + 1)] or [low, high]
    return [int(n) if setting.whole else n for n in found]


def _one_two_five(low: float, high: float) -> list[float]:
    steps = [
        float(f"{digit * 10.0**k:.6g}")
        for k in range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
        for digit in (1, 2, 5)
    ]
    found = [n for n in steps if low * (1 - 1e-9) <= n <= high * (1 + 1e-9)]
    return found if len(found) <= 5 else found[:: math.ceil(len(found) / 5)]
