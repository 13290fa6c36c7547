"""A card of a page: heading, caption, figures, table, notes."""

from __future__ import annotations

from camsweep.reports.exhibit import Drawn, Exhibit
from camsweep.reports.markup import Html, join, script_json, tag
from camsweep.reports.site.layout import Placed, anchor


def card(name: str, number: str, title: str, about: str, *content: Html | None) -> Html:
    """A section with a heading and a caption; ``name`` is its id, empty for none."""
    heading = tag("h2", tag("span", number) if number else None, title)
    paragraph = tag("p", about, class_="caption") if about else None
    return tag(
        "section", heading, paragraph, *content,
        class_="card", id=name or None, aria_label=f"{number} {title}".strip(),
    )  # fmt: skip


def region(label: str, *content: Html | None) -> Html:
    """What may be wider than the screen: it scrolls by itself, with the keyboard too."""
    return tag("div", *content, class_="scroll", role="region", tabindex="0", aria_label=label)


def plot(name: str, drawn: Drawn) -> Html:
    """A place for a figure and its data, drawn by plots.js; until then its words stand there."""
    place = f"plot-{name}"
    height = drawn.figure.layout.height or 400
    words = drawn.alt or drawn.title
    data = tag(
        "script", script_json(drawn.figure.to_json()), type="application/json", id=f"{place}-data"
    )
    inner = tag("div", tag("p", words), class_="plot", id=place, role="img", aria_label=words,
                style=f"height:{float(height):g}px")  # fmt: skip
    return join(tag("div", inner, class_="scroll plot-frame", role="group"), data)


def exhibit_card(placed: Placed, page: str) -> Html:
    """The card of an exhibit: its figures, its table or pictures, and what stands under it."""
    exhibit = placed.exhibit
    name = placed.anchor or page
    content: list[Html | None] = []
    for drawn in () if _has_tiles(exhibit) else exhibit.figures:
        if len(exhibit.figures) > 1:
            content.append(tag("h3", drawn.title))
        content.append(plot(f"{name}-{anchor(drawn.name)}" if drawn.name else name, drawn))
    return card(
        placed.anchor, exhibit.number, exhibit.title, exhibit.caption,
        *content, exhibit.body, exhibit.notes,
    )  # fmt: skip


def _has_tiles(exhibit: Exhibit) -> bool:
    """Whether pictures are shown as tiles: their figure is for files."""
    return exhibit.body is not None and exhibit.body.startswith('<div class="pictures"')
