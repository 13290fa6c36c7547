"""The leaderboard's page: its tables, one for each data set and profile, and their controls."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from camsweep.reports.board.entry import Entry, Leaderboard
from camsweep.reports.board.text import leaderboard_caption
from camsweep.reports.exhibit import Exhibit
from camsweep.reports.markup import Html, join, tag
from camsweep.reports.site.cards import plot, region
from camsweep.reports.site.columns import SETS, Column, columns
from camsweep.reports.site.layout import anchor
from camsweep.reports.words import METRIC_TITLES, counted

#: Rows in the page, of all boards together: thousands help nobody, and the CSV has them all.
SHOWN = 500


def shares(sizes: Sequence[int], total: int = SHOWN) -> list[int]:
    """How many rows of each board are shown: alike, and what small boards leave goes to large."""
    given = [0] * len(sizes)
    for place, index in enumerate(sorted(range(len(sizes)), key=lambda i: sizes[i])):
        given[index] = min(sizes[index], total // (len(sizes) - place))
        total -= given[index]
    return given


def _sortable(value: float | str) -> str:
    """What a cell is sorted by; empty for what is not known, which comes last."""
    if isinstance(value, str):
        return value
    return "" if math.isnan(value) else repr(value)


def _head(column: Column) -> Html:
    arrow = tag("span", class_="arrow", aria_hidden="true")
    name = column.title.replace("-", "\u00ad")
    button = tag("button", name, arrow, type="button", title=column.about)
    return tag(
        "th", button, scope="col", class_=_classes(column), data_key=column.key,
        data_first="descending" if column.high else "ascending",
        aria_sort="ascending" if column.key == "rank" else None,
    )  # fmt: skip


def _classes(column: Column) -> str | None:
    names = [f"set-{column.set}" if column.set else "", "left" if column.left else ""]
    return " ".join(filter(None, names)) or None


def _row(entry: Entry, shown: Sequence[Column]) -> Html:
    cells = []
    for column in shown:
        name = "th" if column.key == "variant" else "td"
        cells.append(
            tag(name, column.cell(entry), class_=_classes(column),
                scope="row" if name == "th" else None,
                data_v=_sortable(column.value(entry)))
        )  # fmt: skip
    return tag(
        "tr", *cells, data_method=entry.method, data_backbone=entry.backbone,
        data_stage=entry.stage, data_seeds=len(entry.trials),
        data_find=" ".join((entry.name, *entry.labels)).lower(),
    )  # fmt: skip


def _table(board: Leaderboard, entries: Sequence[Entry]) -> Html:
    ends = [
        value
        for e in entries
        for value in (e.estimate.low, e.estimate.high, e.estimate.mean)
        if not math.isnan(value)
    ]
    title = METRIC_TITLES.get(board.metric, board.metric)
    shown = columns(title, min(ends, default=0.0), max(ends, default=1.0))
    whole = tag(
        "table",
        tag("caption", f"Leaderboard: {board.key}", class_="hidden"),
        tag("thead", tag("tr", *map(_head, shown))),
        tag("tbody", *(_row(e, shown) for e in entries)),
        class_="board", data_set="quality",
    )  # fmt: skip
    return region(f"Leaderboard: {board.key}", whole)


def _figures(ranked: Exhibit, index: int) -> list[Html]:
    parts = []
    for drawn in ranked.figures:
        name = f"leaderboard-{index}-{anchor(drawn.name)}"
        heading = tag("h2", drawn.title)
        about = tag("p", drawn.alt, class_="caption")
        parts.append(tag("section", heading, about, plot(name, drawn), class_="card",
                         aria_label=drawn.title))  # fmt: skip
    return parts


def _one(board: Leaderboard, ranked: Exhibit, index: int, rows: int) -> Html:
    entries = board.entries[:rows]
    more = len(board.entries) - len(entries)
    rest = (
        f"The best {len(entries):,} of {len(board.entries):,} variants; all of them are in "
        "leaderboard.csv (camsweep report --format html,csv) and in `camsweep leaderboard`."
    )
    table = tag(
        "section",
        tag("h2", board.key),
        tag("p", leaderboard_caption(board), class_="caption"),
        tag("p", role="status", class_="count"),
        _table(board, entries),
        tag("p", rest, class_="caption") if more else None,
        class_="card", aria_label=f"Leaderboard: {board.key}",
    )  # fmt: skip
    if not entries:
        table = tag("section", tag("h2", board.key), tag("p", "No trial is done yet."),
                    class_="card")  # fmt: skip
    return tag("div", table, *_figures(ranked, index), class_="of-board", data_board=index)


def _select(name: str, label: str, options: Iterable[tuple[str, str]]) -> Html:
    inner = [tag("option", text, value=value) for value, text in options]
    return tag("label", label, tag("select", *inner, data_filter=name))


def _choice(name: str, label: str, entries: Sequence[Entry], of: Callable[[Entry], str]) -> Html:
    known = sorted({of(e) for e in entries if of(e)})
    return _select(name, label, [("", "all"), *((value, value) for value in known)])


def _controls(boards: Sequence[Leaderboard], entries: Sequence[Entry]) -> Html:
    seeds = sorted({len(e.trials) for e in entries})
    sets = [
        tag("label", tag("input", type="radio", name="ui-set", value=key,
                         checked="checked" if key == "quality" else None), text)
        for key, text in (*SETS.items(), ("all", "All"))
    ]  # fmt: skip
    which = _select(
        "board", "Data set and profile", [(str(i), b.key) for i, b in enumerate(boards)]
    )
    return tag(
        "form",
        which if len(boards) > 1 else None,
        tag("label", "Search", tag("input", type="search", data_filter="find",
                                   placeholder="name, sweep or label")),
        _choice("method", "Method", entries, lambda e: e.method),
        _choice("backbone", "Backbone", entries, lambda e: e.backbone),
        _choice("stage", "Stage", entries, lambda e: e.stage),
        _select("seeds", "Seeds, at least", [(str(n), str(n)) for n in seeds or [1]]),
        tag("fieldset", tag("legend", "Columns"), *sets),
        tag("button", "Reset", type="reset"),
        class_="controls", role="search", aria_label="Filter the leaderboard",
    )  # fmt: skip


def board_page(boards: Sequence[Leaderboard], ranked: Sequence[Exhibit]) -> Html:
    """Controls, then each board's table and figures; board.js shows the one asked for.

    Args:
        boards: of every data set and profile.
        ranked: their exhibits, for the figures.
    """
    rows = shares([len(b.entries) for b in boards])
    shown = [e for b, count in zip(boards, rows, strict=True) for e in b.entries[:count]]
    each = enumerate(zip(boards, ranked, rows, strict=True))
    parts = [_one(board, found, i, count) for i, (board, found, count) in each]
    about = counted(sum(len(b.entries) for b in boards), "variant")
    return join(_controls(boards, shown) if shown else None,
                tag("p", f"{about} in the store.", class_="caption") if len(boards) > 1 else None,
                *parts)  # fmt: skip
