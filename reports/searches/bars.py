"""The importance of settings as bars with intervals."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from camsweep.reports.figures import COLOURS, TEXT, _axis, _style
from camsweep.reports.searches.importance import Importance
from camsweep.reports.searches.units import plotted, title_of

#: Settings of a panel at most; the rest is in the table of numbers.
MOST = 20


def importance_figure(found: Sequence[Importance]) -> go.Figure:
    """A panel of bars for each metric that has an importance, the largest share on top."""
    shown = [one for one in found if one.shares]
    longest = max(min(len(one.shares), MOST) for one in shown)
    figure = make_subplots(
        rows=len(shown),
        cols=1,
        vertical_spacing=0.22 / len(shown),
        subplot_titles=[plotted(title_of(one.metric)) for one in shown] if len(shown) > 1 else None,
    )
    for row, one in enumerate(shown, start=1):
        shares = one.shares[:MOST]
        names = [plotted(share.name) for share in shares]
        figure.add_trace(
            go.Bar(
                y=names,
                x=[100 * share.size for share in shares],
                orientation="h",
                marker={"color": COLOURS[0], "opacity": 0.75},
                error_x={
                    "array": [100 * (share.high - share.size) for share in shares],
                    "arrayminus": [100 * (share.size - share.low) for share in shares],
                    "thickness": 1.5,
                    "width": 4,
                    "color": TEXT,
                },
                text=[
                    f"{plotted(s.name)}: {100 * s.size:.0f} % "
                    f"[{100 * s.low:.0f}, {100 * s.high:.0f}]"
                    for s in shares
                ],
                textposition="none",
                hovertemplate="%{text}<extra></extra>",
                showlegend=False,
            ),
            row=row,
            col=1,
        )
        # As categories always: a setting's name may look like a number.
        order = {"type": "category", "categoryorder": "array", "categoryarray": names[::-1]}
        figure.update_yaxes(**_axis(**order), row=row, col=1)
    figure.update_xaxes(**_axis(rangemode="tozero"))
    figure.update_xaxes(title_text="share of the importance, %", row=len(shown), col=1)
    figure.update_annotations(font={"size": 13, "color": None})
    return _style(figure, 110 + len(shown) * (50 + 30 * longest))
