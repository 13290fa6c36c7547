"""A metric against each setting alone, one panel a setting."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from camsweep.reports.figures import COLOURS, _axis, _style
from camsweep.reports.searches.scales import scale_of
from camsweep.reports.searches.studied import Setting, Study
from camsweep.reports.searches.thin import thinned
from camsweep.reports.searches.units import plotted, setting_text, unit_of, with_unit

COLUMNS = 3
#: Panels at most.
MOST = 12
#: Points of a panel at most.
DRAWN = 500
#: How far points of one choice are spread, in widths of a choice.
SPREAD = 0.5


def slice_figure(study: Study, metric: int, settings: Sequence[Setting]) -> tuple[go.Figure, str]:
    """The finished points over each of the settings, the best one marked; and a note, or "".

    Args:
        study: with its points.
        metric: index into the study's metrics.
        settings: in the order of the panels; the first `MOST` are drawn.
    """
    name = study.metrics[metric]
    best = study.ranked(metric)[0]
    points, note = thinned(study.of("finished"), {best.number}, DRAWN)
    unit = unit_of(name, [p.values[metric] for p in points])
    shown = settings[:MOST]
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    figure = make_subplots(
        rows=rows,
        cols=columns,
        shared_yaxes=True,
        horizontal_spacing=0.05,
        vertical_spacing=0.3 / rows,
    )
    for place, setting in enumerate(shown):
        row, col = place // columns + 1, place % columns + 1
        scale = scale_of(setting, points)
        for some, words in ((points, "finished"), ([best], "best")):
            at = [scale.of(p) for p in some]
            if not setting.numeric and words == "finished":
                width = SPREAD / len(setting.choices)
                at = [x + width * (_even(p.number) - 0.5) for x, p in zip(at, some, strict=True)]
            figure.add_trace(
                go.Scatter(
                    x=[scale.data(x) for x in at],
                    y=[unit.of(p.values[metric]) for p in some],
                    mode="markers",
                    marker={
                        "color": COLOURS[0 if words == "finished" else 1],
                        "symbol": "circle" if words == "finished" else "diamond",
                        "size": 6 if words == "finished" else 11,
                        "opacity": 0.55 if words == "finished" else 1.0,
                    },
                    text=[
                        f"point {p.number}: {with_unit(name, p.values[metric])} at "
                        + (
                            plotted(setting_text(p.settings[setting.name]))
                            if setting.name in p.settings
                            else "not set"
                        )
                        for p in some
                    ],
                    hovertemplate="%{text}<extra></extra>",
                    name=words,
                    legendgroup=words,
                    showlegend=place == 0,
                ),
                row=row,
                col=col,
            )
        figure.update_xaxes(
            **_axis(title_text=plotted(setting.name), **scale.axis()), row=row, col=col
        )
    figure.update_yaxes(**_axis())
    for row in range(1, rows + 1):
        figure.update_yaxes(title_text=unit.title, row=row, col=1)
    left = len(settings) - len(shown)
    if left:
        note = f"{note} {left} more settings have no panel.".strip()
    return _style(figure, 60 + 260 * rows), note


def _even(number: int) -> float:
    """0..1, spread evenly over numbers in any order: van der Corput's sequence of base 2."""
    value, part = 0.0, 0.5
    while number:
        value += part * (number & 1)
        number >>= 1
        part /= 2
    return value
