"""Reports in notebooks: every table as an Arrow table, every figure as a plotly figure.

from camsweep.reports.api import open_report

report = open_report("results")
report.tables["cpn/table4"].to_pandas()
report.figures["cpn/fig6"].show()
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pyarrow as pa

from camsweep.reports.board.filters import Filters
from camsweep.reports.board.ofstore import rank
from camsweep.reports.board.showing import board_exhibit
from camsweep.reports.build import Request, everything, parse_formats, publish
from camsweep.reports.exhibit import Exhibit
from camsweep.reports.formats.arrow import arrow_table
from camsweep.reports.formats.facts import provenance
from camsweep.reports.formats.plainlines import plain_lines
from camsweep.reports.lazy import LazyMapping, MissingError
from camsweep.reports.markup import tag
from camsweep.reports.report import RESAMPLES, Report, assemble, of_papers
from camsweep.shards.errors import InputError, nearest
from camsweep.sweeps.store import Store

#: Filters of `StoreReport.leaderboard`.
FILTERS = ("profile", "data", "method", "backbone", "stage", "top")


def open_report(
    store: str,
    *,
    artefacts: Sequence[str] = (),
    profile: str | None = None,
    data: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> StoreReport:
    """The report of a store. Nothing is computed before it is asked for.

    Args:
        store: path or URL.
        artefacts: ids and papers (``cpn/table4``, ``sipe``); empty for all that have a trial.
        profile: a profile's name, or None for the one with most trials.
        data: the beginning of a data digest, or None.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        InputError: no such store or artefact; later, when something is first asked for, no such
            profile or data set.
    """
    wanted = (artefacts,) if isinstance(artefacts, str) else tuple(artefacts)
    of_papers(wanted)
    Store(str(store)).require()
    return StoreReport(str(store), wanted, profile, data, resamples, seed)


class StoreReport:
    """What a store has to show. Made by `open_report`.

    Tables and figures are mappings by the id of what they show (``cpn/table4``); where it has
    several, the name of the part is added (``searches/cpn/importance``).
    """

    def __init__(
        self,
        store: str,
        artefacts: tuple[str, ...],
        profile: str | None,
        data: str | None,
        resamples: int,
        seed: int,
    ) -> None:
        self.store = store
        self._artefacts = artefacts
        self._profile, self._data = profile, data
        self._resamples, self._seed = resamples, seed
        self._said: list[str] = []

    @cached_property
    def report(self) -> Report:
        """All of it in the form that files are written from."""
        return assemble(
            self.store,
            self._artefacts,
            self._profile,
            self._data,
            resamples=self._resamples,
            seed=self._seed,
            say=self._said.append,
        )

    @cached_property
    def _exhibits(self) -> dict[str, Exhibit]:
        return {exhibit.id: exhibit for exhibit in everything(self.report)}

    @cached_property
    def tables(self) -> Mapping[str, pa.Table]:
        """Every table, the ``leaderboard`` first. The numbers are those of the CSV files.

        Schemas carry provenance (store, profile, data digest, commits, versions, seeds, devices),
        fields their ``unit``.
        """
        return LazyMapping(
            "table",
            {
                _key(exhibit.id, part): lambda e=exhibit, r=records: self._table(e, r)  # type: ignore[misc]
                for exhibit in self._exhibits.values()
                for part, records in exhibit.records
            },
        )

    @cached_property
    def figures(self) -> Mapping[str, go.Figure]:
        """Every figure."""
        return LazyMapping(
            "figure",
            {
                _key(exhibit.id, drawn.name): lambda d=drawn: d.figure  # type: ignore[misc]
                for exhibit in self._exhibits.values()
                for drawn in exhibit.figures
            },
        )

    def leaderboard(self, metric: str = "miou", **filters: Any) -> pa.Table:
        """The leaderboard by a metric.

        Args:
            metric: ``miou``, ``background_iou``, ``precision``, …; higher is better.
            **filters: ``profile``, ``data``, ``method``, ``backbone``, ``stage``, ``top``; without
                the first two those of the report.

        Raises:
            InputError: no such metric or filter, or nothing that fits.
        """
        for name in filters:
            if name not in FILTERS:
                raise InputError(f"leaderboard({name}=…): not a filter{nearest(name, FILTERS)}")
        if metric == "miou" and not filters:
            return self.tables["leaderboard"]
        where = self.report.selection
        found = rank(
            self.store,
            metric,
            filters.pop("profile", where.profile),
            filters.pop("data", where.data_digest),
            self._said.append,
            Filters(**filters),
        )
        exhibit = board_exhibit(found)
        about = self._about(exhibit) | provenance(self.store, found.selection)
        return arrow_table(exhibit.records[0][1], about)

    def notes(self, id: str) -> tuple[str, ...]:
        """What stands below a table or figure: shape, remarks, holes with their commands.

        Raises:
            InputError: there is nothing of that id.
        """
        exhibit = self._exhibit(id)
        told = tuple(dict.fromkeys(note for _, grid in exhibit.grids for note in grid.notes))
        return told or plain_lines(exhibit.notes)

    def caption(self, id: str) -> str:
        """What is shown, and what it was measured on.

        Raises:
            InputError: there is nothing of that id.
        """
        return self._exhibit(id).caption

    @property
    def messages(self) -> tuple[str, ...]:
        """What the command would have said beside the report: profiles left out, and so on."""
        return tuple(dict.fromkeys(self._said))

    def save(self, out: str, formats: str | None = None) -> list[Path]:
        """Write the report's files, as ``camsweep report`` does.

        Args:
            out: the folder.
            formats: such as ``"html,tex,pdf"``; None for the page, and images if there is Chromium.

        Returns:
            The files.

        Raises:
            InputError: an unknown format.
        """
        request = Request(
            self.store,
            Path(out),
            self._artefacts,
            parse_formats(formats),
            self._profile,
            self._data,
            command="camsweep.reports.api",
            seed=self._seed,
            resamples=self._resamples,
        )
        return publish(self.report, request, self._said.append)

    def _exhibit(self, id: str) -> Exhibit:
        if id not in self._exhibits:
            raise MissingError(f"{id}: not in this report{nearest(id, list(self._exhibits))}")
        return self._exhibits[id]

    def _about(self, exhibit: Exhibit) -> dict[str, str]:
        return {
            "camsweep.id": exhibit.id,
            "camsweep.title": exhibit.title,
            "camsweep.caption": exhibit.caption,
            "camsweep.version": metadata.version("camsweep"),
            "camsweep.resamples": str(self._resamples),
        }

    def _table(self, exhibit: Exhibit, records: Any) -> pa.Table:
        about = self._about(exhibit) | provenance(self.store, self.report.selection)
        return arrow_table(records, about)

    def _contents(self) -> list[tuple[str, str, str]]:
        found = []
        for exhibit in self._exhibits.values():
            tables = [f"{len(r.rows)} × {len(r.columns)}" for _, r in exhibit.records]
            parts = [*tables, *(["figure"] * len(exhibit.figures))]
            name = f"{exhibit.number}: {exhibit.title}" if exhibit.number else exhibit.title
            found.append((exhibit.id, name, ", ".join(parts)))
        return found

    def _heading(self) -> str:
        where = self.report.selection
        done = sum(trial.done for trial in where.trials)
        return (
            f"camsweep report of {Store(self.store)}: profile {where.profile}, "
            f"data set {where.data}, {done} trials"
        )

    def __repr__(self) -> str:
        lines = [f"  {id:24} {name} ({parts})" for id, name, parts in self._contents()]
        return "\n".join([self._heading(), *lines])

    def _repr_html_(self) -> str:
        head = tag("tr", *(tag("th", name) for name in ("id", "", "holds")))
        rows = [tag("tr", *(tag("td", cell) for cell in row)) for row in self._contents()]
        return str(
            tag("div", tag("p", self._heading()), tag("table", head, *rows), class_="camsweep")
        )


def _key(id: str, part: str) -> str:
    return f"{id}/{part}" if part else id
