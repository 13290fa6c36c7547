"""The whole site: one HTML file that needs no network and nothing beside it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources

from camsweep.reports.markup import Html, raw, tag
from camsweep.reports.refreshing import refreshing
from camsweep.reports.report import Report
from camsweep.reports.site.board import board_page
from camsweep.reports.site.browser import browser_page
from camsweep.reports.site.cards import exhibit_card
from camsweep.reports.site.colours import stylesheet
from camsweep.reports.site.gallery import Gallery, gallery, pictured
from camsweep.reports.site.layout import Page, pages
from camsweep.reports.site.overview import overview
from camsweep.reports.site.provenance import Facts, footer, provenance
from camsweep.sweeps.store import Store

#: Run before the page is shown, and behind it; each file is one purpose.
EARLY = ("theme.js",)
LATE = ("plots.js", "pages.js", "board.js", "browser.js")


def _own(name: str, package: str = "camsweep.reports.site") -> str:
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")


def policy(scripts: Sequence[str]) -> str:
    """The browser itself refuses anything but what is inside this file, and any other script."""
    digests = (
        base64.b64encode(hashlib.sha256(s.encode("utf-8")).digest()).decode() for s in scripts
    )
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'"
    )


def _navigation(shown: Sequence[Page]) -> Html:
    items = []
    for page in shown:
        links = [
            tag("li", tag("a", p.exhibit.number or p.exhibit.title,
                          tag("small", p.exhibit.title) if p.exhibit.number else None,
                          href=f"#{p.anchor}"))
            for p in page.placed
            if p.anchor
        ]  # fmt: skip
        inner = tag("ul", *links) if links else None
        items.append(tag("li", tag("a", page.title, href=f"#{page.name}", class_="to-page"), inner))
    return tag("nav", tag("ul", *items), aria_label="Pages")


def _content(page: Page, report: Report, shown: Sequence[Page], facts: Facts,
             pictures: Gallery | None) -> Html:  # fmt: skip
    parts: list[Html] = []
    if page.name == "overview":
        parts.append(overview(report, shown))
    elif page.name == "leaderboard":
        parts.append(board_page(report.boards, report.ranked))
    elif page.name == "pictures" and pictures is not None:
        parts.append(browser_page(pictures))
    elif page.name == "provenance":
        parts.append(provenance(report, facts))
    parts += [exhibit_card(placed, page.name) for placed in page.placed]
    heading = tag("h1", page.title, tabindex="-1")
    return tag("article", heading, *parts, class_="page", id=page.name, aria_label=page.title)


def _header(report: Report) -> Html:
    selection = report.selection
    words = f"Profile {selection.profile}, data set {selection.data}"
    names = tag("div", tag("p", "camsweep report", class_="site"),
                tag("p", words if selection.trials else report.store))  # fmt: skip
    switch = tag("button", "Dark colours", type="button", id="ui-theme", aria_pressed="false")
    return tag("header", tag("div", names, switch, class_="inner bar-of-page"))


def page(report: Report, facts: Facts) -> str:
    """The page as text; the same for the same report and facts."""
    from plotly.offline import get_plotlyjs

    selection = report.selection
    pictures = gallery(pictured(report.own_boards), Store(report.store))
    ranked = any(board.entries for board in report.boards)
    shown = pages(report.exhibits, board=ranked, pictures=pictures is not None)
    articles = [_content(one, report, shown, facts, pictures) for one in shown]
    main = tag("main", *articles, id="main", tabindex="-1")
    early = [_own(name) for name in EARLY]
    late = [_own(name) for name in LATE]
    if any('class="plot"' in article for article in articles):
        late.insert(0, get_plotlyjs())
    scripts = [*early, *late]
    if facts.refresh is not None:
        scripts.append(_own("refresh.js", "camsweep.reports"))
    what = f"{selection.profile}, {selection.data_name}" if selection.trials else "no trials yet"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy(scripts)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        refreshing(facts.refresh),
        tag("title", f"camsweep report: {what}"),
        tag("style", raw(stylesheet() + _own("page.css"))),
        *(tag("script", raw(text)) for text in early),
    )
    skip = tag("a", "Skip to the content", href="#main", class_="skip")
    layout = tag("div", _navigation(shown), main, class_="layout")
    behind = [tag("script", raw(text)) for text in late]
    body = tag("body", skip, _header(report), layout, footer(report, facts), *behind)
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"
