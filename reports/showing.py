"""A filled artefact -> the exhibit that every format is written from."""

from __future__ import annotations

from camsweep.reports.artefacts import Filled
from camsweep.reports.cards import notes, picture_grid, plain_table, table
from camsweep.reports.exhibit import Drawn, Exhibit, Records
from camsweep.reports.export import TIDY, tidy
from camsweep.reports.figures import curve
from camsweep.reports.markup import Html, tag
from camsweep.reports.pictures import Pictures, pictures
from camsweep.reports.pictures import figure as pictures_figure
from camsweep.reports.spec import CurveSpec, PicturesSpec
from camsweep.reports.text import caption, grid
from camsweep.sweeps.store import Store


def exhibit_of(filled: Filled, store: Store) -> Exhibit:
    """The exhibit of an artefact.

    Args:
        filled: the artefact with its numbers.
        store: where its pictures are.
    """
    spec = filled.spec
    tiles = pictures(spec, filled.selection, store) if isinstance(spec, PicturesSpec) else None
    numbers = bool(filled.lines)
    return Exhibit(
        id=spec.id,
        page=spec.paper,
        number=spec.number,
        title=spec.title,
        caption=caption(filled),
        figures=_figures(filled, tiles),
        body=_body(filled, tiles),
        grids=(("", grid(filled)),) if numbers else (),
        records=(("", Records(TIDY, tidy(filled))),) if numbers else (),
        notes=notes(filled),
        holes=sum(bool(hole.command) for hole in filled.holes),
        failed=len(filled.failed),
    )


def _measured(filled: Filled) -> bool:
    return any(v.estimate is not None for line in filled.lines for v in line.values)


def _figures(filled: Filled, tiles: Pictures | None) -> tuple[Drawn, ...]:
    if isinstance(filled.spec, CurveSpec) and _measured(filled):
        best = max(
            (line for line in filled.lines if line.values[0].estimate is not None),
            key=lambda line: line.values[0].estimate.mean if line.values[0].estimate else 0.0,
        )
        found = best.values[0].estimate
        alt = f"{filled.spec.title}: measured curve over {filled.spec.axis} with its 95 % band" + (
            f"; highest at {best.name}, {100 * found.mean:.1f} %." if found else "."
        )
        return (Drawn("", filled.spec.title, alt, curve(filled)),)
    if tiles is not None:
        alt = f"{filled.spec.title}: {', '.join(tiles.columns)} of {len(tiles.rows)} images."
        return (Drawn("", filled.spec.title, alt, pictures_figure(tiles)),)
    return ()


def _body(filled: Filled, tiles: Pictures | None) -> Html | None:
    if isinstance(filled.spec, CurveSpec) and _measured(filled):
        return tag("details", tag("summary", "The numbers"), plain_table(grid(filled)))
    if filled.lines:
        return table(filled)
    if tiles is not None:
        return picture_grid(tiles)
    return tag("p", "No pictures are stored for these trials.", class_="caption")
