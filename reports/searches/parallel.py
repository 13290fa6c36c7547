"""Parallel coordinates: a line a point, across its settings to its metrics.

Plotly's own trace drops points that lack a setting, and draws by WebGL, which is no text in SVG.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from camsweep.reports.figures import COLOURS, _style
from camsweep.reports.searches.scales import ASIDE, ROOM, scale_of
from camsweep.reports.searches.studied import Point, Setting, Study
from camsweep.reports.searches.thin import thinned
from camsweep.reports.searches.units import plotted, title_of, unit_of, value_text

#: Lines and settings at most; more are a carpet.
LINES, MOST = 300, 10
#: The best share of the points is drawn in colour.
BEST = 0.1
_LINE = "#8a94a0"  # is seen on the light and on the dark page


def parallel_figure(
    study: Study, metric: int, settings: Sequence[Setting]
) -> tuple[go.Figure, str]:
    """The finished points as lines, the best of one metric in colour; and a note, or "".

    Args:
        study: with its points.
        metric: index into the study's metrics; its best points are coloured.
        settings: the axes from left to right; the first `MOST` are drawn.
    """
    ranked = study.ranked(metric)
    best_few = [p.number for p in ranked[: max(1, math.ceil(BEST * len(ranked)))]]
    leaders, top = set(best_few), set(best_few[: LINES // 3])
    points, note = thinned(study.of("finished"), top, LINES - len(top))
    shown = settings[:MOST]
    scales = [scale_of(setting, points) for setting in shown]
    names = [plotted(setting.name) for setting in shown]
    metrics = [_Metric(study, index, points) for index in range(len(study.metrics))]
    places = {
        p.number: [*(s.of(p) for s in scales), *(m.place(p) for m in metrics)] for p in points
    }
    figure = go.Figure()
    parts = (
        (False, "other points", {"color": _LINE, "width": 1}, 0.45),
        (True, f"best {100 * BEST:.0f} %", {"color": COLOURS[1], "width": 2}, 0.85),
    )
    for best, words, style, opacity in parts:
        xs: list[float | None] = []
        ys: list[float | None] = []
        for point in points:
            if (point.number in leaders) == best:
                xs += [*range(len(places[point.number])), None]
                ys += [*places[point.number], None]
        if xs:
            figure.add_trace(
                go.Scatter(
                    x=xs, y=ys, mode="lines", line=style, opacity=opacity, name=words,
                    hoverinfo="skip",
                )
            )  # fmt: skip
    ticks = [*(s.ticks() for s in scales), *(m.ticks() for m in metrics)]
    titles = [*names, *(plotted(m.title) for m in metrics)]
    unset = any(s.unset for s in scales)
    # All at once: plotly goes through those that are there for each that is added.
    texts = [
        mark
        for index, (title, marks) in enumerate(zip(titles, ticks, strict=True))
        for mark in _axis_of(index, title, marks)
    ]
    line = {"color": _LINE, "width": 1.5}
    lines = [
        {"type": "line", "x0": i, "x1": i, "y0": 0, "y1": 1, "line": line}
        for i in range(len(titles))
    ]
    bottom = ASIDE - ROOM if unset else -ROOM
    figure.update_xaxes(visible=False, range=[-0.35, len(titles) - 0.35], fixedrange=True)
    figure.update_yaxes(visible=False, range=[bottom, 1 + ROOM], fixedrange=True)
    left = len(settings) - len(shown)
    if left:
        note = f"{note} {left} more settings have no axis.".strip()
    _style(figure, 460)
    figure.update_layout(
        annotations=texts,
        shapes=lines,
        margin={"t": 74, "b": 24, "l": 20, "r": 20},
        legend={"y": 1.1},
    )
    return figure, note


class _Metric:
    """The axis of a metric, better on top."""

    def __init__(self, study: Study, index: int, points: Sequence[Point]) -> None:
        values = [p.values[index] for p in points]
        self.index, self.name = index, study.metrics[index]
        self.title = f"{title_of(self.name)}"
        self.unit = unit_of(self.name, values)
        first, last = min(values), max(values)
        self.ends = (first, last) if study.maximised[index] else (last, first)

    def place(self, point: Point) -> float:
        """0 for the worst, 1 for the best."""
        low, high = self.ends
        return 0.5 if low == high else (point.values[self.index] - low) / (high - low)

    def ticks(self) -> list[tuple[float, str]]:
        """Worst, middle and best."""
        low, high = self.ends
        if low == high:
            return [(0.5, plotted(value_text(self.name, low)))]
        return [
            (part, plotted(value_text(self.name, low + part * (high - low))))
            for part in (0.0, 0.5, 1.0)
        ]


def _axis_of(at: int, title: str, ticks: Sequence[tuple[float, str]]) -> list[dict[str, Any]]:
    """The annotations of one axis: its title above, a text at each tick."""
    shared: dict[str, Any] = {"x": at, "showarrow": False}
    found = [{"y": 1 + ROOM, "text": f"<b>{title}</b>", "yanchor": "bottom", **shared}]
    for place, text in ticks:
        mark = {"y": place, "text": text, "xanchor": "left", "xshift": 4, "font": {"size": 11}}
        found.append({**mark, **shared})
    return found
