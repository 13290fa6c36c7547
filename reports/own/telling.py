"""What stands around the rows of a sheet: caption, remarks, holes with commands, numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from camsweep.reports import seeded
from camsweep.reports.exhibit import Records
from camsweep.reports.export import numbers
from camsweep.reports.markup import Html, join, tag
from camsweep.reports.own.filling import Row, Sheet, settings_of
from camsweep.reports.own.table import blocks
from camsweep.reports.text import failure, verdict

ONE_SEED = "One seed: the interval covers the images alone; nothing is known of another training."


def caption(sheet: Sheet, *more: str) -> str:
    """What was measured on what; ``more`` comes before the rule of seeds."""
    selection, settings = sheet.selection, settings_of(sheet)
    images = f", {sheet.images:,} images" if sheet.images else ""
    parts = [
        sheet.form.notes.strip(),
        f"Measured on data set {selection.data}, profile {selection.profile}"
        f"{f' with {settings}' if settings else ''}{images}. Mean over seeds and 95 % interval, in "
        "percent.",
        *more,
        *seeded.rules(selection, [sheet.form.name]),
    ]
    return " ".join(part for part in parts if part)


def remarks(sheet: Sheet, more: Sequence[str] = (), reference: str = "") -> list[str]:
    """How to read the rows, and what was left out of them.

    Args:
        sheet: the rows.
        more: what comes first.
        reference: what the reference row is called, where that is not its label.
    """
    found = [*more]
    if any(row.effect for row in sheet.rows):
        found.append(
            f"Against {reference or sheet.reference}: paired by seed and image; noise where the "
            "interval does not exclude 0."
        )
    if any(row.estimate.one_seed for row in sheet.rows if row.estimate):
        found.append(ONE_SEED)
    found += [f"{cell.label} can't be: {cell.rule}." for cell in sheet.excluded]
    return [*found, *sheet.notes, *seeded.arms(sheet.selection, [sheet.form.name])]


def lines(sheet: Sheet, told: Sequence[str]) -> tuple[str, ...]:
    """The notes of a sheet as text: remarks, holes with their commands, failed trials."""
    holes = [
        f"Not measured: {hole.what}." + (f" Fill it with: {hole.command}" if hole.command else "")
        for hole in sheet.holes
    ]
    return (*told, *holes, *(f"Failed: {failure(trial)}" for trial in sheet.failed))


def notes(sheet: Sheet, told: Sequence[str]) -> Html | None:
    """The same as markup."""
    missing = [
        join(f"{hole.what}: ", tag("code", hole.command)) if hole.command else hole.what
        for hole in sheet.holes
    ]
    return blocks(
        ("How to read this", told, ""),
        ("Not measured", missing, "missing"),
        ("Failed trials", [failure(trial) for trial in sheet.failed], "missing"),
    )


def row_record(sheet: Sheet, row: Row) -> dict[str, Any]:
    """A row as numbers."""
    selection = sheet.selection
    return {
        "sweep": sheet.form.name,
        "row": row.label,
        **numbers(row.estimate),
        "against": sheet.reference if row.effect else None,
        **numbers(row.effect, "effect_"),
        "verdict": verdict(row.effect) or "effect" if row.effect else None,
        "seeds": len(row.estimate.seeds) if row.estimate else 0,
        "images": row.estimate.images if row.estimate else 0,
        "profile": selection.profile,
        "data": selection.data_name,
        "data_digest": selection.data_digest,
        "settings": settings_of(sheet),
    }


ROW = (
    "sweep", "row", "mean", "low", "high", "against", "effect_mean", "effect_low", "effect_high",
    "verdict", "seeds", "images", "profile", "data", "data_digest", "settings",
)  # fmt: skip


def row_records(
    sheet: Sheet, more: Sequence[str] = (), extra: Sequence[dict[str, Any]] = ()
) -> Records:
    """The rows of a sheet as numbers, with ``more`` columns whose values are in ``extra``."""
    rows = [row_record(sheet, row) for row in sheet.rows]
    if extra:
        rows = [{**row, **own} for row, own in zip(rows, extra, strict=True)]
    return Records((*ROW[:2], *more, *ROW[2:]), rows)
