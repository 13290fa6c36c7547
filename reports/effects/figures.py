"""Figures of effects: dots with intervals, and the words that all figures of effects share.

What is noise is told by shape and pattern, never by colour alone.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import plotly.graph_objects as go

from camsweep.reports.figures import COLOURS, _axis, _style
from camsweep.reports.measure import Estimate
from camsweep.reports.words import bounds

#: Seen on light and on dark.
ZERO = "#8a94a1"
LONGEST = 44
#: Rows that a figure has room for; tables have all.
MOST = 40

KINDS = (
    ("effect", "circle", COLOURS[0], "interval excludes 0"),
    ("noise", "circle-open", COLOURS[0], "noise: interval includes 0"),
    ("one seed", "diamond-open", COLOURS[0], "one seed: noise between trainings unknown"),
)


def short(name: str) -> str:
    """A name as a figure shows it: not too long, and no markup."""
    cut = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
    return html.escape(cut)


def kind_of(estimate: Estimate) -> str:
    """``effect``, ``noise`` or ``one seed``."""
    if estimate.one_seed:
        return "one seed"
    return "noise" if estimate.noise else "effect"


def signed(estimate: Estimate) -> str:
    """``+3.8 [+1.2, +6.4]`` in points."""
    return f"{100 * estimate.mean:+.1f} {bounds(estimate, sign=True)}"


def dots(effects: Sequence[tuple[str, Estimate]], axis: str) -> go.Figure:
    """One row an effect: a dot with its interval, the numbers beside it, and a line at 0.

    Args:
        effects: names and differences, from the top; more than `MOST` are cut.
        axis: what the x axis shows, in points of mIoU.
    """
    shown = effects[:MOST]
    places = list(range(len(shown)))
    figure = go.Figure()
    for kind, symbol, colour, title in KINDS:
        mine = [(y, name, e) for y, (name, e) in enumerate(shown) if kind_of(e) == kind]
        if not mine:
            continue
        means = [100 * e.mean for _, _, e in mine]
        known = [not math.isnan(e.low) for _, _, e in mine]
        ups = [100 * (e.high - e.mean) if k else 0 for (*_, e), k in zip(mine, known, strict=True)]
        downs = [100 * (e.mean - e.low) if k else 0 for (*_, e), k in zip(mine, known, strict=True)]
        figure.add_trace(
            go.Scatter(
                x=means,
                y=[y for y, _, _ in mine],
                mode="markers",
                marker={
                    "symbol": symbol,
                    "size": 10,
                    "color": colour,
                    "line": {"width": 2, "color": colour},
                },
                error_x={
                    "array": ups,
                    "arrayminus": downs,
                    "thickness": 1.5,
                    "width": 4,
                    "color": colour,
                },
                text=[f"{short(name)}: {signed(e)}, seeds: {len(e.seeds)}" for _, name, e in mine],
                hovertemplate="%{text}<extra></extra>",
                name=title,
                showlegend=True,
            )
        )
    for y, (_, e) in zip(places, shown, strict=True):
        figure.add_annotation(
            x=1.01, xref="paper", xanchor="left", y=y, yref="y", text=signed(e), showarrow=False
        )
    figure.update_xaxes(
        **_axis(title_text=axis) | {"zeroline": True, "zerolinecolor": ZERO, "zerolinewidth": 2}
    )
    figure.update_yaxes(
        **_axis(
            tickvals=places,
            ticktext=[short(name) for name, _ in shown],
            range=[len(shown) - 0.4, -0.6],
            showgrid=False,
            ticks="",
        )
    )
    _style(figure, 146 + 30 * len(shown))
    figure.update_layout(margin={"r": 150, "b": 72})
    return figure
