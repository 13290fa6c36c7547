"""A filled artefact -> the exhibit that every format is written from."""

from __future__ import annotations

from camsweep.reports.cards import notes, picture_grid, plain_table, table
from camsweep.reports.effects.waterfall import waterfall_drawn
from camsweep.reports.exhibit import Drawn, Exhibit, Records
from camsweep.reports.export import TIDY, tidy
from camsweep.reports.figures import curve
from camsweep.reports.filled import Filled
from camsweep.reports.gaps import with_gaps
from camsweep.reports.markup import Html, tag
from camsweep.reports.measure import Estimate, Measurements
from camsweep.reports.pictures import Pictures, pictures
from camsweep.reports.pictures import figure as pictures_figure
from camsweep.reports.spec import CurveSpec, PicturesSpec, TableSpec
from camsweep.reports.text import caption, grid, measured_any
from camsweep.sweeps.store import Store


def exhibit_of(filled: Filled, store: Store, measurements: Measurements | None = None) -> Exhibit:
    """The exhibit of an artefact.

    Args:
        filled: the artefact with its numbers.
        store: where its pictures are.
        measurements: that it was filled from; without them a cumulative table has no waterfall.
    """
    spec = filled.spec
    tiles = None
    if isinstance(spec, PicturesSpec):
        found = pictures(spec, filled.selection, store)
        tiles = with_gaps(found, spec) if found else None
    numbers = bool(filled.lines)
    return Exhibit(
        id=spec.id,
        page=spec.paper,
        number=spec.number,
        title=spec.title,
        caption=caption(filled),
        figures=_figures(filled, tiles, measurements),
        body=_body(filled, tiles),
        grids=(("", grid(filled)),) if numbers else (),
        records=(("", Records(TIDY, tidy(filled))),) if numbers else (),
        notes=notes(filled),
        commands=tuple(hole.command for hole in filled.holes if hole.command),
        lacking=any(not hole.command for hole in filled.holes),
        failed=len(filled.failed),
        verdicts=filled.verdicts,
    )


def _figures(
    filled: Filled, tiles: Pictures | None, measurements: Measurements | None
) -> tuple[Drawn, ...]:
    spec = filled.spec
    if isinstance(spec, CurveSpec) and measured_any(filled):
        return (Drawn("", spec.title, _curve_words(filled, spec), curve(filled)),)
    if isinstance(spec, TableSpec) and spec.cumulative and measurements is not None:
        drawn = _waterfall(filled, spec, measurements)
        return () if drawn is None else (drawn,)
    if tiles is not None:
        alt = f"{spec.title}: {', '.join(tiles.columns)} of {len(tiles.rows)} images."
        return (Drawn("", spec.title, alt, pictures_figure(tiles)),)
    return ()


def _curve_words(filled: Filled, spec: CurveSpec) -> str:
    """What a curve shows: its peak, its ends, the published points and the gaps."""
    found: list[tuple[str, Estimate]] = [
        (line.name, e) for line in filled.lines if (e := line.values[0].estimate) is not None
    ]
    best = max(found, key=lambda pair: pair[1].mean)
    shown = dict([found[0], best, found[-1]])
    points = ", ".join(f"{100 * e.mean:.1f} % at {name}" for name, e in shown.items())
    words = [
        f"{spec.title}: measured curve over {spec.axis} with its 95 % band, {points}; highest at "
        f"{best[0]}."
    ]
    stated = [
        f"{value:.2f} at {line.name}"
        for line in filled.lines
        if (value := line.values[0].published) is not None
    ]
    words += [f"Published: {', '.join(stated)}."] if stated else []
    gaps = [line.name for line in filled.lines if line.values[0].hole]
    words += [f"Not measured: {', '.join(gaps)}."] if gaps else []
    return " ".join(words)


def _waterfall(filled: Filled, spec: TableSpec, measurements: Measurements) -> Drawn | None:
    column = [c.name for c in spec.columns].index(spec.headline or spec.columns[0].name)
    of_row = {line.name: line.values[column].estimate for line in filled.lines}
    estimates = [of_row[name] for name in spec.cumulative]
    title = f"{spec.title}: what each part adds"
    return waterfall_drawn(spec.cumulative, estimates, measurements, title)


def _body(filled: Filled, tiles: Pictures | None) -> Html | None:
    if isinstance(filled.spec, CurveSpec) and measured_any(filled):
        return tag("details", tag("summary", "The numbers"), plain_table(grid(filled)))
    if filled.lines:
        return table(filled)
    if tiles is not None:
        return picture_grid(tiles)
    return tag("p", "No pictures are stored for these trials.", class_="caption")
