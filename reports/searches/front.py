"""The Pareto front of several metrics: the points that no other beats in everything."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from camsweep.reports.figures import COLOURS, _axis, _style
from camsweep.reports.searches.studied import Point, Study
from camsweep.reports.searches.thin import thinned
from camsweep.reports.searches.units import unit_of, with_unit

#: Pairs of metrics with a panel each.
PAIRS = 6


def on_front(values: NDArray[np.float64], maximised: Sequence[bool]) -> NDArray[np.bool_]:
    """Which rows no other row dominates: ``[N, K] -> [N]``.

    A row dominates another where it is at least as good everywhere and better somewhere, so rows
    that are the same are on the front together.
    """
    losses = values * np.where(np.asarray(maximised), -1.0, 1.0)
    found = np.zeros(len(losses), dtype=bool)
    front = np.empty((0, losses.shape[1]))
    # In this order no later row can dominate an earlier one.
    for index in np.lexsort(losses.T[::-1]):
        row = losses[index]
        if not ((front <= row).all(axis=1) & (front < row).any(axis=1)).any():
            found[index] = True
            front = np.vstack([front, row])
    return found


def front_of(study: Study) -> list[Point]:
    """The finished points on the front, best in the first metric first."""
    ranked = study.ranked()
    if not ranked:
        return []
    inside = on_front(np.array([p.values for p in ranked]), study.maximised)
    return [point for point, on in zip(ranked, inside, strict=True) if on]


def front_figure(study: Study, front: Sequence[Point]) -> tuple[go.Figure, str]:
    """A panel for each pair of metrics, with the front's points marked; and a note, or ""."""
    points, note = thinned(study.of("finished"), {p.number for p in front})
    marked = {p.number for p in front}
    pairs = list(combinations(range(len(study.metrics)), 2))[:PAIRS]
    columns = min(len(pairs), 2)
    rows = -(-len(pairs) // columns)
    figure = make_subplots(
        rows=rows, cols=columns, vertical_spacing=0.18 / rows, horizontal_spacing=0.12
    )
    units = [unit_of(name, [p.values[i] for p in points]) for i, name in enumerate(study.metrics)]
    for place, (x, y) in enumerate(pairs):
        row, col = place // columns + 1, place % columns + 1
        for on, name in ((False, "other points"), (True, "Pareto front")):
            some = [p for p in points if (p.number in marked) == on]
            some.sort(key=lambda p: (p.values[x], p.values[y], p.number))
            figure.add_trace(
                go.Scatter(
                    x=[units[x].of(p.values[x]) for p in some],
                    y=[units[y].of(p.values[y]) for p in some],
                    # A front of three metrics is no line in the picture of two.
                    mode="lines+markers" if on and len(study.metrics) == 2 else "markers",
                    line={"color": COLOURS[1], "width": 1.5, "dash": "dot"},
                    marker={
                        "color": COLOURS[1] if on else COLOURS[0],
                        "symbol": "diamond" if on else "circle",
                        "size": 11 if on else 6,
                        "opacity": 1.0 if on else 0.55,
                    },
                    text=[
                        f"point {p.number}: {with_unit(study.metrics[x], p.values[x])}, "
                        f"{with_unit(study.metrics[y], p.values[y])}"
                        for p in some
                    ],
                    hovertemplate="%{text}<extra></extra>",
                    name=name,
                    legendgroup=name,
                    showlegend=place == 0 and bool(some),
                ),
                row=row,
                col=col,
            )
        for update, index in ((figure.update_xaxes, x), (figure.update_yaxes, y)):
            better = "more" if study.maximised[index] else "less"
            update(
                **_axis(title_text=f"{units[index].title} ({better} is better)"), row=row, col=col
            )
    return _style(figure, 380 * rows + 40), note
