"""Numbers and sentences as text, and artefacts as plain grids of cells for every text format."""

from __future__ import annotations

from camsweep.reports import seeded
from camsweep.reports.exhibit import Grid
from camsweep.reports.filled import OTHER_SETTINGS, Filled, Line, Value
from camsweep.reports.load import Trial
from camsweep.reports.measure import Estimate
from camsweep.reports.shape import sentences
from camsweep.reports.spec import ContrastSpec, CurveSpec, PicturesSpec, TableSpec, paper
from camsweep.reports.verdicts import CAVEAT, RULES, UNLIKE, summary
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
    """Measured minus published in points; blank where the two can't be compared."""
    return BLANK if value.difference is None else f"{value.difference:+.1f}"


def judged(value: Value) -> str:
    """The verdict, ``reproduced``, ``not comparable: other data``; blank where there is none."""
    return BLANK if value.verdict is None else value.verdict.text


def published(value: Value, decimals: int) -> str:
    """The published number with as many decimals as the paper prints."""
    return BLANK if value.published is None else f"{value.published:.{decimals}f}"


def where(filled: Filled) -> str:
    """Data set, profile, overrides, images and what was measured: stands in every caption."""
    images = f", {filled.images:,} images" if filled.images else ""
    selection = filled.selection
    settings = f" with {filled.settings}" if filled.settings else ""
    of = f": {filled.measures}" if filled.measures else ""
    profile = f"profile {selection.profile}{settings}"
    return f"Measured on data set {selection.data}, {profile}{images}{of}."


def caption(filled: Filled) -> str:
    """What is shown, on which data, and what the published numbers were measured on."""
    spec = filled.spec
    measured_on = spec.measured_on or paper(spec.paper).measured_on
    if isinstance(spec, PicturesSpec):
        return " ".join(p for p in (spec.about, where(filled)) if p)
    parts = [spec.about, where(filled)]
    shown = "Mean over seeds and 95 % interval, in percent"
    parts.append(f"{shown}; published: {measured_on}.")
    if filled.unlike and measured_any(filled):
        what = "Other settings" if filled.unlike == OTHER_SETTINGS else "Other data"
        parts.append(f"{what} than the paper's: only the shape may be compared, not the level.")
    parts += seeded.rules(filled.selection, spec.sweeps())
    return " ".join(p for p in parts if p)


def measured_any(filled: Filled) -> bool:
    """Whether any of its cells has a number of ours."""
    return any(v.estimate is not None for line in filled.lines for v in line.values)


def verdict_line(filled: Filled) -> str:
    """``Verdicts: 3 reproduced, 1 differs.``; empty where nothing was judged."""
    counts = filled.verdicts
    if not counts:
        return ""
    whys = {v.verdict.why for x in filled.lines for v in x.values if v.verdict is not None}
    only = set(counts) == {UNLIKE} and len(whys) == 1
    return f"Verdicts: {summary(counts)}{f' ({next(iter(whys))})' if only else ''}."


def verdict_rules(filled: Filled) -> tuple[str, ...]:
    """What the verdicts that occur mean; nothing where all say that nothing may be compared."""
    counts = filled.verdicts
    if not set(counts) - {UNLIKE}:
        return ()
    return (*(f"{word}: {RULES[word]}" for word in counts), CAVEAT)


def protocol_line(filled: Filled) -> str:
    """``Protocol: crop 96 here, 448 in the paper; ...``; empty where nothing differs."""
    if not filled.protocol:
        return ""
    return f"Protocol: {'; '.join(filled.protocol)}. Known from: {'; '.join(filled.sources)}."


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
    beside = (verdict_line(filled), *verdict_rules(filled), protocol_line(filled))
    return (
        *(line for line in beside if line),
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


def _facts(line: Line) -> tuple[str, ...]:
    return tuple(word or BLANK for word in line.facts)


def _cell(value: Value) -> str:
    return "not measured" if value.hole else measured(value.estimate)


def _has(filled: Filled, what: str) -> bool:
    """Whether any cell has a field of `Value`: ``difference``, ``verdict``."""
    return any(getattr(v, what) is not None for line in filled.lines for v in line.values)


def _wide_rows(filled: Filled) -> list[tuple[str, ...]]:
    rows = []
    differ, judge = _has(filled, "difference"), _has(filled, "verdict")
    blank = ("",) * len(filled.facts)
    for line in filled.lines:
        seeds = str(line.seeds or BLANK)
        rows.append((_name(line), *_facts(line), *map(_cell, line.values), seeds))
        if any(v.published is not None for v in line.values):
            stated = (published(v, filled.decimals) for v in line.values)
            rows.append(("  published", *blank, *stated, ""))
        if differ and not line.published_only:
            rows.append(("  difference", *blank, *map(against_paper, line.values), ""))
        if judge and any(v.verdict for v in line.values):
            # Why nothing may be compared stands in the caption and below; here there is no room.
            words = (UNLIKE if v.unlike and v.verdict else judged(v) for v in line.values)
            rows.append(("  verdict", *blank, *words, ""))
        if any(v.effect for v in line.values):
            against = f"  against {filled.reference}"
            rows.append((against, *blank, *(effect(v.effect) for v in line.values), ""))
    return rows


def grid(filled: Filled) -> Grid:
    """An artefact's numbers as a table of text."""
    spec = filled.spec
    title = f"{spec.number}: {spec.title}"
    if wide(filled):
        headers = ("", *filled.facts, *filled.columns, "seeds")
        return Grid(title, caption(filled), headers, tuple(_wide_rows(filled)), notes(filled))
    is_contrast = isinstance(spec, ContrastSpec)
    headers_list = ["", *filled.facts]
    rows = [[_name(line), *_facts(line)] for line in filled.lines]
    for index, column in enumerate(filled.columns):
        values = [line.values[index] for line in filled.lines]
        signed = is_contrast and index == len(filled.columns) - 1
        shown = [effect(v.estimate) if signed and not v.hole else _cell(v) for v in values]
        parts = [(column, shown)]
        if any(v.published is not None for v in values):
            parts.append(("published", [published(v, filled.decimals) for v in values]))
        if any(v.difference is not None for v in values):
            parts.append(("difference", [against_paper(v) for v in values]))
        if any(v.verdict is not None for v in values):
            parts.append(("verdict", [judged(v) for v in values]))
        if any(v.effect for v in values):
            parts.append((f"against {filled.reference}", [effect(v.effect) for v in values]))
        for header, texts in parts:
            headers_list.append(header)
            for row, text in zip(rows, texts, strict=True):
                row.append(text)
    headers_list.append("seeds")
    for row, line in zip(rows, filled.lines, strict=True):
        row.append(str(line.seeds or BLANK))
    cells = tuple(tuple(row) for row in rows)
    return Grid(title, caption(filled), tuple(headers_list), cells, notes(filled))
