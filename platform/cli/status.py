"""`camsweep status`: what has run, is running, failed and why."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from camsweep.platform.cli.options import DEFAULT_STORE, StoreUrl


def status(
    store: StoreUrl = DEFAULT_STORE,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Print the traceback of every failed trial.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show what has run, what is running, and what failed and why.

    Examples:
      camsweep status --store results

      camsweep status --store results --traceback
    """
    import json

    from camsweep.platform.ledger import last_run
    from camsweep.sweeps.results import load_trials
    from camsweep.sweeps.store import Store

    where = Store(store)
    where.require()
    trials = load_trials(where).to_pylist()
    run = last_run(where)
    if as_json:
        keys = ("id", "sweeps", "labels", "method", "seed", "status", "cause")
        rows = [{key: row[key] for key in keys} for row in trials]
        typer.echo(json.dumps({"trials": rows, "last_run": run}, indent=2))
        return
    _show(trials, run, traceback)


def _show(trials: list[dict[str, Any]], run: dict[str, Any] | None, traceback: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    done = [t for t in trials if t["status"] == "done"]
    failed = [t for t in trials if t["status"] == "failed"]
    console.print(f"{len(done)} done, {len(failed)} failed", highlight=False)
    damaged = [t for t in done if t.get("skipped")]
    if damaged:
        samples = len({sample for t in damaged for sample in t["skipped"]})
        console.print(
            f"{len(damaged)} of them without damaged samples ({samples}; the report names them)",
            highlight=False,
        )
    table = Table("sweep", "done", "failed", "best mIoU", box=None, pad_edge=False)
    for sweep in sorted({s for t in trials for s in t["sweeps"]}):
        mine = [t for t in done if sweep in t["sweeps"]]
        best = max((t["metric.miou"] for t in mine), default=None)
        bad = sum(sweep in t["sweeps"] for t in failed)
        table.add_row(sweep, str(len(mine)), str(bad), "" if best is None else f"{100 * best:.2f}")
    if trials:
        console.print(table, markup=False)
    if run is not None:
        _show_run(console, run)
    for trial in failed:
        name = f"{trial['sweeps'][0]} {trial['labels'][0]} seed {trial['seed']}"
        times = f"{trial['attempts']} attempts" if trial["attempts"] != 1 else "1 attempt"
        console.print(f"failed: {name}: {trial['cause']} ({times})", markup=False, soft_wrap=True)
        if traceback:
            console.print(trial["traceback"], markup=False, highlight=False, soft_wrap=True)


def _show_run(console: Any, run: dict[str, Any]) -> None:
    states = [t["state"] for t in run["trials"].values()]
    said = "running" if run["alive"] else ("ended" if run["state"] == "ended" else "stopped")
    console.print(
        f"last run {said} on {run['host']} (pid {run['pid']}): {run['command']}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    if said == "ended":
        return
    for trial in run["trials"].values():
        if trial["state"] == "running":
            where = f"{trial['phase']} {trial['done']}/{trial['total']}" if trial["phase"] else ""
            word = "running" if run["alive"] else "was running"
            console.print(f"{word}: {trial['title']}  {where}", markup=False, highlight=False)
    waiting = states.count("waiting")
    if waiting:
        console.print(f"{waiting} waiting", highlight=False)
    if not run["alive"]:
        console.print("run the same command to go on", highlight=False)
