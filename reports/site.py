"""The whole page: one HTML file that needs no network and nothing beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources

from camsweep.reports.artefacts import Filled
from camsweep.reports.cards import anchor
from camsweep.reports.load import Selection, Trial
from camsweep.reports.markup import Html, join, raw, tag
from camsweep.reports.spec import paper
from camsweep.reports.text import counted

# The browser itself refuses anything but what is inside this file.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:"
)


@dataclass(frozen=True)
class Facts:
    """Where the report comes from, for its footer."""

    store: str
    command: str
    made: datetime
    version: str
    resamples: int


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


def _header(selection: Selection, variants: int, artefacts: Sequence[Filled]) -> Html:
    failed = sum(not t.done for t in selection.trials)
    # Rows that no command can fill yet (another method's, published only) leave no hole behind.
    whole = sum(not any(h.command for h in f.holes) and not f.failed for f in artefacts)
    tiles = [
        ("trials done", len(selection.trials) - failed),
        ("failed", failed),
        ("method variants", variants),
        ("seeds", len({t.seed for t in selection.trials})),
        ("artefacts complete", f"{whole} of {len(artefacts)}"),
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


def _contents(artefacts: Sequence[Filled], more: Sequence[tuple[str, str]]) -> Html:
    parts = [
        tag("h2", "Overview"),
        tag("ul", tag("li", tag("a", "Leaderboard", href="#leaderboard"))),
    ]
    for name in dict.fromkeys(f.spec.paper for f in artefacts):
        links = [
            tag("li", tag("a", f.spec.number, tag("small", f.spec.title), href=_link(f.spec.id)))
            for f in artefacts
            if f.spec.paper == name
        ]
        parts += [tag("h2", paper(name).title.split(":")[0]), tag("ul", *links)]
    links = [tag("li", tag("a", title, href=_link(place))) for place, title in more]
    links.append(tag("li", tag("a", "Where this comes from", href="#provenance")))
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


def _footer(selection: Selection, facts: Facts) -> Html:
    trials = selection.trials
    devices = _list(t.device for t in trials)
    versions = _list(f"{name} {number}" for t in trials for name, number in t.versions.items())
    rows = [
        ("store", facts.store),
        ("data set", f"{selection.data_name}, digest {selection.data_digest}"),
        ("profile", selection.profile),
        ("commit of the trials", _commits(trials)),
        ("versions", versions),
        ("devices", devices),
        ("seeds", _seeds(trials)),
        ("trials started with", _list(t.command for t in trials)),
        ("report made with", join(tag("code", facts.command), f" (camsweep {facts.version})")),
        *_damage(trials),
        ("made", facts.made.strftime("%Y-%m-%d %H:%M UTC")),
        (
            "intervals",
            "95 % two-level bootstrap over seeds and images "
            f"({facts.resamples} resamples) of IoU from summed pixel counts, the seeds' part "
            "widened by Student's t for their small number; background thresholds as chosen by "
            "each trial.",
        ),
    ]
    items = [join(tag("dt", name), tag("dd", value)) for name, value in rows]
    inner = tag("div", tag("h2", "Where this comes from"), tag("dl", *items), class_="inner")
    return tag("footer", inner, id="provenance")


def page(
    selection: Selection,
    artefacts: Sequence[Filled],
    cards: Sequence[Html],
    more: Sequence[tuple[str, str]],
    facts: Facts,
    variants: int,
    plotly_js: str | None,
) -> str:
    """The page as text.

    Args:
        selection: which trials it is about.
        artefacts: the filled artefacts, in the order of the cards after the leaderboard.
        cards: everything between contents and footer.
        more: (anchor, title) of the cards after the artefacts.
        facts: for the footer.
        variants: how many method variants the leaderboard ranks.
        plotly_js: plotly's script, once, or None where no card has a figure.
    """
    title = f"camsweep report: {selection.profile}, {selection.data_name}"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", _own("page.css")),
    )
    scripts = None
    if plotly_js is not None:
        scripts = join(tag("script", raw(plotly_js)), tag("script", _own("page.js")))
    layout = tag("div", _contents(artefacts, more), tag("main", *cards), class_="layout")
    header = _header(selection, variants, artefacts)
    body = tag("body", header, layout, _footer(selection, facts), scripts)
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"
