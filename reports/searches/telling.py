"""What stands above and below a search: what was done, what to believe, what to run next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from camsweep.reports.load import Selection
from camsweep.reports.markup import Html, tag
from camsweep.reports.searches.best import FILE, LISTED, NextRun
from camsweep.reports.searches.studied import Point, State, Study
from camsweep.reports.searches.units import title_of
from camsweep.reports.words import counted

_ENDS: tuple[tuple[State, str], ...] = (
    ("finished", "finished"),
    ("stopped", "stopped early"),
    ("failed", "failed"),
    ("running", "not ended"),
)
#: Causes of failed points that are listed.
CAUSES = 10


def caption(study: Study, selection: Selection) -> str:
    """What was searched, how, how it went, and on which data."""
    metrics = " and ".join(
        f"{title_of(name)} ({'more' if more else 'less'} is better)"
        for name, more in zip(study.metrics, study.maximised, strict=True)
    )
    ended = f", trainings ended early by {study.scheduler}" if study.scheduler != "none" else ""
    by = f" by {study.algorithm}" if study.algorithm else ""
    states = [f"{len(some):,} {words}" for state, words in _ENDS if (some := study.of(state))]
    known = sum(p.known for p in study.points)
    if known:
        states.append(f"{known:,} of them known before the search")
    count = counted(len(study.points), "point")
    went = f"{count}: {', '.join(states)}" if states else "No point was drawn yet"
    return (
        f"Search {study.sweep} for {metrics}{by}{ended}. {went}. Measured on data set "
        f"{selection.data}, profile {selection.profile}; evaluation split, one seed a point."
    )


def listing(study: Study, front: Sequence[Point]) -> str:
    """The heading of the table of points."""
    if len(study.metrics) > 1:
        some = f", {LISTED} of them" if len(front) > LISTED else ""
        return f"The Pareto front: {counted(len(front), 'point')}{some}"
    return f"The best of {counted(len(study.of('finished')), 'finished point')}"


def plainly(run: NextRun) -> list[str]:
    """The next run as notes of a text table, a line each."""
    return [
        f"The best with fresh seeds: write {run.text(flow=True)} to {FILE}. Run: {run.command}",
        *([run.remark] if run.remark else []),
    ]


def below(study: Study, told: str, remarks: Sequence[str], run: NextRun | None) -> Html | None:
    """What stands below the figures.

    Args:
        study: for its failed points.
        told: the warning about the winner; empty where there is none.
        remarks: how to read the figures.
        run: the best few with fresh seeds, or None.
    """
    blocks = []
    if told:
        blocks.append(tag("div", tag("h3", "Not yet a result"), tag("p", told), class_="missing"))
    if run is not None:
        blocks.append(
            tag(
                "div",
                tag("h3", "The best with fresh seeds"),
                tag("p", f"Write this to {FILE}:"),
                tag("pre", run.text()),
                tag("p", "and run:"),
                tag("ul", tag("li", tag("code", run.command))),
                tag("p", run.remark) if run.remark else None,
            )
        )
    if remarks:
        blocks.append(
            tag("div", tag("h3", "How to read this"), tag("ul", *(tag("li", r) for r in remarks)))
        )
    causes = Counter(p.cause or "no cause recorded" for p in study.of("failed"))
    if causes:
        listed = [
            tag("li", f"{count} x {cause}") for cause, count in sorted(causes.items())[:CAUSES]
        ]
        blocks.append(tag("div", tag("h3", "Failed points"), tag("ul", *listed), class_="missing"))
    return tag("div", *blocks, class_="notes") if blocks else None
