"""The overview: what the store holds, what is complete, what holds, and what is missing."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence

from camsweep.reports.exhibit import Exhibit
from camsweep.reports.markup import Html, join, tag
from camsweep.reports.report import Report
from camsweep.reports.site.cards import card, region
from camsweep.reports.site.layout import Page
from camsweep.reports.words import counted, measured

#: What a store without trials is begun with.
START = "camsweep run cpn/table4 --store"


def commands(exhibits: Iterable[Exhibit]) -> list[str]:
    """The commands that fill what is missing, in order, each once."""
    return list(dict.fromkeys(c for exhibit in exhibits for c in exhibit.commands))


def verdicts(exhibits: Iterable[Exhibit]) -> Counter[str]:
    """How many cells have each verdict, over all exhibits that have any."""
    total: Counter[str] = Counter()
    for exhibit in exhibits:
        total.update(exhibit.verdicts)
    return total


def tiles(pairs: Iterable[tuple[str, object]]) -> Html:
    """Numbers with their names."""
    inner = (tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs)
    return tag("dl", *inner, class_="tiles")


def _numbers(report: Report) -> Html:
    trials = report.selection.trials
    failed = sum(not t.done for t in trials)
    whole = sum(e.complete for e in report.exhibits)
    return tiles(
        [
            ("trials done", len(trials) - failed),
            ("failed", failed),
            ("method variants", sum(len(board.entries) for board in report.own_boards)),
            ("seeds", len({t.seed for t in trials})),
            ("artefacts complete", f"{whole} of {len(report.exhibits)}"),
        ]
    )


def _list(title: str, items: Sequence[object]) -> Html | None:
    if not items:
        return None
    return card("", "", title, "", tag("ul", *(tag("li", item) for item in items)))


def _findings(report: Report) -> list[object]:
    lines: list[object] = []
    for board in report.own_boards:
        if not board.entries:
            continue
        best = board.entries[0]
        of = f", {board.kind}: " if board.kind else ": "
        lines.append(
            join(f"Best variant{of}", tag("b", best.name), f", {measured(best.estimate)} % "
                 f"({counted(len(best.trials), 'seed')}); see the ",
                 tag("a", "leaderboard", href="#leaderboard"), ".")
        )  # fmt: skip
        tied = [rank for rank in best.tied if rank != best.rank]
        if tied:
            lines.append(f"{counted(len(tied), 'other variant')} not separated from the best one.")
    lines += [
        f"{counted(count, 'cell')}: {word}"
        for word, count in sorted(verdicts(report.exhibits).items())
    ]
    return lines


def _state(exhibit: Exhibit) -> str:
    parts = [
        f"{len(exhibit.commands)} missing" if exhibit.commands else "",
        counted(exhibit.failed, "failed trial") if exhibit.failed else "",
        "parts that no command can fill yet" if exhibit.lacking else "",
    ]
    return ", ".join(filter(None, parts)) or "complete"


def _contents(pages: Sequence[Page]) -> Html | None:
    rows = [
        tag("tr",
            tag("th", tag("a", f"{p.exhibit.number} {p.exhibit.title}".strip(),
                          href=f"#{p.anchor or page.name}"), scope="row", class_="wrap"),
            tag("td", page.title, class_="left"),
            tag("td", _state(p.exhibit),
                class_="left" if p.exhibit.complete else "left hole"))
        for page in pages
        for p in page.placed
    ]  # fmt: skip
    if not rows:
        return None
    names = ("artefact", "page", "state")
    head = tag("thead", tag("tr", *(tag("th", n, scope="col", class_="left") for n in names)))
    caption = tag("caption", "What this report shows", class_="hidden")
    table = tag("table", caption, head, tag("tbody", *rows))
    return card("", "", "What this report shows", "", region("What this report shows", table))


def overview(report: Report, pages: Sequence[Page]) -> Html:
    """The first page.

    Args:
        report: with or without trials.
        pages: all pages, for the table of what is where.
    """
    selection = report.selection
    unread = selection.unread
    others = [f"{other} (choose with --profile or --data)" for other in selection.others]
    if not selection.trials:
        start = card(
            "", "", "No trials yet",
            "The store holds no trial that can be shown. Start with the command below, then make "
            "the report again.",
            tag("p", tag("code", f"{START} {shlex.quote(report.store)}")),
        )  # fmt: skip
        return join(start, _list("Not read", unread), _list("Also in the store", others))
    missing = [tag("code", command) for command in commands(report.exhibits)]
    return join(
        _numbers(report),
        _list("Key findings", _findings(report)),
        _list("Not read", unread),
        _contents(pages),
        _list("What is missing, and the commands that fill it", missing),
        _list("Also in the store", others),
    )
