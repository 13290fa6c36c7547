"""Numbers and sentences as text, and artefacts as plain grids of cells for every text format."""

from __future__ import annotations

from camsweep.reports import seeded
from camsweep.reports.artefacts import OTHER_SETTINGS, Filled, Line, Value
from camsweep.reports.exhibit import Grid
from camsweep.reports.load import Trial
from camsweep.reports.measure import Estimate
from camsweep.reports.shape import sentences
from camsweep.reports.spec import ContrastSpec, CurveSpec, PicturesSpec, TableSpec, paper
from camsweep.reports.words import BLANK, bounds, measured


def effect(difference: Estimate | None) -> str:
    """``+3.8 [+1.2, +6.4]``, with the word noise where the interval does not exclude 0."""
    if difference is None:
        return BLANK
    text = f"{100 * difference.mean:+.1f} {bounds(difference, sign=True)}"
    return f"{text} {verdict(difference)}".strip()


def verdict(difference: Estimate) -> str:
    """``noise``, ``one seed`` (the noise of seeds is unknown) or nothing for an effect."""
    if difference.one_seed:
        return "one seed"
    return "noise" if difference.noise else ""


def against_paper(value: Value) -> str:
    """Measured minus published in points, or why the two can't be compared."""
    if value.published is None or value.estimate is None:
        return BLANK
    return value.unlike if value.difference is None else f"{value.difference:+.1f}"


def published(value: Value) -> str:
    """The published number as the paper prints it."""
    return BLANK if value.published is None else f"{value.published:.2f}"


def where(filled: Filled) -> str:
    """Data set, profile, overrides and images: stands in every caption."""
    images = f", {filled.images:,} images" if filled.images else ""
    selection = filled.selection
    settings = f" with {filled.settings}" if filled.settings else ""
    return f"Measured on data set {selection.data}, profile {selection.profile}{settings}{images}."


def caption(filled: Filled) -> str:
    """What is shown, on which data, and what the published numbers were measured on."""
    spec = filled.spec
    about = paper(spec.paper)
    parts = [spec.about, where(filled)]
    if isinstance(spec, PicturesSpec):
        return " ".join(p for p in parts if p)
    shown = "Mean over seeds and 95 % interval, in percent"
    parts.append(f"{shown}; published: {about.measured_on}.")
    shown_any = any(v.estimate is not None for line in filled.lines for v in line.values)
    if filled.unlike and shown_any:
        what = "Other settings" if filled.unlike == OTHER_SETTINGS else "Other data"
        parts.append(f"{what} than the paper's: only the shape may be compared, not the level.")
    parts += seeded.rules(filled.selection, spec.sweeps())
    return " ".join(p for p in parts if p)


def shape_lines(filled: Filled) -> list[str]:
    """Whether the shape of the published result holds, one sentence a claim."""
    if filled.shape is None:
        return []
    spec = filled.spec
    ordered = isinstance(spec, CurveSpec) or (isinstance(spec, TableSpec) and spec.ordered)
    return sentences(filled.shape, ordered=ordered)


def remarks(filled: Filled) -> list[str]:
    """What a reader must know of the intervals, and what was left out."""
    found: list[str] = []
    estimates = [v.estimate for line in filled.lines for v in line.values if v.estimate]
    if any(e.images == 0 for e in estimates) and any(e.images for e in estimates):
        found.append(
            "Numbers without per-image counts (single scales, the map that is not the headline) "
            "have intervals over seeds alone."
        )
    if any(e.one_seed for e in estimates):
        found.append(
            "One seed (open marker): the interval covers the images alone, not another training."
            if isinstance(filled.spec, CurveSpec)
            else "One seed: the interval covers the images alone, not another training."
        )
    return [*found, *filled.notes, *seeded.arms(filled.selection, filled.spec.sweeps())]


def failure(trial: Trial) -> str:
    """Which trial failed and why."""
    labels = ", ".join(f"{sweep} {label}" for sweep, label in trial.memberships)
    return f"{labels}, seed {trial.seed}: {trial.cause or 'no cause recorded'}"


def notes(filled: Filled) -> tuple[str, ...]:
    """Shape, remarks, holes with the commands that fill them, and failed trials."""
    holes = [
        f"Not measured: {hole.what}." + (f" Fill it with: {hole.command}" if hole.command else "")
        for hole in filled.holes
    ]
    return (
        *(f"Shape: {line}" for line in shape_lines(filled)),
        *remarks(filled),
        *holes,
        *(f"Failed: {failure(trial)}" for trial in filled.failed),
    )


def wide(filled: Filled) -> bool:
    """Whether a table has too many measured columns to give each its own paper column."""
    return len(filled.columns) > 3


def _name(line: Line) -> str:
    return f"{line.name} (ours)" if line.ours else line.name


def _cell(value: Value) -> str:
    return "not measured" if value.hole else measured(value.estimate)


def _wide_rows(filled: Filled) -> list[tuple[str, ...]]:
    rows = []
    for line in filled.lines:
        rows.append((_name(line), *map(_cell, line.values), str(line.seeds or BLANK)))
        if any(v.published is not None for v in line.values):
            rows.append(("  published", *map(published, line.values), ""))
        if not line.published_only:
            rows.append(("  difference", *map(against_paper, line.values), ""))
        if any(v.effect for v in line.values):
            against = f"  against {filled.reference}"
            rows.append((against, *(effect(v.effect) for v in line.values), ""))
    return rows


def grid(filled: Filled) -> Grid:
    """An artefact's numbers as a table of text."""
    spec = filled.spec
    title = f"{spec.number}: {spec.title}"
    if wide(filled):
        headers = ("", *filled.columns, "seeds")
        return Grid(title, caption(filled), headers, tuple(_wide_rows(filled)), notes(filled))
    is_contrast = isinstance(spec, ContrastSpec)
    headers_list, rows = [""], [[_name(line)] for line in filled.lines]
    for index, column in enumerate(filled.columns):
        values = [line.values[index] for line in filled.lines]
        headers_list.append(column)
        signed = is_contrast and index == len(filled.columns) - 1
        for row, value in zip(rows, values, strict=True):
            row.append(effect(value.estimate) if signed and not value.hole else _cell(value))
        if any(v.published is not None for v in values):
            headers_list += ["published", "difference"]
            for row, value in zip(rows, values, strict=True):
                row += [published(value), against_paper(value)]
        if any(v.effect for v in values):
            headers_list.append(f"against {filled.reference}")
            for row, value in zip(rows, values, strict=True):
                row.append(effect(value.effect))
    headers_list.append("seeds")
    for row, line in zip(rows, filled.lines, strict=True):
        row.append(str(line.seeds or BLANK))
    cells = tuple(tuple(row) for row in rows)
    return Grid(title, caption(filled), tuple(headers_list), cells, notes(filled))
