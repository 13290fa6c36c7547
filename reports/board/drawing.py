"""What the leaderboard's figures have in common."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable

from camsweep.reports.board.entry import Entry
from camsweep.reports.measure import Estimate

# Long enough for most names, short enough to leave the figure its half.
LINE, LINES = 34, 2


def label(entry: Entry) -> str:
    """``3. CPN, superpixel S_N=200``, escaped, on at most `LINES` lines that break at commas."""
    lines = [""]
    for part in f"{entry.rank}. {entry.name}".split(", "):
        joined = f"{lines[-1]}, {part}" if lines[-1] else part
        if len(joined) <= LINE or not lines[-1]:
            lines[-1] = joined
        else:
            lines[-1] += ","
            lines.append(part)
    if len(lines) > LINES:
        lines = [*lines[: LINES - 1], lines[LINES - 1] + " …"]
    return "<br>".join(html.escape(cut(line, LINE + 4)) for line in lines)


def cut(text: str, length: int) -> str:
    """Text of at most ``length`` characters."""
    return text if len(text) <= length else text[: length - 1] + "…"


def arms(estimates: Iterable[Estimate]) -> dict[str, list[float]]:
    """Plotly's error bars: how far each interval reaches, in percent; 0 where there is none."""
    found: dict[str, list[float]] = {"array": [], "arrayminus": []}
    for e in estimates:
        known = not math.isnan(e.low)
        found["array"].append(100 * (e.high - e.mean) if known else 0.0)
        found["arrayminus"].append(100 * (e.mean - e.low) if known else 0.0)
    return found
