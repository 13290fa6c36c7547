"""A metric over two numbers at a time, smoothed between the points that were tried."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from camsweep.reports.figures import COLOURS, _axis, _style
from camsweep.reports.searches.scales import Scale
from camsweep.reports.searches.studied import Point, Setting, Study
from camsweep.reports.searches.thin import thinned
from camsweep.reports.searches.units import plotted, unit_of, with_unit

#: The settings whose pairs are drawn, and the points a pair must have.
SETTINGS, FEWEST = 3, 10
#: Points of a panel at most.
DRAWN = 500
#: Places of the picture along each axis.
CELLS = 41
#: Width of the kernel, in lengths of an axis.
WIDTH = 0.1
#: A place farther than this from every point, in lengths of an axis, is left blank.
REACH = 0.15


def smoothed(
    places: NDArray[np.float64], values: NDArray[np.float64], cells: int = CELLS
) -> NDArray[np.float64]:
    """The mean of the points near each place, weighted by a Gaussian of their distance.

    Args:
        places: ``[N, 2]`` in 0..1.
        values: ``[N]``.
        cells: of each side.

    Returns:
        ``[cells (y), cells (x)]``; NaN where no point is near.
    """
    axis = np.linspace(0.0, 1.0, cells)
    # Separable: the weight of a point is that of its column times that of its row.
    columns, rows = (
        np.exp(-0.5 * ((axis[:, None] - places[None, :, i]) / WIDTH) ** 2) for i in (0, 1)
    )
    weight = rows @ columns.T
    mean = (rows * values) @ columns.T / np.maximum(weight, 1e-300)
    nearest = np.full((cells, cells), np.inf)
    for x, y in places:
        far = (axis[:, None] - y) ** 2 + (axis[None, :] - x) ** 2
        np.minimum(nearest, far, out=nearest)
    return np.where(nearest <= REACH**2, mean, np.nan)


def pairs_of(study: Study, order: Sequence[Setting]) -> list[tuple[Setting, Setting]]:
    """The pairs that are drawn: of the first numbers in `order` that enough points have both of."""
    numeric = [s for s in order if s.numeric and s.high > s.low][:SETTINGS]
    return [pair for pair in combinations(numeric, 2) if len(_with(study, pair)) >= FEWEST]


def _with(study: Study, pair: Sequence[Setting]) -> list[Point]:
    return [p for p in study.of("finished") if all(s.name in p.settings for s in pair)]


def contour_figure(
    study: Study, metric: int, pairs: Sequence[tuple[Setting, Setting]]
) -> tuple[go.Figure, str]:
    """A panel for each pair: smoothed levels, the points on them; and a note, or "".

    Args:
        study: with its points.
        metric: index into the study's metrics.
        pairs: of `pairs_of`, one or more.
    """
    name = study.metrics[metric]
    unit = unit_of(name, [p.values[metric] for p in study.of("finished")])
    best = study.ranked(metric)[0]
    columns = min(len(pairs), 2)
    rows = -(-len(pairs) // columns)
    figure = make_subplots(
        rows=rows, cols=columns, horizontal_spacing=0.12, vertical_spacing=0.22 / rows
    )
    fields, notes = [], []
    for pair in pairs:
        some, note = thinned(_with(study, pair), {best.number}, DRAWN)
        notes.append(note)
        scales = [Scale(setting, unset=False) for setting in pair]
        places = np.array([[scale.of(p) for scale in scales] for p in some])
        values = np.array([unit.of(p.values[metric]) for p in some])
        fields.append((some, scales, smoothed(places, values)))
    low = min(float(np.nanmin(field)) for _, _, field in fields)
    high = max(float(np.nanmax(field)) for _, _, field in fields)
    for place, (some, scales, field) in enumerate(fields):
        row, col = place // columns + 1, place % columns + 1
        axis = np.linspace(0.0, 1.0, field.shape[0])
        x, y = scales
        figure.add_trace(
            go.Contour(
                x=[x.data(float(v)) for v in axis],
                y=[y.data(float(v)) for v in axis],
                z=[[None if math.isnan(v) else float(f"{v:.5g}") for v in line] for line in field],
                zmin=low,
                zmax=high if high > low else low + 1e-9,
                colorscale="Cividis",
                reversescale=not study.maximised[metric],
                contours={"coloring": "fill", "showlines": True},
                line={"width": 0.5, "color": "rgba(255,255,255,0.5)"},
                ncontours=12,
                colorbar={"title": {"text": unit.title, "side": "right"}, "thickness": 14},
                showscale=place == 0,
                hoverinfo="skip",
                connectgaps=False,
            ),
            row=row,
            col=col,
        )
        for points, words in ((some, "points"), ([p for p in some if p is best], "best")):
            figure.add_trace(
                go.Scatter(
                    x=[x.data(x.of(p)) for p in points],
                    y=[y.data(y.of(p)) for p in points],
                    mode="markers",
                    marker={
                        "color": "#ffffff" if words == "points" else COLOURS[1],
                        "symbol": "circle" if words == "points" else "diamond",
                        "size": 5 if words == "points" else 11,
                        "line": {"width": 1, "color": "#202020"},
                    },
                    text=[f"point {p.number}: {with_unit(name, p.values[metric])}" for p in points],
                    hovertemplate="%{text}<extra></extra>",
                    showlegend=False,
                ),
                row=row,
                col=col,
            )
        figure.update_xaxes(
            **_axis(title_text=plotted(x.setting.name), **x.axis()), row=row, col=col
        )
        figure.update_yaxes(
            **_axis(title_text=plotted(y.setting.name), **y.axis()), row=row, col=col
        )
    return _style(figure, 60 + 340 * rows), max(notes, key=len)
