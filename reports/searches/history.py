"""How a search went: every point by its number, and the best so far."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from camsweep.reports.figures import COLOURS, GRID, _axis, _style
from camsweep.reports.searches.studied import Point, State, Study
from camsweep.reports.searches.thin import thinned
from camsweep.reports.searches.units import unit_of, with_unit

#: Points without a value stand in a strip of their own below, a line each kind.
WITHOUT: tuple[tuple[State, str, str], ...] = (
    ("stopped", "stopped early", "line-ns-open"),
    ("failed", "failed", "x"),
    ("running", "not ended", "circle-open"),
)


def improvements(study: Study, metric: int) -> list[Point]:
    """The finished points that were better than all before, by number."""
    found: list[Point] = []
    for point in study.of("finished"):
        value = point.values[metric]
        if not found:
            found.append(point)
            continue
        best = found[-1].values[metric]
        if value > best if study.maximised[metric] else value < best:
            found.append(point)
    return found


def history_figure(study: Study) -> tuple[go.Figure, str]:
    """A panel for each metric and a strip of the points without a value; and a note, or ""."""
    metrics = range(len(study.metrics))
    better = [improvements(study, metric) for metric in metrics]
    keep = {p.number for some in better for p in some}
    points, note = thinned(study.of("finished"), keep)
    strips = [(s, name, symbol) for s, name, symbol in WITHOUT if study.of(s)]
    rows = len(study.metrics) + bool(strips)
    heights = [1.0] * len(study.metrics) + [0.08 + 0.09 * len(strips)] * bool(strips)
    figure = make_subplots(
        rows=rows, cols=1, shared_xaxes=True, vertical_spacing=0.05, row_heights=heights
    )
    for metric in metrics:
        _add_metric(figure, study, metric, points, better[metric])
    last = max((p.number for p in study.points), default=0)
    room = max(1.0, 0.02 * last)
    figure.update_xaxes(**_axis(range=[-room, last + room]))
    figure.update_xaxes(title_text="number of the point", row=rows, col=1)
    if strips:
        for state, name, symbol in strips:
            some, _ = thinned(study.of(state))
            figure.add_trace(
                go.Scatter(
                    x=[p.number for p in some],
                    y=[name] * len(some),
                    mode="markers",
                    marker={
                        "symbol": symbol,
                        "size": 8,
                        "color": COLOURS[3],
                        "line": {"width": 1.5},
                    },
                    hovertemplate="point %{x}: %{y}<extra></extra>",
                    showlegend=False,
                ),
                row=rows,
                col=1,
            )
        names = [name for _, name, _ in reversed(strips)]
        figure.update_yaxes(
            **_axis(type="category", categoryorder="array", categoryarray=names),
            range=[-0.6, len(names) - 0.4],
            row=rows,
            col=1,
        )
    return _style(figure, 150 + 250 * len(study.metrics) + 30 * len(strips)), note


def _add_metric(
    figure: go.Figure, study: Study, metric: int, points: Sequence[Point], better: Sequence[Point]
) -> None:
    name = study.metrics[metric]
    unit = unit_of(name, [p.values[metric] for p in points])
    row = metric + 1
    for known, words in ((False, "finished"), (True, "known before")):
        some = [p for p in points if p.known == known]
        if not some:
            continue
        figure.add_trace(
            go.Scatter(
                x=[p.number for p in some],
                y=[unit.of(p.values[metric]) for p in some],
                mode="markers",
                marker={
                    "color": COLOURS[2] if known else COLOURS[0],
                    "symbol": "diamond-open" if known else "circle",
                    "size": 7,
                    "opacity": 0.7,
                },
                text=[f"point {p.number}: {with_unit(name, p.values[metric])}" for p in some],
                hovertemplate="%{text}<extra></extra>",
                name=words,
                legendgroup=words,
                showlegend=metric == 0,
            ),
            row=row,
            col=1,
        )
    if better:
        last = max(p.number for p in study.points)
        figure.add_trace(
            go.Scatter(
                x=[*(p.number for p in better), last],
                y=[unit.of(p.values[metric]) for p in (*better, better[-1])],
                mode="lines",
                line={"color": COLOURS[1], "width": 2, "shape": "hv"},
                hoverinfo="skip",
                name="best so far",
                legendgroup="best",
                showlegend=metric == 0,
            ),
            row=row,
            col=1,
        )
    figure.update_yaxes(**_axis(title_text=unit.title, gridcolor=GRID), row=row, col=1)
