"""The cards of the page: leaderboard, tables, curves, picture grids."""

from __future__ import annotations

import math
from collections.abc import Sequence

from camsweep.reports.board.entry import Entry, Leaderboard
from camsweep.reports.board.text import leaderboard_caption, ranks
from camsweep.reports.exhibit import Exhibit, Grid
from camsweep.reports.filled import Filled, Line, Value
from camsweep.reports.markup import Html, join, script_json, tag
from camsweep.reports.measure import Estimate
from camsweep.reports.pictures import Pictures, data_uri
from camsweep.reports.spec import ContrastSpec
from camsweep.reports.text import (
    against_paper,
    failure,
    judged,
    published,
    remarks,
    shape_lines,
    verdict,
    verdict_line,
    verdict_rules,
    wide,
)
from camsweep.reports.words import (
    BLANK,
    METRIC_TITLES,
    bounds,
    duration,
    memory,
    percent,
    scaled,
)

# A page with thousands of rows helps nobody; the CSV has them all.
SHOWN = 100


def anchor(name: str) -> str:
    """An id for links: letters, digits and dashes only."""
    return "".join(c if c.isalnum() else "-" for c in name)


def card(name: str, number: str, title: str, about: str, *content: Html | None) -> Html:
    """A section with a heading and a caption."""
    heading = tag("h2", tag("span", number) if number else None, title)
    paragraph = tag("p", about, class_="caption") if about else None
    return tag("section", heading, paragraph, *content, class_="card", id=anchor(name))


def plot(name: str, figure_json: str) -> Html:
    """A place for a figure and its data; drawn by page.js."""
    place = f"plot-{anchor(name)}"
    data = tag("script", script_json(figure_json), type="application/json", id=f"{place}-data")
    return join(tag("div", class_="plot", id=place), data)


def plain_table(content: Grid) -> Html:
    """A grid of text as a table."""
    head = tag("tr", *(tag("th", h) for h in content.headers))
    body = [
        tag("tr", tag("th", row[0], scope="row"), *(tag("td", c) for c in row[1:]))
        for row in content.rows
    ]
    return tag("div", tag("table", tag("thead", head), tag("tbody", *body)), class_="scroll")


def _tag(words: str) -> Html | None:
    return tag("span", words, class_="tag") if words else None


def _number(estimate: Estimate | None) -> Html:
    if estimate is None:
        return tag("td", BLANK)
    return tag("td", tag("b", percent(estimate.mean)), tag("small", bounds(estimate)))


def _effect(difference: Estimate | None) -> Html:
    if difference is None:
        return tag("td", BLANK)
    words = verdict(difference)
    value = f"{100 * difference.mean:+.1f}"
    shown = join(value, " ", _tag(words)) if words else tag("b", value)
    return tag("td", shown, tag("small", bounds(difference, sign=True)))


def _measured(value: Value, *, signed: bool = False) -> Html:
    if value.hole:
        return tag("td", "not measured", class_="hole")
    return _effect(value.estimate) if signed else _number(value.estimate)


def _judged(value: Value) -> Html:
    return tag("td", _tag(judged(value)) if value.verdict else BLANK)


def _stacked(value: Value, decimals: int) -> Html:
    """Everything of a value in one cell, for tables with many columns."""
    parts: list[Html | None] = []
    if value.estimate is not None:
        parts += [tag("b", percent(value.estimate.mean)), tag("small", bounds(value.estimate))]
    elif value.hole:
        parts.append(join("not measured"))
    if value.published is not None:
        words = f" ({against_paper(value)})" if value.difference is not None else ""
        parts.append(tag("small", f"paper {published(value, decimals)}{words}"))
        # Why the whole table can't be compared stands in the caption; here there is no room.
        if value.verdict is not None and not value.unlike:
            parts.append(tag("small", _tag(judged(value))))
    if value.effect is not None:
        words = verdict(value.effect)
        parts.append(tag("small", f"effect {100 * value.effect.mean:+.1f} ", _tag(words)))
    return tag("td", *parts, class_="hole" if value.hole else None)


def _row_name(line: Line) -> Html:
    return tag("th", line.name, " " if line.ours else None, _tag("ours" if line.ours else ""))


def _beside(values: Sequence[Value], filled: Filled) -> list[tuple[str, list[Html]]]:
    """The columns beside a measured one: published, difference, verdict, effect; where any is."""
    parts: list[tuple[str, list[Html]]] = []
    if any(v.published is not None for v in values):
        parts.append(("published", [tag("td", published(v, filled.decimals)) for v in values]))
    if any(v.difference is not None for v in values):
        parts.append(("difference", [tag("td", against_paper(v)) for v in values]))
    if any(v.verdict is not None for v in values):
        parts.append(("verdict", [_judged(v) for v in values]))
    if any(v.effect for v in values):
        parts.append((f"against {filled.reference}", [_effect(v.effect) for v in values]))
    return parts


def table(filled: Filled) -> Html:
    """The table of a filled artefact, with every number's interval, published value and effect."""
    many = wide(filled)
    signed_column = len(filled.columns) - 1 if isinstance(filled.spec, ContrastSpec) else -1
    head = [tag("th", ""), *(tag("th", name, class_="left") for name in filled.facts)]
    cells: list[list[Html]] = [
        [_row_name(line), *(tag("td", word or BLANK, class_="left") for word in line.facts)]
        for line in filled.lines
    ]
    for index, column in enumerate(filled.columns):
        values = [line.values[index] for line in filled.lines]
        signed = index == signed_column
        shown = [
            _stacked(v, filled.decimals) if many else _measured(v, signed=signed) for v in values
        ]
        parts = [(column, shown), *([] if many else _beside(values, filled))]
        for name, column_cells in parts:
            head.append(tag("th", name))
            for row, cell in zip(cells, column_cells, strict=True):
                row.append(cell)
    if filled.spec.measurable:
        head.append(tag("th", "seeds"))
        for row, line in zip(cells, filled.lines, strict=True):
            row.append(tag("td", line.seeds or BLANK))
    rows = []
    for row, line in zip(cells, filled.lines, strict=True):
        rows.append(tag("tr", *row, class_="paper-only" if line.published_only else None))
    whole = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *rows))
    return tag("div", whole, class_="scroll")


def _block(title: str, items: Sequence[object], class_: str = "") -> Html | None:
    if not items:
        return None
    listed = tag("ul", *(tag("li", item) for item in items))
    return tag("div", tag("h3", title), listed, class_=class_ or None)


def _beside_the_paper(filled: Filled) -> Html | None:
    """The verdicts counted, what they mean, and where the protocols differ."""
    counted = verdict_line(filled)
    rules = verdict_rules(filled)
    parts: list[Html] = [join(counted)] if counted else []
    if rules:
        told = tag("ul", *(tag("li", rule) for rule in rules))
        parts.append(tag("details", tag("summary", "What the verdicts mean"), told))
    if filled.protocol:
        listed = tag("ul", *(tag("li", words) for words in filled.protocol))
        title = f"Protocol: {len(filled.protocol)} differences to the paper's"
        if len(filled.protocol) == 1:
            title = "Protocol: one difference to the paper's"
        known = tag("p", f"Known from: {'; '.join(filled.sources)}.", class_="caption")
        parts.append(tag("details", tag("summary", title), listed, known))
    return _block("Beside the paper", parts)


def notes(filled: Filled) -> Html | None:
    """What stands under a table or figure: shape, remarks, holes with commands, failed trials."""
    extra = []
    if wide(filled) and filled.reference and any(v.effect for x in filled.lines for v in x.values):
        extra.append(f"Effect: paired difference to {filled.reference}, same seeds and images.")
    blocks = [
        _beside_the_paper(filled),
        _block("Does the shape of the published result hold?", shape_lines(filled)),
        _block("How to read this", [*extra, *remarks(filled)]),
        _block(
            "Not measured",
            [
                join(f"{hole.what}:", tag("code", hole.command)) if hole.command else hole.what
                for hole in filled.holes
            ],
            "missing",
        ),
        _block("Failed trials", [failure(trial) for trial in filled.failed], "missing"),
    ]
    return tag("div", *blocks, class_="notes") if any(blocks) else None


def exhibit_card(exhibit: Exhibit) -> Html:
    """The card of an exhibit: its figures, its table or pictures, and what stands under it."""
    content: list[Html | None] = []
    # Pictures are shown as tiles; their figure is for files.
    for drawn in exhibit.figures if not _is_pictures(exhibit) else ():
        if len(exhibit.figures) > 1:
            content.append(tag("h3", drawn.title))
        content.append(plot(exhibit.file_name(drawn.name), drawn.figure.to_json()))
    content.append(exhibit.body)
    return card(exhibit.id, exhibit.number, exhibit.title, exhibit.caption, *content, exhibit.notes)


def _is_pictures(exhibit: Exhibit) -> bool:
    return exhibit.body is not None and exhibit.body.startswith('<div class="pictures"')


def picture_grid(tiles: Pictures) -> Html:
    """Tiles in a grid, the classes of each image at the left."""
    cells = [tag("div", "")]
    cells += [tag("div", name, class_="head") for name in tiles.columns]
    for label, contents in tiles.rows:
        cells.append(tag("div", label, class_="label"))
        for name, content in zip(tiles.columns, contents, strict=True):
            if content is None:
                cells.append(tag("div", "not stored", class_="none"))
            else:
                cells.append(tag("img", src=data_uri(content), alt=f"{name}: {label}"))
    columns = f"grid-template-columns: 5.5rem repeat({len(tiles.columns)}, minmax(0, 1fr))"
    return tag("div", *cells, class_="pictures", style=columns)


def _bar(estimate: Estimate, low: float, high: float) -> Html:
    """The interval as a line with a dot on a scale common to all rows."""
    width, height = 110, 18

    def x(value: float) -> str:
        return f"{4 + (width - 8) * (value - low) / max(high - low, 1e-9):.1f}"

    middle = height / 2
    ends = (estimate.mean, estimate.mean) if math.isnan(estimate.low) else ()
    left, right = ends or (estimate.low, estimate.high)
    return tag(
        "svg",
        tag("path", d=f"M4 {middle} H{width - 4}"),
        tag("line", x1=x(left), x2=x(right), y1=middle, y2=middle),
        tag("circle", cx=x(estimate.mean), cy=middle, r=4),
        class_="bar",
        width=width,
        height=height,
        role="img",
        aria_label=f"{percent(estimate.mean)} {bounds(estimate)}",
    )


def _entry(e: Entry, low: float, high: float) -> Html:
    shown = ", ".join(e.labels[:2]) + (f" +{len(e.labels) - 2}" if len(e.labels) > 2 else "")
    return tag(
        "tr",
        tag("td", e.rank),
        tag("td", e.name, tag("small", shown), _again(e), class_="left name"),
        _number(e.estimate),
        tag("td", _bar(e.estimate, low, high), class_="left"),
        tag("td", ranks(e.tied), class_="left tied"),
        tag("td", BLANK if e.background is None else percent(e.background.mean)),
        tag("td", BLANK if e.foreground is None else percent(e.foreground.mean)),
        tag("td", len(e.trials)),
        tag("td", duration(e.train_seconds)),
        tag("td", scaled(e.images_per_second)),
        tag("td", memory(e.peak_memory)),
        tag("td", scaled(e.parameters)),
    )


def _again(e: Entry) -> Html | None:
    return tag("small", f"repeated: {e.repeated.text()}") if e.repeated else None


def leaderboard_card(board: Leaderboard) -> Html:
    """The leaderboard: quality with intervals and groups, cost beside it."""
    entries = board.entries[:SHOWN]
    ends = [
        value
        for e in entries
        for value in (e.estimate.low, e.estimate.high, e.estimate.mean)
        if not math.isnan(value)
    ]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    title = METRIC_TITLES.get(board.metric, board.metric)
    left = {"variant", "95 % interval", "tied"}
    names = (
        "#", "variant", title, "95 % interval", "tied", "back-ground", "fore-ground", "seeds",
        "train", "im-ages/s", "peak memory", "para-meters",
    )  # fmt: skip
    head = [tag("th", soft(n), class_="left" if n in left else None) for n in names]
    rows = [_entry(e, low, high) for e in entries]
    whole = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *rows), class_="board")
    more = len(board.entries) - len(entries)
    rest = tag("p", f"{more} more in leaderboard.csv.", class_="caption") if more else None
    about = leaderboard_caption(board)
    scroll = tag("div", whole, class_="scroll")
    return card("leaderboard", "", "Leaderboard", about, scroll, rest)


def soft(name: str) -> str:
    """A heading whose dash marks where it may break."""
    return name.replace("-", "\u00ad")
