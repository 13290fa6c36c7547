"""Figures of a user's own sweep: a curve over one setting, a heat map over two."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import plotly.graph_objects as go

from camsweep.reports.figures import COLOURS, _axis, _style, measured_traces
from camsweep.reports.measure import Estimate
from camsweep.reports.words import bounds, percent

#: An axis whose ends differ by more than this factor is drawn in logarithms.
LOG_FROM = 20.0
# One hue from light to dark: the order is seen in greyscale too.
SCALE = ((0.0, "#f3f7fa"), (0.5, "#8fb8d6"), (1.0, "#0a4c78"))

Points = Sequence[tuple[float, Estimate | None]]


def is_log(values: Sequence[float]) -> bool:
    """Whether an axis with these values is drawn in logarithms."""
    return min(values) > 0 and max(values) / min(values) >= LOG_FROM


def curve(
    points: Points,
    axis: str,
    measured: str,
    published: Mapping[float, float] | None = None,
    on: str = "",
) -> go.Figure:
    """The mIoU over one numeric setting, with its band; a hole is a gap with an open mark below.

    Args:
        points: (value of the setting, estimate or None), in the order of the values.
        axis: name of the setting.
        measured: what the measured curve is called, the profile.
        published: published mIoU in percent by value, of the same data and settings.
        on: what those were measured on.
    """
    figure = go.Figure()
    first = True
    for there, run in groupby(points, key=lambda point: point[1] is not None):
        if not there:
            continue
        known = [(x, e) for x, e in run if e is not None]
        hover = [
            f"{html.escape(axis)} {x:g}: {percent(e.mean)} {bounds(e)}, seeds: {len(e.seeds)}"
            for x, e in known
        ]
        name = f"measured: {html.escape(measured)}"
        xs, estimates = [x for x, _ in known], [e for _, e in known]
        figure.add_traces(list(measured_traces(xs, estimates, hover, name, first=first)))
        first = False
    if published:
        figure.add_trace(
            go.Scatter(
                x=list(published),
                y=list(published.values()),
                mode="markers",
                marker={
                    "size": 11,
                    "symbol": "diamond-open",
                    "color": COLOURS[1],
                    "line": {"width": 2},
                },
                hovertemplate="%{x}: %{y:.2f}<extra>published</extra>",
                name=f"published: {html.escape(on)}",
            )
        )
    values = [x for x, _ in points]
    for x, estimate in points:
        if estimate is None:
            figure.add_vline(x=x, line={"color": "#8a94a1", "dash": "dot", "width": 1})
            # A line takes the value, an annotation on an axis of logarithms its exponent.
            place = math.log10(x) if is_log(values) else x
            figure.add_annotation(
                x=place, y=0.02, yref="paper", yanchor="bottom", textangle=-90, xshift=-8,
                text="not measured", showarrow=False,
            )  # fmt: skip
    figure.update_xaxes(**_axis(title_text=html.escape(axis), **_numeric(values)))
    figure.update_yaxes(**_axis(title_text="mIoU, %"))
    return _style(figure, 400)


def _numeric(values: Sequence[float]) -> dict[str, Any]:
    """Ticks at the values themselves, in logarithms where they span orders of magnitude."""
    texts = [f"{value:g}" for value in values]
    if not is_log(values):
        room = 0.06 * (max(values) - min(values)) or 1.0
        span = [min(values) - room, max(values) + room]
        return {"range": span, "tickvals": list(values), "ticktext": texts}
    low, high = math.log10(min(values)), math.log10(max(values))
    room = 0.06 * (high - low)
    span = [low - room, high + room]
    return {"type": "log", "range": span, "tickvals": list(values), "ticktext": texts}


def heat_map(
    columns: Sequence[str],
    rows: Sequence[str],
    cells: Sequence[Sequence[Estimate | None]],
    axes: tuple[str, str],
) -> go.Figure:
    """The mIoU over two settings, the number and its interval in each cell.

    Args:
        columns: values of the second setting, left to right.
        rows: values of the first setting, top to bottom.
        cells: ``[rows][columns]``; None is a hole and says so.
        axes: names of the second and of the first setting.
    """
    values = [[None if e is None else 100 * e.mean for e in row] for row in cells]
    known = [value for row in values for value in row if value is not None]
    low, high = min(known), max(known)
    figure = go.Figure(
        go.Heatmap(
            x=list(range(len(columns))),
            y=list(range(len(rows))),
            z=values,
            colorscale=[list(stop) for stop in SCALE],
            zmin=low,
            zmax=high if high > low else low + 1.0,
            xgap=2,
            ygap=2,
            colorbar={"title": {"text": "mIoU, %"}, "thickness": 14, "outlinewidth": 0},
            hoverinfo="skip",
        )
    )
    wide = len(columns) <= 8
    words = []
    for y, row in enumerate(cells):
        for x, estimate in enumerate(row):
            # On a cell's own colour; a hole has the page's.
            ink = {} if estimate is None else {"color": _ink(100 * estimate.mean, low, high)}
            text = _cell(estimate, wide)
            words.append({"x": x, "y": y, "showarrow": False, "text": text, "font": ink})
    figure.update_layout(annotations=words)
    labels = [html.escape(name) for name in columns]
    figure.update_xaxes(
        **_axis(
            title_text=html.escape(axes[0]),
            tickvals=list(range(len(columns))),
            ticktext=labels,
            showgrid=False,
        )
    )
    figure.update_yaxes(
        **_axis(
            title_text=html.escape(axes[1]),
            tickvals=list(range(len(rows))),
            ticktext=[html.escape(name) for name in rows],
            range=[len(rows) - 0.5, -0.5],
            showgrid=False,
        )
    )
    return _style(figure, 150 + 56 * len(rows))


def _cell(estimate: Estimate | None, wide: bool) -> str:
    if estimate is None:
        return "not<br>measured"
    interval = f"<br><span style='font-size:11px'>{bounds(estimate)}</span>" if wide else ""
    mark = "<br>one seed" if estimate.one_seed else ""
    return f"<b>{percent(estimate.mean)}</b>{interval}{mark}"


def _ink(value: float, low: float, high: float) -> str:
    """Black or white, whichever stands out more from the colour of a value: at least 4.5 to 1."""
    place = (value - low) / (high - low) if high > low else 0.0
    left, right = (SCALE[0], SCALE[1]) if place <= SCALE[1][0] else (SCALE[1], SCALE[2])
    share = (place - left[0]) / (right[0] - left[0])
    ends = [[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in (left[1], right[1])]
    mixed = [a + share * (b - a) for a, b in zip(*ends, strict=True)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in mixed]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "#ffffff"
