"""What a report shows, in the one form that every format is written from.

Whatever makes something to be shown (a paper's table, a search, a design, the leaderboard) makes an
`Exhibit`; the page, the images, LaTeX, Markdown, CSV and the notebooks' API know nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from camsweep.reports.markup import Html

if TYPE_CHECKING:
    # A table in a terminal need not wait for it.
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Grid:
    """A table as text: ``headers [K]``, ``rows [N][K]``, a caption and notes below it."""

    title: str
    caption: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Records:
    """A table as numbers, one mapping a row; ``columns`` gives the order and what is optional."""

    columns: tuple[str, ...]
    rows: Sequence[Mapping[str, Any]]

    def table(self) -> pa.Table:
        """As an Arrow table; what no row has is a column of nulls."""
        return pa.table({name: [row.get(name) for row in self.rows] for name in self.columns})


@dataclass(frozen=True)
class Drawn:
    """A figure of an exhibit.

    Attributes:
        name: tells an exhibit's figures apart in file names (``history``); empty for the only one.
        title: its heading where there are several.
        alt: what it shows, for those who can't see it: one or two sentences with the main numbers.
        figure: in the light theme of files; the page takes its own colours.
    """

    name: str
    title: str
    alt: str
    figure: go.Figure


@dataclass(frozen=True)
class Exhibit:
    """A table, a figure or a group of both, under one heading.

    Attributes:
        id: ``cpn/table4``, ``searches/cpn``; file names are made of it.
        page: the page it stands on, ``cpn``.
        number: ``Table 4``; empty where it has none.
        title: its heading.
        caption: what is shown and what it was measured on.
        figures: in order.
        body: markup shown below the figures, a table or pictures; None for none.
        grids: text tables for Markdown and LaTeX, by the end of their file's name ("" for one).
        records: the numbers for CSV and notebooks, by the same names.
        notes: markup below: shape, remarks, holes with their commands, failed trials.
        commands: those that fill its holes, one a hole.
        lacking: whether something is missing that no command can fill yet.
        failed: how many of its trials failed.
        verdicts: how many of its numbers agree with the published ones, by `verdicts.WORDS`.
    """

    id: str
    page: str
    number: str
    title: str
    caption: str
    figures: tuple[Drawn, ...] = ()
    body: Html | None = None
    grids: tuple[tuple[str, Grid], ...] = ()
    records: tuple[tuple[str, Records], ...] = ()
    notes: Html | None = None
    commands: tuple[str, ...] = ()
    lacking: bool = False
    failed: int = 0
    verdicts: Mapping[str, int] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether nothing is missing and nothing failed."""
        return not (self.commands or self.lacking or self.failed)

    @property
    def stem(self) -> str:
        """The beginning of its files' names, ``cpn-table4``."""
        return self.id.replace("/", "-")

    def file_name(self, part: str) -> str:
        """The name of one of its files without the ending."""
        return f"{self.stem}-{part}" if part else self.stem
