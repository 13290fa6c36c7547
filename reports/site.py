"""The whole page: one HTML file that needs no network and nothing beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources

from camsweep.reports.cards import anchor, exhibit_card, leaderboard_card
from camsweep.reports.exhibit import Exhibit
from camsweep.reports.load import Trial
from camsweep.reports.markup import Html, join, raw, tag
from camsweep.reports.refreshing import refreshing
from camsweep.reports.report import Report
from camsweep.reports.spec import paper
from camsweep.reports.words import counted

# The browser itself refuses anything but what is inside this file.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:"
)


#: Pages that are no paper's.
PAGES = {
    "training": "Training",
    "searches": "Searches",
    "ablate": "Ablation designs",
    "own": "Your own sweeps",
}


@dataclass(frozen=True)
class Facts:
    """How the report was made, for its footer; nothing that differs between two runs alike.

    ``refresh``: after how many seconds a browser reads the page again; None for never.
    """

    command: str
    version: str
    refresh: int | None = None


def _own(name: str) -> Html:
    return raw(resources.files("camsweep.reports").joinpath(name).read_text(encoding="utf-8"))


def _list(values: Iterable[str]) -> str:
    return ", ".join(sorted({v for v in values if v})) or "not recorded"


def _seeds(trials: Sequence[Trial]) -> str:
    seeds = sorted({t.seed for t in trials})
    if len(seeds) > 2 and seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))


def _commits(trials: Sequence[Trial]) -> str:
    return _list(f"{t.commit[:12]}{' (with local changes)' if t.dirty else ''}" for t in trials)


def _header(report: Report) -> Html:
    selection = report.selection
    failed = sum(not t.done for t in selection.trials)
    # Rows that no command can fill yet (another method's, published only) leave no hole behind.
    whole = sum(not e.holes and not e.failed for e in report.exhibits)
    tiles = [
        ("trials done", len(selection.trials) - failed),
        ("failed", failed),
        ("method variants", len(report.board.entries)),
        ("seeds", len({t.seed for t in selection.trials})),
        ("artefacts complete", f"{whole} of {len(report.exhibits)}"),
    ]
    others = None
    if selection.others:
        words = (
            f"The store also holds: {'; '.join(selection.others)}. Choose with --profile, --data."
        )
        others = tag("p", words)
    return tag(
        "header",
        tag(
            "div",
            tag("h1", "camsweep report"),
            tag("p", f"Profile {selection.profile}, data set {selection.data}"),
            others,
            tag(
                "dl",
                *(tag("div", tag("dt", name), tag("dd", value)) for name, value in tiles),
                class_="tiles",
            ),
            class_="inner",
        ),
    )


def page_title(name: str) -> str:
    """How a page is called: the paper's short name, else its own."""
    if name in ("training", "searches", "ablate", "own"):
        return PAGES[name]
    return paper(name).title.split(":")[0]


def _contents(exhibits: Sequence[Exhibit]) -> Html:
    parts = [
        tag("h2", "Overview"),
        tag("ul", tag("li", tag("a", "Leaderboard", href="#leaderboard"))),
    ]
    for name in dict.fromkeys(e.page for e in exhibits):
        links = [
            tag("li", tag("a", e.number, tag("small", e.title), href=_link(e.id)))
            for e in exhibits
            if e.page == name
        ]
        parts += [tag("h2", page_title(name)), tag("ul", *links)]
    links = [tag("li", tag("a", "Where this comes from", href="#provenance"))]
    parts += [tag("h2", "More"), tag("ul", *links)]
    return tag("nav", *parts, aria_label="contents")


def _link(name: str) -> str:
    return f"#{anchor(name)}"


def _damage(trials: Sequence[Trial]) -> list[tuple[str, str]]:
    """The row of the damaged samples that trials left out; none where all read all."""
    having = [t for t in trials if t.skipped]
    if not having:
        return []
    samples = sorted({sample for t in having for sample in t.skipped})
    shown = ", ".join(samples[:20]) + (f" and {len(samples) - 20} more" if samples[20:] else "")
    words = (
        f"{counted(len(samples), 'sample')} left out in {len(having)} of "
        f"{counted(len(trials), 'trial')}: {shown}"
    )
    return [("damaged data", words)]


def _footer(report: Report, facts: Facts) -> Html:
    selection = report.selection
    trials = selection.trials
    devices = _list(t.device for t in trials)
    versions = _list(f"{name} {number}" for t in trials for name, number in t.versions.items())
    rows = [
        ("store", report.store),
        ("data set", f"{selection.data_name}, digest {selection.data_digest}"),
        ("profile", selection.profile),
        ("commit of the trials", _commits(trials)),
        ("versions", versions),
        ("devices", devices),
        ("seeds", _seeds(trials)),
        ("trials started with", _list(t.command for t in trials)),
        ("report made with", join(tag("code", facts.command), f" (camsweep {facts.version})")),
        *_damage(trials),
        ("newest result", _newest(trials)),
        (
            "intervals",
            "95 % two-level bootstrap over seeds and images "
            f"({report.resamples} resamples) of IoU from summed pixel counts, the seeds' part "
            "widened by Student's t for their small number; background thresholds as chosen by "
            "each trial.",
        ),
    ]
    items = [join(tag("dt", name), tag("dd", value)) for name, value in rows]
    inner = tag("div", tag("h2", "Where this comes from"), tag("dl", *items), class_="inner")
    return tag("footer", inner, id="provenance")


def _newest(trials: Sequence[Trial]) -> str:
    """When the newest trial ended: the time of the page itself would differ from run to run."""
    newest = max((t.finished for t in trials if t.finished), default=None)
    return newest.strftime("%Y-%m-%d %H:%M UTC") if newest else "not recorded"


def page(report: Report, facts: Facts) -> str:
    """The page as text; the same for the same report and facts."""
    from plotly.offline import get_plotlyjs

    selection = report.selection
    title = f"camsweep report: {selection.profile}, {selection.data_name}"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        refreshing(facts.refresh),
        tag("style", _own("page.css")),
    )
    cards = [leaderboard_card(report.board), *map(exhibit_card, report.exhibits)]
    scripts = None
    if any(e.figures for e in report.exhibits):
        scripts = join(tag("script", raw(get_plotlyjs())), tag("script", _own("page.js")))
    layout = tag("div", _contents(report.exhibits), tag("main", *cards), class_="layout")
    body = tag("body", _header(report), layout, _footer(report, facts), scripts)
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"
