"""The bars of a waterfall: both ends, and each step between them with its interval.

What is noise is told by pattern and in words, never by colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from camsweep.reports.effects.figures import ZERO, kind_of, short
from camsweep.reports.effects.steps import Step
from camsweep.reports.figures import COLOURS, _axis, _style
from camsweep.reports.words import percent

#: Place, base, height, and the interval's reach up and down, in percent.
Bar = tuple[int, float, float, float, float]


def waterfall(steps: Sequence[Step]) -> go.Figure:
    """From the first row to the last: a bar for each end, and one for each step between them.

    Args:
        steps: of `effects.steps.steps_of`; rows that are not measured are named gaps.
    """
    measured = [step for step in steps if step.level is not None]
    ends = [100 * step.level.mean for step in measured if step.level]
    reach = [
        100 * (before + limit)
        for step in measured
        if step.gain and not math.isnan(step.gain.low)
        for before in [step.start]
        for limit in (step.gain.low, step.gain.high)
    ]
    low, high = min([*ends, *reach]), max([*ends, *reach])
    room = 0.12 * max(high - low, 0.5)
    floor = low - 2 * room
    total = f"{measured[-1].name}, total" if len(measured) > 1 else ""
    names = [short(step.name) for step in steps] + ([short(total)] if total else [])
    figure = go.Figure()
    for title, bars, colour, pattern in (
        ("level", _ends(steps, len(names) - 1, floor), ZERO, ""),
        ("gain", _bars(steps, "up"), COLOURS[0], ""),
        ("loss", _bars(steps, "down"), COLOURS[1], "\\"),
        ("noise: interval includes 0", _bars(steps, "noise"), COLOURS[0], "/"),
        ("one seed: noise unknown", _bars(steps, "one seed"), COLOURS[0], "."),
    ):
        if not bars:
            continue
        fill = {"shape": pattern, "fillmode": "overlay", "size": 7, "solidity": 0.35}
        figure.add_trace(
            go.Bar(
                x=[place for place, *_ in bars],
                base=[base for _, base, *_ in bars],
                y=[height for _, _, height, *_ in bars],
                width=0.62,
                marker={
                    # Noise is drawn light under its pattern, so that it doesn't look like a gain.
                    "color": f"rgba({_rgb(colour)},{0.25 if pattern in ('/', '.') else 1})",
                    "line": {"color": colour, "width": 1.5},
                    "pattern": fill if pattern else None,
                },
                name=title,
                hoverinfo="skip",
            )
        )
        if any(up or down for *_, up, down in bars):
            figure.add_trace(_whiskers(bars, colour))
    _labels(figure, steps, total, len(names) - 1, high + room)
    _joins(figure, steps, len(names) - 1 if total else None)
    figure.update_xaxes(
        **_axis(
            tickvals=list(range(len(names))),
            ticktext=names,
            range=[-0.6, len(names) - 0.4],
            showgrid=False,
            ticks="",
        )
    )
    figure.update_yaxes(
        **_axis(title_text="mIoU, % (axis does not begin at 0)", range=[floor, high + 2.4 * room])
    )
    _style(figure, 440)
    figure.update_layout(bargap=0.2, barmode="overlay")
    return figure


def _whiskers(bars: Sequence[Bar], colour: str) -> go.Scatter:
    """The intervals of gains, beside their bars: on a bar they could not be seen."""
    return go.Scatter(
        x=[place + 0.4 for place, *_ in bars],
        y=[base + height for _, base, height, *_ in bars],
        mode="markers",
        marker={"size": 5, "color": colour},
        error_y={
            "array": [up for *_, up, _ in bars],
            "arrayminus": [down for *_, down in bars],
            "thickness": 1.5,
            "width": 4,
            "color": colour,
        },
        hoverinfo="skip",
        showlegend=False,
    )


def _rgb(colour: str) -> str:
    return ",".join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))


def _ends(steps: Sequence[Step], last: int, floor: float) -> list[Bar]:
    """Bars of the first measured row and of the total: (place, base, height, 0, 0)."""
    found = [(i, s) for i, s in enumerate(steps) if s.level is not None]
    if not found:
        return []
    place, first = found[0]
    ends = [(place, first)] + ([(last, found[-1][1])] if len(found) > 1 else [])
    return [(i, floor, 100 * s.level.mean - floor, 0.0, 0.0) for i, s in ends if s.level]


def _bars(steps: Sequence[Step], wanted: str) -> list[Bar]:
    """Bars of the gains of one kind: (place, base, height, up, down), in percent."""
    found = []
    for place, step in enumerate(steps):
        gain = step.gain
        if gain is None:
            continue
        kind = kind_of(gain)
        if (kind if kind != "effect" else "up" if gain.mean > 0 else "down") != wanted:
            continue
        known = not math.isnan(gain.low)
        up, down = (gain.high - gain.mean, gain.mean - gain.low) if known else (0.0, 0.0)
        found.append((place, 100 * step.start, 100 * gain.mean, 100 * up, 100 * down))
    return found


def _labels(figure: go.Figure, steps: Sequence[Step], total: str, last: int, top: float) -> None:
    """Numbers over the bars; a row that isn't measured says so."""
    first = next((i for i, s in enumerate(steps) if s.level is not None), -1)
    texts = []
    for place, step in enumerate(steps):
        if step.level is None:
            texts.append((place, "not<br>measured"))
        elif place == first:
            texts.append((place, f"<b>{percent(step.level.mean)}</b>"))
        elif step.gain is not None:
            kind = kind_of(step.gain)
            mark = "" if kind == "effect" else f"<br>{kind}"
            texts.append((place, f"<b>{100 * step.gain.mean:+.1f}</b>{mark}"))
    ends = [step.level for step in steps if step.level is not None]
    if total and ends:
        texts.append((last, f"<b>{percent(ends[-1].mean)}</b>"))
    for place, text in texts:
        figure.add_annotation(x=place, y=top, yanchor="bottom", text=text, showarrow=False)


def _joins(figure: go.Figure, steps: Sequence[Step], total: int | None) -> None:
    """Thin lines from where a bar ends to where the next begins."""
    found = [(i, 100 * s.level.mean) for i, s in enumerate(steps) if s.level is not None]
    places = [*(i for i, _ in found), *([total] if total is not None else [])]
    for index, (place, level) in enumerate(found):
        if index + 1 < len(places):
            figure.add_shape(
                type="line",
                x0=place,
                x1=places[index + 1],
                y0=level,
                y1=level,
                line={"color": ZERO, "width": 1, "dash": "dot"},
                layer="below",
            )
