"""What stands in the cards of the page: tables, picture grids, notes."""

from __future__ import annotations

from collections.abc import Sequence

from camsweep.reports.exhibit import Grid
from camsweep.reports.filled import Filled, Line, Value
from camsweep.reports.markup import Html, join, tag
from camsweep.reports.measure import Estimate
from camsweep.reports.pictures import Pictures, data_uri
from camsweep.reports.site.cards import region
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
    bounds,
    percent,
)


def plain_table(content: Grid) -> Html:
    """A grid of text as a table."""
    head = tag("tr", *(tag("th", h, scope="col") for h in content.headers))
    body = [
        tag("tr", tag("th", row[0], scope="row"), *(tag("td", c) for c in row[1:]))
        for row in content.rows
    ]
    caption = tag("caption", content.title, class_="hidden")
    return region(content.title, tag("table", caption, tag("thead", head), tag("tbody", *body)))


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


def _differing(value: Value) -> Html:
    words = tag("small", _tag(judged(value))) if value.verdict else None
    return tag("td", against_paper(value), words)


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
    ours = _tag("ours" if line.ours else "")
    return tag("th", line.name, " " if line.ours else None, ours, scope="row")


def _beside(values: Sequence[Value], filled: Filled) -> list[tuple[str, list[Html]]]:
    """The columns beside a measured one: published, difference, verdict, effect; where any is."""
    parts: list[tuple[str, list[Html]]] = []
    if any(v.published is not None for v in values):
        parts.append(("published", [tag("td", published(v, filled.decimals)) for v in values]))
    if any(v.difference is not None for v in values):
        # One column for both: with two metrics the table would be wider than the page.
        parts.append(("difference, verdict", [_differing(v) for v in values]))
    elif any(v.verdict is not None for v in values):
        parts.append(("verdict", [_judged(v) for v in values]))
    if any(v.effect for v in values):
        parts.append((f"against {filled.reference}", [_effect(v.effect) for v in values]))
    return parts


def table(filled: Filled) -> Html:
    """The table of a filled artefact, with every number's interval, published value and effect."""
    many = wide(filled)
    signed_column = len(filled.columns) - 1 if isinstance(filled.spec, ContrastSpec) else -1
    head = [
        tag("td", ""),
        *(tag("th", name, class_="left", scope="col") for name in filled.facts),
    ]
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
            head.append(tag("th", name, scope="col"))
            for row, cell in zip(cells, column_cells, strict=True):
                row.append(cell)
    head.append(tag("th", "seeds", scope="col"))
    for row, line in zip(cells, filled.lines, strict=True):
        row.append(tag("td", line.seeds or BLANK))
    rows = []
    for row, line in zip(cells, filled.lines, strict=True):
        rows.append(tag("tr", *row, class_="paper-only" if line.published_only else None))
    title = f"{filled.spec.number}: {filled.spec.title}"
    caption = tag("caption", title, class_="hidden")
    whole = tag("table", caption, tag("thead", tag("tr", *head)), tag("tbody", *rows))
    return region(title, whole)


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
