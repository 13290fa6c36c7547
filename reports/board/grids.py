"""The leaderboard as tables of text."""

from __future__ import annotations

import math

from camsweep.reports.board.entry import Entry, Leaderboard
from camsweep.reports.board.ranking import DETAILED
from camsweep.reports.board.text import interval, leaderboard_caption
from camsweep.reports.counted import LARGE, SMALL
from camsweep.reports.exhibit import Grid
from camsweep.reports.measure import Estimate
from camsweep.reports.words import (
    BLANK,
    METRIC_TITLES,
    duration,
    measured,
    memory,
    percent,
    scaled,
)

BETTER = "P(better than next)"
# Of a leaderboard without entries.
_HEADERS = ("variant", "metric", "group", "seeds", "in")


def _short(estimate: Estimate | None) -> str:
    return BLANK if estimate is None else percent(estimate.mean)


def _chance(value: float) -> str:
    return BLANK if math.isnan(value) else f"{value:.2f}"


def _hours(value: float) -> str:
    """Three figures, so that minutes and months can be read."""
    return BLANK if math.isnan(value) else f"{value:.3g}"


def _main(e: Entry) -> dict[str, str]:
    more = f" +{len(e.labels) - 1}" if len(e.labels) > 1 else ""
    return {
        "variant": e.name,
        "metric": measured(e.estimate),
        "ranks": interval(e.rank_low, e.rank_high),
        "group": e.group or "not tested",
        BETTER: _chance(e.better),
        "background": _short(e.background),
        "foreground": _short(e.foreground),
        "seeds": str(len(e.trials)),
        "train": duration(e.train_seconds),
        "GPU-hours": _hours(e.gpu_hours),
        "core-hours": _hours(e.cpu_hours),
        "images/s": scaled(e.images_per_second),
        "peak memory": memory(e.peak_memory),
        "parameters": scaled(e.parameters),
        "in": (e.labels or (BLANK,))[0] + more,
        "repeated": e.repeated.text() if e.repeated else BLANK,
    }


def _objects(e: Entry) -> dict[str, str]:
    return {
        "variant": e.name,
        "precision": measured(e.precision),
        "recall": measured(e.recall),
        "small": measured(e.small),
        "medium": measured(e.medium),
        "large": measured(e.large),
    }


def _rest(board: Leaderboard, shown: int) -> tuple[str, ...]:
    more = len(board.entries) - shown
    return (f"{more:,} more in the CSV and JSON.",) if more > 0 else ()


def leaderboard_grid(board: Leaderboard, limit: int | None = DETAILED) -> Grid:
    """The leaderboard as a table of text; columns in which nothing is known are left out.

    Args:
        board: what is shown.
        limit: rows at most, as thousands help nobody; None for all.
    """
    entries = board.entries[:limit]
    rows = [_main(e) for e in entries]
    dropped = {
        name
        for name in ("GPU-hours", "core-hours", "repeated", BETTER)
        if all(row[name] == BLANK for row in rows)
    }
    names = [name for name in (rows[0] if rows else _HEADERS) if name not in dropped]
    title = METRIC_TITLES.get(board.metric, board.metric)
    headers = ("#", *(title if name == "metric" else name for name in names))
    cells = tuple(
        (str(e.rank), *(row[name] for name in names)) for e, row in zip(entries, rows, strict=True)
    )
    return Grid(board.title, leaderboard_caption(board), headers, cells, _rest(board, len(entries)))


def objects_grid(board: Leaderboard, limit: int | None = DETAILED) -> Grid | None:
    """Precision, recall and object sizes; None where no entry's counts are known.

    Args:
        board: what is shown.
        limit: rows at most; None for all.
    """
    entries = [e for e in board.entries[:limit] if e.precision is not None]
    if not entries:
        return None
    rows = [_objects(e) for e in entries]
    about = (
        "Precision and recall: mean over the foreground classes, from counts summed over the set. "
        "Small, medium and large: mean foreground IoU over the regions of a class in an image that "
        f"cover less than {100 * SMALL:g} %, up to {100 * LARGE:g} % and more of its labelled "
        "pixels. "
        f"Data set {board.selection.data}, profile {board.selection.profile}; mean over seeds and "
        "95 % interval, in percent."
    )
    cells = tuple((str(e.rank), *row.values()) for e, row in zip(entries, rows, strict=True))
    shown = len(board.entries[:limit])
    return Grid(
        f"{board.title}: precision, recall, object sizes",
        about, ("#", *rows[0]), cells, _rest(board, shown),
    )  # fmt: skip
