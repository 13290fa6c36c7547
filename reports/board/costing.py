"""Quality against cost: which variants no other beats in both."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from camsweep.reports.board.drawing import arms, label
from camsweep.reports.board.entry import Entry, Leaderboard
from camsweep.reports.exhibit import Drawn
from camsweep.reports.figures import COLOURS, MARKERS, _axis, _rgba, _style
from camsweep.reports.known import method_title
from camsweep.reports.words import METRIC_TITLES, bounds, percent

# Points of one look are told apart by the pointer alone; more would only hide each other.
SHOWN = 200


def efficient(costs: Sequence[float], qualities: Sequence[float]) -> list[int]:
    """The places that no other one beats in one and equals in the other, the cheapest first.

    Args:
        costs: lower is better.
        qualities: higher is better; as long as costs.
    """
    order = sorted(range(len(costs)), key=lambda i: (costs[i], -qualities[i], i))
    kept: list[int] = []
    for place in order:
        if not kept or qualities[place] > qualities[kept[-1]]:
            kept.append(place)
    return kept


def cost_of(entries: Sequence[Entry]) -> tuple[str, list[float]]:
    """What a training costs, by the first measure that any entry tells, NaN for the others."""
    for title, values in (
        ("GPU-hours a training", [e.gpu_hours / len(e.trials) for e in entries]),
        ("core-hours a training", [e.cpu_hours / len(e.trials) for e in entries]),
        ("training time, seconds", [e.train_seconds for e in entries]),
    ):
        if any(value > 0 for value in values):
            return title, values
    return "", [math.nan] * len(entries)


def cost_figure(board: Leaderboard) -> Drawn | None:
    """The metric with its interval against the cost of a training, on a logarithmic axis.

    Entries that are better than all cheaper ones are filled, joined and named.

    Returns:
        None where fewer than two entries tell what they cost.
    """
    entries = board.entries[:SHOWN]
    title, costs = cost_of(entries)
    known = [
        (e, c)
        for e, c in zip(entries, costs, strict=True)
        if c > 0 and math.isfinite(e.estimate.mean)
    ]
    if len(known) < 2:
        return None
    best = efficient([c for _, c in known], [e.estimate.mean for e, _ in known])
    figure = go.Figure()
    front = [known[i] for i in best]
    if len(front) > 1:
        figure.add_trace(
            go.Scatter(
                x=[c for _, c in front], y=[100 * e.estimate.mean for e, _ in front], mode="lines",
                line={"shape": "hv", "dash": "dot", "width": 1.5, "color": "#7a8594"},
                hoverinfo="skip", showlegend=False,
            )
        )  # fmt: skip
    others = [pair for i, pair in enumerate(known) if i not in best]
    methods = sorted({e.method for e, _ in known})
    for pair in front:
        figure.add_trace(_points([pair], methods.index(pair[0].method), label(pair[0]), front=True))
    for method in methods:
        look = methods.index(method)
        mine = [pair for pair in others if pair[0].method == method]
        if mine:
            figure.add_trace(_points(mine, look, f"{html.escape(method_title(method))}, others"))
    metric = METRIC_TITLES.get(board.metric, board.metric)
    figure.update_xaxes(**_axis(type="log", title_text=title, **_ticks([c for _, c in known])))
    figure.update_yaxes(**_axis(title_text=f"{html.escape(metric)}, %"))
    rows = len(figure.data)
    _style(figure, 400 + 24 * rows)
    figure.update_layout(
        legend={"orientation": "v", "x": 0, "y": -66 / 330, "yanchor": "top"},
        margin={"t": 16, "b": 70 + 24 * rows},
    )
    return Drawn("cost", "Quality against cost", _told(metric, title, known, front), figure)


def _ticks(costs: Sequence[float]) -> dict[str, Any]:
    """Numbers of a logarithmic axis that stand alone: 20, 50, 100, not 2, 5, 100."""
    low, high = min(costs), max(costs)
    ends = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high < 1000 * low else (1,)
    ticks = [step * 10.0**end for end in ends for step in steps]
    room = max(0.06 * math.log10(high / low), 0.06)
    return {
        "tickvals": ticks,
        "ticktext": [f"{tick:g}" for tick in ticks],
        "range": [math.log10(low) - room, math.log10(high) + 1.5 * room],
    }


def _points(
    pairs: Sequence[tuple[Entry, float]], look: int, name: str, *, front: bool = False
) -> go.Scatter:
    symbol, colour = MARKERS[look % len(MARKERS)], COLOURS[look % len(COLOURS)]
    return go.Scatter(
        x=[c for _, c in pairs],
        y=[100 * e.estimate.mean for e, _ in pairs],
        error_y={
            **arms(e.estimate for e, _ in pairs),
            "thickness": 1.2 if front else 0.6,
            "width": 3 if front else 0,
            "color": colour if front else _rgba(colour, 0.4),
        },
        mode="markers+text" if front else "markers",
        text=[str(e.rank) for e, _ in pairs],
        textposition="top right",
        textfont={"size": 13},
        marker={
            "symbol": symbol if front else f"{symbol}-open",
            "size": 12 if front else 7,
            "color": colour,
            "line": {"width": 1.2},
        },
        customdata=[
            f"{e.rank}. {html.escape(e.name)}: {percent(e.estimate.mean)} {bounds(e.estimate)}"
            for e, _ in pairs
        ],
        hovertemplate="%{customdata}<br>%{x:.3g}<extra></extra>",
        name=name,
    )


def _told(
    metric: str,
    title: str,
    known: Sequence[tuple[Entry, float]],
    front: Sequence[tuple[Entry, float]],
) -> str:
    listed = "; ".join(
        f"{e.rank}. {e.name}, {percent(e.estimate.mean)} % at {c:.3g}" for e, c in front[:6]
    )
    return (
        f"{metric} against {title} of {len(known)} variants. Better than all cheaper ones: {listed}"
        f"{'; …' if len(front) > 6 else ''}."
    )
