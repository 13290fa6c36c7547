"""`camsweep status`: what has run, who runs what on which machine, what failed and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from camsweep.platform.cli.options import DEFAULT_STORE, StoreUrl

if TYPE_CHECKING:
    from rich.console import Console

    from camsweep.platform.liveness import Look
    from camsweep.platform.runfiles import RunFile
    from camsweep.platform.states import Entry

#: So many trials of one machine are listed, then how many more there are.
SHOWN = 12


def status(
    store: StoreUrl = DEFAULT_STORE,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Print the traceback of every failed trial.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show what has run, who runs what where, and what failed and why.

    Examples:
      camsweep status --store results

      camsweep status --store results --traceback
    """
    import json

    from rich.console import Console

    from camsweep.platform.liveness import look
    from camsweep.platform.states import count_states, ledger_states
    from camsweep.sweeps.results import load_trials
    from camsweep.sweeps.store import Store

    where = Store(store)
    where.require()
    # Looked at before the rows: who ends in between is told as done, and not as nothing.
    seen = look(where)
    trials = load_trials(where).to_pylist()
    entries = ledger_states(where, trials, seen)
    if as_json:
        typer.echo(json.dumps(_as_json(trials, entries, seen, count_states(entries)), indent=2))
        return
    console = Console()
    _show_counts(console, trials, count_states(entries))
    _show_sweeps(console, trials, entries)
    _show_runs(console, seen)
    _show_nodes(console, entries, seen)
    failed = {e.id for e in entries if e.state == "failed"}
    _show_failures(console, [t for t in trials if t["id"] in failed], traceback)


def _as_json(
    trials: list[dict[str, Any]], entries: list[Entry], seen: Look, counts: dict[str, int]
) -> dict[str, Any]:
    from dataclasses import asdict

    keys = ("id", "sweeps", "labels", "method", "seed", "status", "cause")
    runs = [{**r.content, "run": r.name, "alive": r.name in seen.live} for r in seen.runs]
    return {
        "states": counts,
        "trials": [{key: row[key] for key in keys} for row in trials],
        "ledger": [
            {
                "id": e.id,
                "state": e.state,
                "title": e.title,
                "host": e.holder.host if e.holder else None,
                "runs": e.runs,
            }
            for e in entries
        ],
        "runs": runs,
        "last_run": runs[-1] if runs else None,
        "leases": [asdict(h) for h in seen.leases],
        "dead_leases": [asdict(h) for h in seen.dead],
    }


def _show_counts(console: Console, trials: list[dict[str, Any]], counts: dict[str, int]) -> None:
    said = [f"{counts[state]} {state}" for state in ("done", "failed")]
    rest = ("leased", "planned", "stopped", "superseded")
    said += [f"{counts[state]} {state}" for state in rest if counts[state]]
    console.print(", ".join(said), highlight=False)
    damaged = [t for t in trials if t["status"] == "done" and t.get("skipped")]
    if damaged:
        samples = len({sample for t in damaged for sample in t["skipped"]})
        console.print(
            f"{len(damaged)} done without damaged samples ({samples}; the report names them)",
            highlight=False,
        )


def _show_sweeps(console: Console, trials: list[dict[str, Any]], entries: list[Entry]) -> None:
    from rich.table import Table

    columns = ("done", "failed", "leased", "planned")
    table = Table("sweep", *columns, "best mIoU", box=None, pad_edge=False)
    cells = [(sweep, e.state) for e in entries for sweep in {sweep for sweep, _ in e.uses}]
    for sweep in sorted({sweep for sweep, _ in cells}):
        states = [state for other, state in cells if other == sweep]
        mine = [t for t in trials if t["status"] == "done" and sweep in t["sweeps"]]
        best = max((t["metric.miou"] for t in mine), default=None)
        numbers = [str(states.count(column)) for column in columns]
        table.add_row(sweep, *numbers, "" if best is None else f"{100 * best:.2f}")
    if cells:
        console.print(table, markup=False)


def _show_runs(console: Console, seen: Look) -> None:
    """Every run that goes on, or the last one."""
    for run in seen.runs:
        if run.name in seen.live:
            _show_run(console, run, "running")
    if not seen.live and seen.runs:
        last = seen.runs[-1]
        said = "ended" if last.content["state"] == "ended" else "stopped"
        _show_run(console, last, f"last run {said}")
        if said == "stopped":
            console.print("run the same command to go on", highlight=False)


def _show_run(console: Console, run: RunFile, said: str) -> None:
    content = run.content
    line = f"{said} on {content.get('host')} (pid {content.get('pid')}): {content.get('command')}"
    console.print(line, markup=False, highlight=False, soft_wrap=True)
    if said.endswith("ended"):
        return
    counts = content.get("counts", {})
    told = ", ".join(f"{number} {state}" for state, number in counts.items() if number)
    if told:
        console.print(f"  {told}", highlight=False)
    running = [t for t in content.get("trials", {}).values() if t["state"] == "running"]
    for trial in running[:SHOWN]:
        place = f"{trial['phase']} {trial['done']}/{trial['total']}" if trial["phase"] else ""
        node = f"  on {trial['node']}" if trial.get("node") else ""
        word = "running" if said == "running" else "was running"
        line = f"  {word}: {trial['title']}  {place}{node}"
        console.print(line, markup=False, highlight=False)
    if len(running) > SHOWN:
        console.print(f"  and {len(running) - SHOWN} more", highlight=False)


def _show_nodes(console: Console, entries: list[Entry], seen: Look) -> None:
    """Who holds what, by machine."""
    titles = {e.id: e.title for e in entries}
    nodes: dict[str, list[str]] = {}
    for lease in seen.leases:
        what = titles.get(lease.name, lease.name[:24])
        line = f"{what} ({lease.owner}, pid {lease.pid}, {lease.age:.0f} s)"
        nodes.setdefault(lease.host, []).append(line)
    for host, lines in sorted(nodes.items()):
        console.print(f"{host} holds {len(lines)}:", markup=False, highlight=False)
        for line in sorted(lines)[:SHOWN]:
            console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
        if len(lines) > SHOWN:
            console.print(f"  and {len(lines) - SHOWN} more", highlight=False)
    for lease in seen.dead[:SHOWN]:
        console.print(
            f"given up by {lease.host} (pid {lease.pid}), which died: "
            f"{titles.get(lease.name, lease.name[:24])}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    if len(seen.dead) > SHOWN:
        console.print(f"and {len(seen.dead) - SHOWN} more given up", highlight=False)


def _show_failures(console: Console, trials: list[dict[str, Any]], traceback: bool) -> None:
    for trial in trials:
        name = f"{trial['sweeps'][0]} {trial['labels'][0]} seed {trial['seed']}"
        times = f"{trial['attempts']} attempts" if trial["attempts"] != 1 else "1 attempt"
        console.print(f"failed: {name}: {trial['cause']} ({times})", markup=False, soft_wrap=True)
        if traceback:
            console.print(trial["traceback"], markup=False, highlight=False, soft_wrap=True)
