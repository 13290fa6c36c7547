"""The best places with their intervals, group letters and rank intervals, as a forest plot."""

from __future__ import annotations

import html
import math
from typing import Any

import plotly.graph_objects as go

from camsweep.reports.board.drawing import arms, label
from camsweep.reports.board.entry import Entry, Leaderboard
from camsweep.reports.board.text import interval
from camsweep.reports.exhibit import Drawn
from camsweep.reports.figures import COLOURS, _axis, _style
from camsweep.reports.words import METRIC_TITLES, bounds, percent

ROWS = 30
# Where the two columns of words stand, as shares of the width.
_GROUP, _RANKS = 0.86, 1.0


def forest(board: Leaderboard) -> Drawn | None:
    """The metric with its interval of the best `ROWS` entries; None where there is none.

    One seed is an open marker: its interval covers the images alone, not another training.
    """
    entries = [e for e in board.entries[:ROWS] if math.isfinite(e.estimate.mean)]
    if not entries:
        return None
    figure = go.Figure()
    for one_seed in (False, True):
        some = [(i, e) for i, e in enumerate(entries) if e.estimate.one_seed == one_seed]
        if some:
            figure.add_trace(_points(some, one_seed=one_seed))
    columns = (("group", _GROUP), ("ranks", _RANKS))
    words = []
    for place, entry in enumerate(entries):
        words.append(_words(_GROUP, place, entry.group or "–", bold=True))
        words.append(_words(_RANKS, place, interval(entry.rank_low, entry.rank_high)))
    words += [_words(x, 1, name, yref="paper", yanchor="bottom") for name, x in columns]
    # All at once: plotly checks every annotation again for each that is added.
    figure.update_layout(annotations=words)
    metric = METRIC_TITLES.get(board.metric, board.metric)
    figure.update_xaxes(**_axis(title_text=f"{html.escape(metric)}, %", domain=[0, 0.74]))
    figure.update_yaxes(
        **_axis(
            tickvals=list(range(len(entries))),
            ticktext=[label(e) for e in entries],
            tickfont={"size": 11},
            range=[len(entries) - 0.4, -0.6],
        )
    )
    _style(figure, 110 + 32 * len(entries))
    figure.update_layout(showlegend=any(e.estimate.one_seed for e in entries), margin={"t": 40})
    return Drawn("ranks", "Intervals and groups", _told(metric, entries), figure)


def _words(x: float, y: int, words: str, *, bold: bool = False, **more: str) -> dict[str, Any]:
    text = html.escape(words)
    return {
        "x": x, "y": y, "xref": "paper", "yref": "y", "showarrow": False, "xanchor": "right",
        "text": f"<b>{text}</b>" if bold else text, "font": {"size": 12}, **more,
    }  # fmt: skip


def _points(some: list[tuple[int, Entry]], *, one_seed: bool) -> go.Scatter:
    return go.Scatter(
        x=[100 * e.estimate.mean for _, e in some],
        y=[i for i, _ in some],
        error_x={**arms(e.estimate for _, e in some), "thickness": 2, "width": 4},
        mode="markers",
        marker={
            "size": 9,
            "symbol": "circle-open" if one_seed else "circle",
            "color": COLOURS[0],
            "line": {"width": 2 if one_seed else 0, "color": COLOURS[0]},
        },
        customdata=[
            f"{e.rank}. {html.escape(e.name)}: {percent(e.estimate.mean)} {bounds(e.estimate)}, "
            f"seeds: {len(e.estimate.seeds)}"
            for _, e in some
        ],
        hovertemplate="%{customdata}<extra></extra>",
        name="one seed: interval over images alone" if one_seed else "mean and 95 % interval",
    )


def _told(metric: str, entries: list[Entry]) -> str:
    first, last = entries[0], entries[-1]
    alike = len(first.tied) - 1
    words = f"; {alike} of them not separated from the first" if alike > 0 else ""
    return (
        f"{metric} with 95 % intervals of the best {len(entries)} variants, from {first.name} "
        f"({percent(first.estimate.mean)} %) to {last.name} ({percent(last.estimate.mean)} %)"
        f"{words}."
    )
