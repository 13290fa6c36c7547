"""Columns of a picture grid that nothing can be shown in yet, as gaps that say what is missing."""

from __future__ import annotations

import numpy as np

from camsweep.reports.pictures import Pictures, Pixels, png
from camsweep.reports.spec import PicturesSpec

SIDE = 96
# Between the lightness of both pages, so that the hatching is seen on either.
_PAPER, _LINE = 214, 168


def hatched(side: int = SIDE) -> Pixels:
    """A tile of diagonal lines, uint8 ``[side, side, 3]``: nothing that could pass for a result."""
    rows, columns = np.mgrid[0:side, 0:side]
    grey = np.where((rows + columns) % 12 < 2, _LINE, _PAPER).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def with_gaps(tiles: Pictures, spec: PicturesSpec) -> Pictures:
    """The grid with its holes named in their headings and hatched.

    Args:
        tiles: of the artefact, one column a column of the spec.
        spec: whose columns with ``hole`` are the gaps.
    """
    gaps = [column.hole is not None for column in spec.columns]
    empty = png(hatched()) if any(gaps) else None
    return Pictures(
        tuple(
            f"{name} (not measured)" if gap else name
            for name, gap in zip(tiles.columns, gaps, strict=True)
        ),
        tuple(
            (label, tuple(empty if gap else tile for tile, gap in zip(row, gaps, strict=True)))
            for label, row in tiles.rows
        ),
    )
