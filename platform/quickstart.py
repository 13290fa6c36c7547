"""The quickstart: embedded data, a small sweep under Ray Tune, the report and the leaderboard."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from camsweep.platform.data import embedded_data
from camsweep.platform.execute import Outcome, execute
from camsweep.platform.prepare import Request, prepare
from camsweep.reports.build import Request as ReportRequest
from camsweep.reports.build import build
from camsweep.sweeps.store import Store

#: Baseline CAM, CPN with grid and with superpixel patches, and CPN's p_h ablation.
SWEEPS = ("cpn/table1", "cpn/table3", "cpn/fig5", "cpn/strategies", "cpn/table4")
#: Without SEAM, and three of table 4's five values: three seeds tell more from noise than more rows
#: of two, in the same time. The report names the command that fills the others.
ONLY = {
    "cpn/table1": ("baseline", "cpn"),
    "cpn/table3": ("baseline", "cpn"),
    "cpn/fig5": ("baseline", "cpn"),
    "cpn/table4": ("p_h=0.1", "p_h=0.3", "p_h=0.5"),
}
SEEDS = 3


@dataclass(frozen=True)
class Quickstart:
    """Where the quickstart puts things under its output folder."""

    out: Path

    @property
    def data(self) -> Path:
        """The embedded data set."""
        return self.out / "data"

    @property
    def store(self) -> Store:
        """The results."""
        return Store(str(self.out / "store"))

    @property
    def report(self) -> Path:
        """The report."""
        return self.out / "report"


def sweep(places: Quickstart, console: Console, seeds: int = SEEDS) -> Outcome:
    """Render the data if it isn't there and run what the store lacks.

    Args:
        places: where things go.
        console: for the view.
        seeds: seeds a cell.

    Raises:
        InputError: the output folder can't be written.
    """
    data = embedded_data(places.data)
    prepared = prepare(Request(SWEEPS, "embedded", str(data), places.store, seeds, only=ONLY))
    plan = prepared.plan
    console.print(
        f"{len(plan.trials)} trials ({plan.requested} requested by {len(SWEEPS)} artefacts), "
        f"{len(plan.cached)} found in {places.store.url}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    return execute(prepared, console)


def write_report(places: Quickstart, console: Console) -> Path:
    """Write the report of the quickstart's store; returns the page's path."""
    request = ReportRequest(
        store=places.store.url,
        out=places.report,
        command=f"camsweep report --store {places.store.url} --out {places.report}",
    )
    with console.status("writing the report"):
        return build(request, say=lambda line: console.print(line, markup=False))[0]
