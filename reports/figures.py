"""Plotly figures: curves with bands and published points, and training losses."""

from __future__ import annotations

import html
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from camsweep.reports.filled import Filled, Line
from camsweep.reports.measure import Estimate
from camsweep.reports.spec import CurveSpec, paper
from camsweep.reports.words import METRIC_TITLES, bounds

# Okabe and Ito's palette without black and yellow, which vanish on one of the two backgrounds.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "cross")
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
GRID = "#d9dee5"
TEXT = "#1b2430"
#: Words and lines of what is missing; read on white and on dark.
HOLE = "#a86a1f"
WIDTH = 900


def _axis(**extra: Any) -> dict[str, Any]:
    return {
        "gridcolor": GRID,
        "linecolor": GRID,
        "zeroline": False,
        "showline": True,
        "ticks": "outside",
        "tickcolor": GRID,
        "automargin": True,
        **extra,
    }


def _style(figure: go.Figure, height: int) -> go.Figure:
    figure.update_layout(
        template="none",
        width=WIDTH,
        height=height,
        font={"family": FONT, "size": 13, "color": TEXT},
        paper_bgcolor="white",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 64, "r": 20, "t": 36, "b": 56},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "xanchor": "left"},
        hoverlabel={"font": {"family": FONT}},
    )
    return figure


def _x(line: Line) -> Any:
    return html.escape(line.name) if line.x is None else line.x


def _runs(lines: Sequence[Line]) -> list[list[Line]]:
    """Measured neighbours: neither line nor band is drawn across a hole."""
    return [
        list(run)
        for measured, run in groupby(lines, key=lambda line: line.values[0].estimate is not None)
        if measured
    ]


def _rgba(colour: str, alpha: float) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def measured_traces(
    xs: Sequence[Any],
    estimates: Sequence[Estimate],
    hover: Sequence[str],
    name: str,
    *,
    first: bool,
) -> tuple[go.Scatter, go.Scatter]:
    """The band and the line of measured neighbours on a curve.

    Args:
        xs: places on the axis.
        estimates: one a place; a single seed gets an open marker.
        hover: one a place, escaped.
        name: of the curve in the legend, escaped.
        first: whether this run of neighbours stands in the legend for all.
    """
    means = np.array([100 * e.mean for e in estimates])
    lows = np.array([100 * (e.mean if np.isnan(e.low) else e.low) for e in estimates])
    highs = np.array([100 * (e.mean if np.isnan(e.high) else e.high) for e in estimates])
    symbols = ["circle-open" if e.one_seed else "circle" for e in estimates]
    band = go.Scatter(
        x=[*xs, *reversed(xs)],
        y=[*highs, *reversed(lows)],
        fill="toself",
        fillcolor=_rgba(COLOURS[0], 0.16),
        mode="lines",
        line={"width": 0},
        hoverinfo="skip",
        name="95 % interval",
        showlegend=first,
        legendgroup="band",
    )
    line = go.Scatter(
        x=xs,
        y=means,
        error_y={
            "array": highs - means,
            "arrayminus": means - lows,
            "thickness": 1,
            "width": 3,
        },
        mode="lines+markers",
        line={"color": COLOURS[0], "width": 2},
        marker={"size": 8, "symbol": symbols},
        text=hover,
        hovertemplate="%{text}<extra></extra>",
        name=name,
        showlegend=first,
        legendgroup="measured",
    )
    return band, line


def _add_measured(figure: go.Figure, filled: Filled, row: int) -> None:
    for index, run in enumerate(_runs(filled.lines)):
        points = [(line, e) for line in run if (e := line.values[0].estimate) is not None]
        hover = [
            f"{html.escape(line.name)}: {100 * e.mean:.1f} {bounds(e)}, seeds: {len(e.seeds)}"
            for line, e in points
        ]
        name = f"measured: {html.escape(filled.selection.profile)}"
        xs, estimates = [_x(line) for line, _ in points], [e for _, e in points]
        for trace in measured_traces(xs, estimates, hover, name, first=index == 0):
            figure.add_trace(trace, row=row, col=1)


def _add_published(figure: go.Figure, filled: Filled, row: int) -> None:
    stated = [line for line in filled.lines if line.values[0].published is not None]
    figure.add_trace(
        go.Scatter(
            x=[_x(line) for line in stated],
            y=[line.values[0].published for line in stated],
            mode="markers+text",
            marker={
                "size": 11,
                "symbol": "diamond-open",
                "color": COLOURS[1],
                "line": {"width": 2},
            },
            text=[f"  {line.values[0].published:.2f}" for line in stated],
            textposition="middle right",
            cliponaxis=False,
            hovertemplate="%{x}: %{y:.2f}<extra>published</extra>",
            name=f"published: {html.escape(paper(filled.spec.paper).measured_on)}",
        ),
        row=row,
        col=1,
    )


def _add_holes(figure: go.Figure, lines: Sequence[Line], log: bool) -> None:
    """A dotted line and the words "not measured" at each point that has no number of ours."""
    for line in lines:
        if line.values[0].estimate is not None:
            continue
        by_value = log and line.x is not None
        # On a log axis plotly takes values for shapes, but exponents for annotations.
        place = line.x if by_value else html.escape(line.name)
        figure.add_shape(
            type="line",
            xref="x",
            yref="y domain",
            x0=place,
            x1=place,
            y0=0,
            y1=1,
            line={"color": HOLE, "width": 1.5, "dash": "dot"},
        )
        figure.add_annotation(
            xref="x",
            yref="y domain",
            x=float(np.log10(line.x)) if log and line.x is not None else place,
            y=0.03,
            yanchor="bottom",
            text="not measured",
            textangle=-90,
            showarrow=False,
            xshift=-9,
            font={"size": 12, "color": HOLE},
        )


def curve(filled: Filled) -> go.Figure:
    """The measured curve with its band and the published points; holes are named gaps.

    On the paper's own data both share one panel; on other data the published points have a panel
    of their own under it, with the same x axis and another y axis: levels can't be compared.
    """
    spec = filled.spec
    if not isinstance(spec, CurveSpec):
        raise TypeError(f"{spec.id} is no curve")
    stated = any(line.values[0].published is not None for line in filled.lines)
    split = stated and not filled.comparable
    rows = 2 if split else 1
    figure = make_subplots(
        rows=rows,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.08,
        row_heights=[0.68, 0.32] if split else [1.0],
    )
    _add_measured(figure, filled, 1)
    if stated:
        _add_published(figure, filled, rows)
    _add_holes(figure, filled.lines, spec.log)
    if spec.log:
        xs = [line.x for line in filled.lines if line.x is not None]
        low, high = np.log10(min(xs)), np.log10(max(xs))
        room = 0.06 * (high - low)
        names = [line.name for line in filled.lines]
        figure.update_xaxes(
            **_axis(type="log", tickvals=xs, ticktext=names, range=[low - room, high + 1.5 * room])
        )
    else:
        names = [html.escape(line.name) for line in filled.lines]
        room = [-0.4, len(names) - 0.4]
        figure.update_xaxes(
            **_axis(type="category", categoryorder="array", categoryarray=names, range=room)
        )
    figure.update_xaxes(title_text=spec.axis, row=rows, col=1)
    title = METRIC_TITLES.get(spec.metric, spec.metric)
    figure.update_yaxes(**_axis(title_text=f"{title}, %"))
    if split:
        # Only two or three points: a little room above and below keeps their numbers readable.
        values = [v for line in filled.lines if (v := line.values[0].published) is not None]
        pad = 0.35 * max(max(values) - min(values), 1.0)
        figure.update_yaxes(
            title_text="paper, %", range=[min(values) - pad, max(values) + pad], nticks=4, row=2
        )
    return _style(figure, 480 if split else 400)


def losses(curves: Sequence[tuple[str, Sequence[int], Sequence[float]]], what: str) -> go.Figure:
    """A loss by epoch: ``(name, epochs from 1, mean loss)`` of each variant.

    Args:
        curves: one a variant.
        what: the loss in words.
    """
    figure = go.Figure()
    for index, (name, epochs, values) in enumerate(curves):
        figure.add_trace(
            go.Scatter(
                x=list(epochs),
                y=list(values),
                mode="lines+markers",
                line={
                    "color": COLOURS[index % len(COLOURS)],
                    "dash": DASHES[(index // len(COLOURS)) % len(DASHES)],
                    "width": 2,
                },
                marker={"symbol": MARKERS[index % len(MARKERS)], "size": 7},
                name=html.escape(name),
            )
        )
    last = max((max(epochs) for _, epochs, _ in curves if epochs), default=1)
    step = next((d for d in (1, 2, 5, 10, 20, 50, 100) if last <= 20 * d), last)
    # Epochs are whole: plotly's own steps may be halves.
    figure.update_xaxes(
        **_axis(title_text="epoch", tick0=0, dtick=step, tickformat="d", range=[0.5, last + 0.5])
    )
    figure.update_yaxes(**_axis(title_text=f"{what}, mean over seeds"))
    _style(figure, 380 + 22 * len(curves))
    figure.update_layout(
        # One a line: names are as long as what sets a variant apart.
        legend={"orientation": "v", "x": 0, "y": -0.22, "yanchor": "top"}
    )
    return figure
