"""`camsweep quickstart`: from nothing to a report and a leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def quickstart(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for data, results and report.")
    ] = Path("camsweep-quickstart"),
    seeds: Annotated[int, typer.Option(min=1, help="Seeds a cell.")] = 3,
) -> int:
    """Render the embedded data, run a small sweep, write the report, show the leaderboard.

    Baseline CAM, CPN with grid and with superpixel patches, and CPN's p_h ablation, really trained
    under Ray Tune: some minutes on two cores. Run it again and it goes on where it stopped.

    Examples:
      camsweep quickstart

      camsweep quickstart --out /tmp/first-look --seeds 2
    """
    import time

    from rich.console import Console

    from camsweep.platform.cli.endings import conclude
    from camsweep.platform.cli.leaderboard import leaderboard
    from camsweep.platform.monitor import duration
    from camsweep.platform.quickstart import Quickstart, sweep, write_report

    console = Console()
    clock = time.perf_counter()
    places = Quickstart(out)
    outcome = sweep(places, console, seeds)
    status = conclude(outcome, places.store.url)
    if status == 130:
        return status
    page = write_report(places, console)
    leaderboard(store=places.store.url)
    console.print(f"done in {duration(time.perf_counter() - clock)}", highlight=False)
    print(f"report: {page}")
    return status
