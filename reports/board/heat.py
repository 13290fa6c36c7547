"""IoU of each class for each variant, as a heat map."""

from __future__ import annotations

import html
import math

import numpy as np
import plotly.graph_objects as go

from camsweep.reports.board.drawing import cut, label
from camsweep.reports.board.entry import Leaderboard
from camsweep.reports.exhibit import Drawn
from camsweep.reports.figures import _axis, _style

ROWS = 20
# More classes than this leave no room for a number in each cell.
NUMBERED = 24
# Fewer have room for a decimal and for words.
WIDE = 12
# From light to dark without a turn, so that it reads the same in grey.
SCALE = (
    (0.0, "#eef4fb"),
    (0.25, "#bdd5ea"),
    (0.5, "#7fb0d8"),
    (0.75, "#2f74b3"),
    (1.0, "#08306b"),
)


def class_heat(board: Leaderboard) -> Drawn | None:
    """Variants by classes, IoU in percent; a class that is nowhere is told in words.

    Args:
        board: its best `ROWS` entries whose counts are known are shown.

    Returns:
        None where no entry has counts.
    """
    entries = [e for e in board.entries if e.class_iou][:ROWS]
    if not entries:
        return None
    number = max(len(e.class_iou) for e in entries)
    values = np.full((len(entries), number), np.nan)
    for row, entry in zip(values, entries, strict=True):
        row[: len(entry.class_iou)] = entry.class_iou
    values *= 100
    names = [*board.classes[:number], *map(str, range(len(board.classes), number))]
    numbered = number <= NUMBERED
    low, high = _span(values)
    figure = go.Figure(
        go.Heatmap(
            z=[[None if math.isnan(v) else round(v, 2) for v in row] for row in values.tolist()],
            x=list(range(number)),
            y=list(range(len(entries))),
            colorscale=SCALE,
            zmin=low,
            zmax=high,
            xgap=1,
            ygap=1,
            customdata=[
                [f"{html.escape(e.name)}, {html.escape(name)}" for name in names] for e in entries
            ],
            hovertemplate="%{customdata}: %{z:.1f}<extra></extra>",
            colorbar={
                "title": {"text": "foreground IoU, %", "side": "right"},
                "thickness": 12,
                "outlinewidth": 0,
            },
        )
    )
    if numbered:
        figure.add_traces(_numbers(values, low, high, 1 if number <= WIDE else 0))
    word = "absent" if number <= WIDE else "–"
    # A blank cell could be taken for a low one.
    absent = [
        {"x": x, "y": y, "text": word, "showarrow": False, "font": {"size": 10}}
        for y, x in np.argwhere(np.isnan(values)).tolist()
    ]
    figure.update_layout(annotations=absent)
    small = 12 if numbered else 9
    figure.update_xaxes(
        **_axis(
            tickvals=list(range(number)),
            range=[-0.5, number - 0.5],
            ticktext=[html.escape(cut(name, 18)) for name in names],
            tickangle=-45 if number > 8 else 0,
            tickfont={"size": small},
            side="bottom",
            showgrid=False,
        )
    )
    figure.update_yaxes(
        **_axis(
            tickvals=list(range(len(entries))),
            ticktext=[label(e) for e in entries],
            tickfont={"size": 11},
            range=[len(entries) - 0.5, -0.5],
            showgrid=False,
        )
    )
    _style(figure, 130 + 34 * len(entries))
    figure.update_layout(margin={"t": 12})
    return Drawn("classes", "IoU of each class", _told(values, names), figure)


def _span(values: np.ndarray) -> tuple[float, float]:
    """The ends of the scale: those of the foreground, as the background would take it all."""
    foreground = values[:, 1:]
    known = foreground[np.isfinite(foreground)]
    if not known.size:
        return 0.0, 100.0
    low, high = float(known.min()), float(known.max())
    return (low, high) if high > low else (low - 1, high + 1)


def _numbers(values: np.ndarray, low: float, high: float, digits: int) -> list[go.Scatter]:
    """The cells' numbers in black and in white, whichever reads better on the cell's colour.

    One of the two has a contrast of 4.5 on any colour, which plotly's own grey has not.
    """
    share = np.clip((values - low) / (high - low), 0, 1)
    ends = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for _, c in SCALE]) / 255
    colour = np.stack([np.interp(share, [s for s, _ in SCALE], ends[:, k]) for k in range(3)], -1)
    # Relative luminance of WCAG 2; black and white are even at 0.179.
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    light = linear @ np.array([0.2126, 0.7152, 0.0722]) > 0.179
    found = []
    for ink, mine in (("#000000", light), ("#ffffff", ~light)):
        y, x = np.nonzero(mine & np.isfinite(values))
        found.append(
            go.Scatter(
                x=x.tolist(), y=y.tolist(), mode="text", hoverinfo="skip", showlegend=False,
                text=[f"{values[a, b]:.{digits}f}" for a, b in zip(y, x, strict=True)],
                textfont={"size": 11, "color": ink},
            )
        )  # fmt: skip
    return found


def _told(values: np.ndarray, names: list[str]) -> str:
    best = values[0]
    if np.isnan(best).all():
        return f"IoU of {len(names)} classes for the best {len(values)} variants."
    high, low = int(np.nanargmax(best)), int(np.nanargmin(best))
    return (
        f"IoU of {len(names)} classes for the best {len(values)} variants. The first place is best "
        f"at {names[high]} ({best[high]:.1f} %) and worst at {names[low]} ({best[low]:.1f} %)."
    )
