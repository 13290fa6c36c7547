"""Every `ablate` design with results -> an exhibit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from camsweep.reports.effects.figures import MOST, dots, kind_of, signed
from camsweep.reports.effects.steps import steps_of
from camsweep.reports.effects.telling import Effects, Told, coalition, effects_of
from camsweep.reports.effects.waterfall import waterfall_drawn
from camsweep.reports.exhibit import Drawn, Exhibit, Records
from camsweep.reports.export import numbers
from camsweep.reports.markup import Html, join, tag
from camsweep.reports.measure import Estimate, Measurements
from camsweep.reports.own import telling
from camsweep.reports.own.filling import Row, Sheet
from camsweep.reports.own.table import Shown, Table, difference, number, words
from camsweep.reports.text import verdict
from camsweep.reports.words import BLANK
from camsweep.sweeps.designs import Ablation

NUMBER = "Design"
#: Components that get a column of their own.
COLUMNS = 8
POINTS = "effect on mIoU, points"
STEPS = "Step: against the last measured row before it, over the seeds that all rows have."

STEP = ("step_mean", "step_low", "step_high")
EFFECT = (
    "sweep", "kind", "effect", "aliases", "mean", "low", "high", "verdict", "seeds", "images",
    "profile", "data", "data_digest",
)  # fmt: skip


def design_exhibit(
    sheet: Sheet, design: Ablation, measurements: Measurements, name: str, title: str
) -> Exhibit:
    """The exhibit of a design: its rows, its effects, its figures.

    Args:
        sheet: the rows of the design.
        design: as the sweep file has it.
        measurements: of the report.
        name: of the exhibit, after ``ablate/``.
        title: its heading.
    """
    whole = design.design in ("factorial", "fractional")
    effects = effects_of(sheet, design, measurements) if whole else None
    steps = _steps(sheet, design, measurements)
    caption = telling.caption(sheet, _about(design))
    base = next((row_name(r, design) for r in sheet.rows if r.label == sheet.reference), "")
    first = effects.remarks if effects else (STEPS,) if steps else ()
    told = telling.remarks(sheet, first, base)
    rows = _rows(sheet, design, steps, caption, title)
    grids = [("", rows.grid(telling.lines(sheet, told)))]
    extra: list[dict[str, Any]] = [
        {"on": sorted(coalition(row.cell.on or {})), **numbers(step, "step_")}
        for row, step in zip(sheet.rows, steps or [None] * len(sheet.rows), strict=True)
    ]
    columns = ("on", *(STEP if steps else ()))
    records = [("", telling.row_records(sheet, columns, extra))]
    parts: list[Html | None] = [rows.html()]
    if effects and (effects.main or effects.shares):
        table = _effects(effects, caption, title)
        grids.append(("effects", table.grid()))
        records.append(("effects", Records(EFFECT, _effect_records(sheet, effects))))
        parts.append(tag("details", tag("summary", "All effects as numbers"), table.html()))
    figures = _effect_figures(effects) if effects else _row_figures(sheet, design, measurements)
    return Exhibit(
        id=f"ablate/{name}",
        page="ablate",
        number=NUMBER,
        title=title,
        caption=caption,
        figures=figures,
        body=join(*parts),
        grids=tuple(grids),
        records=tuple(records),
        notes=telling.notes(sheet, told),
        commands=tuple(hole.command for hole in sheet.holes if hole.command),
        lacking=any(not hole.command for hole in sheet.holes),
        failed=len(sheet.failed),
    )


def _about(design: Ablation) -> str:
    count = len(design.components)
    return {
        "leave-one-out": f"Leave-one-out of {count} components: all on, then each one off.",
        "add-one-in": f"Add-one-in of {count} components: all off, then each one on.",
        "cumulative": f"Cumulative: {count} components switched on one after the other.",
        "factorial": f"Factorial: every combination of {count} components that can be.",
        "fractional": f"A fraction of all combinations of {count} components.",
    }[design.design]


def row_name(row: Row, design: Ablation) -> str:
    """Short: what is on of a factorial's row, else the row's label."""
    if design.design not in ("factorial", "fractional"):
        return row.label
    on = [name for name in design.components if (row.cell.on or {}).get(name)]
    return "all" if len(on) == len(design.components) else " + ".join(on) or "none"


def _steps(sheet: Sheet, design: Ablation, measurements: Measurements) -> list[Estimate | None]:
    """Of a cumulative design each row's gain on the last measured one before it; else nothing."""
    if design.design != "cumulative":
        return []
    rows = [row.estimate for row in sheet.rows]
    return [step.gain for step in steps_of([r.label for r in sheet.rows], rows, measurements)]


def _rows(
    sheet: Sheet, design: Ablation, steps: Sequence[Estimate | None], caption: str, title: str
) -> Table:
    components = list(design.components)
    if len(components) > COLUMNS or design.design not in ("factorial", "fractional"):
        components = []
    names = {row.label: row_name(row, design) for row in sheet.rows}
    reference = names.get(sheet.reference or "", sheet.reference or BLANK)
    gained = ("step",) if steps else ()
    headers = ("", *components, "mIoU", *gained, f"against {reference}", "seeds")
    rows: list[tuple[Shown, ...]] = [
        (
            words(names[row.label]),
            *(words("on" if (row.cell.on or {}).get(c) else BLANK) for c in components),
            number(row.estimate),
            *([difference(step)] if steps else []),
            difference(row.effect),
            words(len(row.trials) or BLANK),
        )
        for row, step in zip(sheet.rows, steps or [None] * len(sheet.rows), strict=True)
    ]
    return Table(title, caption, headers, tuple(rows))


def _effects(effects: Effects, caption: str, title: str) -> Table:
    rows = []
    for kind, some in (
        ("effect", effects.main),
        ("together", effects.interactions),
        ("share", effects.shares),
    ):
        for told in some:
            rows.append((words(_named(told)), words(kind), difference(told.estimate)))
    if effects.total is not None:
        rows.append((words("all - none"), words("sum of shares"), difference(effects.total)))
    headers = ("component", "what", "points of mIoU")
    return Table(f"{title}: effects", caption, headers, tuple(rows))


def _named(told: Told) -> str:
    return " = ".join((told.name, *told.aliases))


def _effect_records(sheet: Sheet, effects: Effects) -> list[dict[str, Any]]:
    selection = sheet.selection
    total = Told("total", "all - none", effects.total)
    return [
        {
            "sweep": sheet.form.name,
            "kind": told.kind,
            "effect": told.name,
            "aliases": list(told.aliases),
            **numbers(told.estimate),
            "verdict": verdict(told.estimate) or "effect" if told.estimate else None,
            "seeds": len(told.estimate.seeds) if told.estimate else 0,
            "images": told.estimate.images if told.estimate else 0,
            "profile": selection.profile,
            "data": selection.data_name,
            "data_digest": selection.data_digest,
        }
        for told in (
            *effects.main,
            *effects.interactions,
            *effects.shares,
            *([total] if effects.total else []),
        )
    ]


def _dotted(name: str, title: str, some: Sequence[Told], axis: str = POINTS) -> list[Drawn]:
    """A dot plot of the effects that have a number; none without one."""
    known = [(_named(told), told.estimate) for told in some if told.estimate is not None]
    if not known:
        return []
    if len(known) > MOST:
        known.sort(key=lambda item: -abs(item[1].mean))
        title = f"{title}: the {MOST} largest of {len(known)}"
    listed = "; ".join(
        f"{one} {signed(e)}{'' if kind_of(e) == 'effect' else f' ({kind_of(e)})'}"
        for one, e in known[:8]
    )
    more = f" and {len(known) - 8} more" if len(known) > 8 else ""
    return [Drawn(name, title, f"{title}: {listed}{more}.", dots(known, axis))]


def _effect_figures(effects: Effects) -> tuple[Drawn, ...]:
    total = [Told("total", "all - none", effects.total)] if effects.total else []
    return (
        *_dotted("effects", "Main effects", effects.main),
        *_dotted("interactions", "Effects of two together", effects.interactions),
        *_dotted(
            "shapley", "Shapley shares", [*effects.shares, *total], "share of the gain, mIoU points"
        ),
    )


def _row_figures(sheet: Sheet, design: Ablation, measurements: Measurements) -> tuple[Drawn, ...]:
    if design.design == "cumulative":
        names = [row.label for row in sheet.rows]
        found = waterfall_drawn(
            names, [row.estimate for row in sheet.rows], measurements, "What each component adds"
        )
        return (found,) if found else ()
    title = "Left out, one at a time" if design.design == "leave-one-out" else "Alone"
    told = [Told("row", row.label, row.effect) for row in sheet.rows if row.effect is not None]
    return tuple(_dotted("effects", title, told, f"mIoU points against {sheet.reference}"))
