"""Tables of estimates, written once for the page and for every text format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from camsweep.reports.exhibit import Grid
from camsweep.reports.markup import Html, join, tag
from camsweep.reports.measure import Estimate
from camsweep.reports.text import effect, verdict
from camsweep.reports.words import BLANK, bounds, measured, percent


@dataclass(frozen=True)
class Shown:
    """A cell: as text, as markup inside its element, and the element's class."""

    text: str
    html: Html
    class_: str | None = None


def words(value: object) -> Shown:
    """Plain text, escaped on the page."""
    return Shown(str(value), join(str(value)))


def number(estimate: Estimate | None) -> Shown:
    """Mean and interval in percent; a hole where nothing is measured."""
    if estimate is None:
        return Shown("not measured", join("not measured"), "hole")
    shown = join(tag("b", percent(estimate.mean)), tag("small", bounds(estimate)))
    return Shown(measured(estimate), shown)


def difference(estimate: Estimate | None) -> Shown:
    """A paired difference in points with its interval, marked where it is noise."""
    if estimate is None:
        return words(BLANK)
    value, mark = f"{100 * estimate.mean:+.1f}", verdict(estimate)
    first = join(value, " ", tag("span", mark, class_="tag")) if mark else tag("b", value)
    return Shown(effect(estimate), join(first, tag("small", bounds(estimate, sign=True))))


@dataclass(frozen=True)
class Table:
    """A table: its first column names the rows."""

    title: str
    caption: str
    headers: tuple[str, ...]
    rows: tuple[tuple[Shown, ...], ...]

    def html(self) -> Html:
        """For the page."""
        head = tag("tr", *(tag("th", name, scope="col") for name in self.headers))
        body = [
            tag(
                "tr",
                tag("th", row[0].html, scope="row"),
                *(tag("td", cell.html, class_=cell.class_) for cell in row[1:]),
            )
            for row in self.rows
        ]
        whole = tag("table", tag("thead", head), tag("tbody", *body))
        return tag("div", whole, class_="scroll")

    def grid(self, notes: Sequence[str] = ()) -> Grid:
        """For Markdown and LaTeX."""
        rows = tuple(tuple(cell.text for cell in row) for row in self.rows)
        return Grid(self.title, self.caption, self.headers, rows, tuple(notes))


def blocks(*parts: tuple[str, Sequence[object], str]) -> Html | None:
    """Notes below an exhibit: (heading, lines, class) each, those without lines left out."""
    shown = [
        tag(
            "div",
            tag("h3", title),
            tag("ul", *(tag("li", line) for line in lines)),
            class_=class_ or None,
        )
        for title, lines, class_ in parts
        if lines
    ]
    return tag("div", *shown, class_="notes") if shown else None
