"""The exhibit of a user's own sweep: a curve, a heat map or a table, by what it varies."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from camsweep.reports.exhibit import Drawn, Exhibit
from camsweep.reports.markup import Html, tag
from camsweep.reports.measure import Estimate
from camsweep.reports.own import telling
from camsweep.reports.own.beside import Paper, beside
from camsweep.reports.own.figures import curve, heat_map
from camsweep.reports.own.filling import Sheet
from camsweep.reports.own.table import Shown, Table, difference, number, words
from camsweep.reports.words import BLANK, bounds, percent
from camsweep.sweeps.spec import format_value

#: Values of a setting that a heat map has room for.
MOST = 14
BARE = (
    "The store does not know this sweep's form (its trials are older than that memory), so rows "
    "have no reference, and no command is named for what is missing; run the sweep again and "
    "nothing but the form is added."
)


def own_exhibit(sheet: Sheet, name: str) -> Exhibit:
    """The exhibit of a sweep of the user's own.

    Args:
        sheet: its rows.
        name: of the exhibit, after ``own/``.
    """
    paper = beside(sheet)
    caption = telling.caption(
        sheet, *([f"Published: {paper.measured_on}."] if paper.measured_on else [])
    )
    told = telling.remarks(sheet, _more(sheet, paper))
    table = _table(sheet, paper, caption)
    figure = _figure(sheet, paper)
    body: Html = table.html()
    if figure is not None:
        body = tag("details", tag("summary", "The numbers"), body)
    extra = [
        {"published": laid.published, "difference": laid.difference, "against_paper": laid.verdict}
        if (laid := paper.rows.get(row.label))
        else {}
        for row in sheet.rows
    ]
    columns = ("published", "difference", "against_paper") if paper.rows else ()
    return Exhibit(
        id=f"own/{name}",
        page="own",
        number="Sweep",
        title=sheet.form.title,
        caption=caption,
        figures=(figure,) if figure else (),
        body=body,
        grids=(("", table.grid(telling.lines(sheet, told))),),
        records=(("", telling.row_records(sheet, columns, extra)),),
        notes=telling.notes(sheet, told),
        commands=tuple(hole.command for hole in sheet.holes if hole.command),
        lacking=any(not hole.command for hole in sheet.holes),
        failed=len(sheet.failed),
    )


def _more(sheet: Sheet, paper: Paper) -> list[str]:
    found = [] if sheet.form.path else [BARE]
    if paper.remark:
        found.append(paper.remark)
    if paper.unlike:
        found.append(
            f"Published numbers are of {paper.unlike}: only the shape may be compared, not the "
            "level."
        )
    return found


def _table(sheet: Sheet, paper: Paper, caption: str) -> Table:
    headers = ["", "mIoU"]
    headers += ["published", "difference", "verdict"] if paper.rows else []
    headers += [f"against {sheet.reference}"] if sheet.reference else []
    rows = []
    for row in sheet.rows:
        cells: list[Shown] = [words(row.label), number(row.estimate)]
        if paper.rows:
            laid = paper.rows.get(row.label)
            apart = None if laid is None else laid.difference
            cells += [
                words(BLANK if laid is None else f"{laid.published:.2f}"),
                words(BLANK if apart is None else f"{apart:+.1f}"),
                words(laid.verdict or BLANK if laid else BLANK),
            ]
        if sheet.reference:
            cells.append(difference(row.effect))
        rows.append((*cells, words(len(row.trials) or BLANK)))
    return Table(sheet.form.title, caption, (*headers, "seeds"), tuple(rows))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _figure(sheet: Sheet, paper: Paper) -> Drawn | None:
    """None where a table says it better: arms, a design, more than two settings."""
    axes = sheet.form.axes
    if not sheet.measured or any(row.cell.arm for row in sheet.rows):
        return None
    if len(axes) == 1:
        ((name, values),) = axes.items()
        numeric = all(map(_is_number, values)) and len(set(values)) > 1
        return _curve(sheet, paper, name) if numeric else None
    if len(axes) == 2 and all(len(values) <= MOST for values in axes.values()):
        return _heat_map(sheet, axes)
    return None


def _best(sheet: Sheet) -> str:
    """The highest row in words."""
    found = [(row.label, row.estimate) for row in sheet.rows if row.estimate is not None]
    label, estimate = max(found, key=lambda item: item[1].mean)
    return f"highest at {label}, {percent(estimate.mean)} % {bounds(estimate)}"


def _curve(sheet: Sheet, paper: Paper, axis: str) -> Drawn:
    by_value = {float(row.cell.point[axis]): row for row in sheet.rows}
    points = [(x, by_value[x].estimate) for x in sorted(by_value)]
    # On other data the levels can't stand on one axis: the table has the published numbers.
    laid = {
        x: paper.rows[row.label].published
        for x, row in sorted(by_value.items())
        if row.label in paper.rows and not paper.unlike
    }
    figure = curve(points, axis, sheet.selection.profile, laid, paper.measured_on)
    alt = f"{sheet.form.title}: measured curve over {axis} with its 95 % band; {_best(sheet)}."
    return Drawn("", sheet.form.title, alt, figure)


def _heat_map(sheet: Sheet, axes: Mapping[str, Sequence[Any]]) -> Drawn:
    (first, rows), (second, columns) = axes.items()

    def key(a: Any, b: Any) -> str:
        return json.dumps([a, b], sort_keys=True)

    found: dict[str, Estimate | None] = {
        key(row.cell.point[first], row.cell.point[second]): row.estimate for row in sheet.rows
    }
    cells = [[found.get(key(a, b)) for b in columns] for a in rows]
    names = [[format_value(value) for value in some] for some in (columns, rows)]
    figure = heat_map(names[0], names[1], cells, (second, first))
    alt = f"{sheet.form.title}: mIoU over {first} (rows) and {second} (columns); {_best(sheet)}."
    return Drawn("", sheet.form.title, alt, figure)
