"""Which of many points a figure draws: the leaders all, the rest evenly by number."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from camsweep.reports.searches.studied import Point

#: More points than this make files large and are not told apart anyway.
MOST = 1000


def thinned(
    points: Sequence[Point], keep: Collection[int] = (), most: int = MOST
) -> tuple[list[Point], str]:
    """At most about `most` points, in order, and the words for it.

    Args:
        points: by number.
        keep: numbers of points that must stay.
        most: how many may be drawn beside those kept.

    Returns:
        The points, and a sentence that says that some are left out; empty where none is.
    """
    if len(points) <= most:
        return list(points), ""
    kept = set(keep)
    stride = len(points) / most
    even = {points[int(i * stride)].number for i in range(most)}
    chosen = [p for p in points if p.number in kept or p.number in even]
    return chosen, f"{len(chosen):,} of {len(points):,} points are drawn, evenly by number."
