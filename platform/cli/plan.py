"""`camsweep plan`: what a run would do; starts nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from camsweep.platform.cli.options import (
    DEFAULT_STORE,
    Data,
    FirstSeed,
    Names,
    ProfileName,
    Seeds,
    Settings,
    SkipDamaged,
    StoreUrl,
    Weights,
    make_request,
    parse_duration,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.console import Console

    from camsweep.platform.outlook import Outlook
    from camsweep.sweeps.estimate import Span

#: Rows of a design that are named; --json has all.
SHOWN = 12

#: Hours below which nobody counts.
LITTLE = 0.01


def plan(
    names: Names,
    profile: ProfileName = "embedded",
    data: Data = None,
    store: StoreUrl = DEFAULT_STORE,
    seeds: Seeds = None,
    first_seed: FirstSeed = 0,
    settings: Settings = None,
    weights: Weights = None,
    skip_damaged: SkipDamaged = False,
    gpus_per_trial: Annotated[
        float | None, typer.Option(min=0, help="GPUs a worker of a trial takes, for the cost.")
    ] = None,
    workers_per_trial: Annotated[
        int | None, typer.Option(min=1, help="Processes that train a trial, for the cost.")
    ] = None,
    max_concurrent: Annotated[
        int | None, typer.Option(min=1, help="Trials at a time, for the estimate.")
    ] = None,
    max_trials: Annotated[
        int | None, typer.Option(min=1, help="Only so many, the most informative first.")
    ] = None,
    time_budget: Annotated[
        str | None,
        typer.Option(help="Only what fits in 90s, 30m, 2h, … by the estimate.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The whole plan as JSON.")] = False,
) -> None:
    """Show trials, unique ones after sharing, cached ones, excluded ones, time, cost and disk.

    Ids contain the digest of the data, so the embedded data set is rendered if it isn't there yet.

    Examples:
      camsweep plan cpn/table4 --profile embedded

      camsweep plan cpn --profile voc12 --data shards/voc12 --weights resnet38.pth --json
    """
    import json

    from camsweep.platform.outlook import look_ahead
    from camsweep.platform.prepare import prepare

    budget = parse_duration(time_budget)
    request = make_request(
        names, profile, data, store, seeds, first_seed, settings, weights, skip_damaged
    )
    outlook = look_ahead(
        prepare(request),
        max_concurrent=max_concurrent,
        gpus=gpus_per_trial,
        workers=workers_per_trial,
        max_trials=max_trials,
        time_budget=budget,
    )
    if as_json:
        typer.echo(json.dumps(outlook.to_json(), indent=2))
    else:
        _show(outlook, store)


def _show(outlook: Outlook, store: str) -> None:
    from rich.console import Console

    console = Console()
    for line in _lines(outlook, store):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    _table(console, outlook)


def _lines(outlook: Outlook, store: str) -> Iterator[str]:
    """What is known of the plan, one line a fact."""
    content = outlook.to_json()
    left_out = f" ({content['left_out']} left for later)" if content["left_out"] else ""
    yield (
        f"{content['requested']} trials requested, {content['unique']} unique, "
        f"{content['cached']} in the store, {content['to_run']} to run{left_out}"
    )
    stages = ", ".join(
        f"{count} {stage}" + (f" ({there} there)" if (there := _there(content, stage)) else "")
        for stage, count in content["stage_counts"].items()
        if count
    )
    yield f"{content['stages']} distinct stages: {stages}"
    yield f"estimated time: {_time(outlook)}"
    yield f"estimated cost: {_cost(outlook)}"
    yield f"disk needed: {_disk(outlook, store)}"
    for found in content["seeds"]:
        yield f"{found['sweep']}: {found['text']}"
        yield from (f"  {arm['label']}: {arm['text']}" for arm in found["arms"])
    for found in content["searches"]:
        yield (
            f"search {found['sweep']}: {found['samples']} samples by {found['algorithm']}, "
            f"{found['in_study']} in the study, {found['to_run']} to run (not in the numbers above)"
        )
    yield from _designs(content)


def _there(content: dict[str, Any], stage: str) -> int:
    return int(content["stages_cached"][stage])


def rows_text(design: Mapping[str, Any]) -> str:
    """`8 rows, resolution 4 (D=ABC)`, of `sweeps.designs.describe`."""
    text = f"{design['rows']} rows"
    if "resolution" in design:
        text += f", resolution {design['resolution']} ({', '.join(design['generators'])})"
    return text


def _designs(content: dict[str, Any]) -> Iterator[str]:
    for name, design in content["designs"].items():
        text = f"design of {name}: {design['design']}, {rows_text(design)}"
        excluded = [row for row in content["excluded"] if row["sweep"] == name]
        if excluded:
            text += f", {len(excluded)} excluded by rules"
            if "resolution" in design:
                text += ": without them its effects are not told apart as the resolution says"
        yield text
        for row in excluded[:SHOWN]:
            yield f"  excluded: {row['label']} ({row['rule']}, says {row['source']})"
        if len(excluded) > SHOWN:
            yield f"  … and {len(excluded) - SHOWN} more; --json names them"


def _time(outlook: Outlook) -> str:
    from camsweep.platform.monitor import duration

    if outlook.cost.wall is None:
        return _unknown(outlook)
    if not outlook.plan.to_run:
        return "nothing to run"
    low, middle, high = (
        duration(s)
        for s in (outlook.cost.wall.low, outlook.cost.wall.middle, outlook.cost.wall.high)
    )
    measured = ", ".join(f"{name} {count}" for name, count in outlook.cost.measured.items())
    return (
        f"about {middle} ({low} to {high}) with {outlook.slots} at a time, "
        f"by measured trials of the store ({measured})"
    )


def _unknown(outlook: Outlook) -> str:
    return f"unknown (no history in the store for {outlook.cost.unknown} trials)"


def _cost(outlook: Outlook) -> str:
    if outlook.cost.unknown:
        return _unknown(outlook)
    parts = [
        f"{_hours(hours)} {what}"
        for hours, what in (
            (outlook.cost.gpu_hours, "GPU-hours"),
            (outlook.cost.cpu_hours, "core-hours"),
        )
        if hours.high > 0
    ]
    return ", ".join(parts) or "none"


def _hours(hours: Span) -> str:
    if hours.high < LITTLE:
        return f"under {LITTLE:g}"
    return f"{hours.middle:.2g} ({hours.low:.2g} to {hours.high:.2g})"


def _disk(outlook: Outlook, store: str) -> str:
    found = outlook.disk
    how = f", {found.by_rule} trials by a rule" if found.by_rule else ""
    free = "unknown" if found.free is None else _size(found.free)
    text = f"{_size(found.needed)}{how}; free at {store}: {free}"
    return text + (" - TOO LITTLE" if found.free is not None and found.free < found.needed else "")


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _table(console: Console, outlook: Outlook) -> None:
    from rich.table import Table

    table = Table("trial", "label", "seeds", "used by", "to run", box=None, pad_edge=False)
    wanted = {trial.id for trial in outlook.plan.to_run}
    rows: dict[tuple[str, ...], list[str]] = {}
    for trial in outlook.plan.trials:
        rows.setdefault((trial.labels[0], *trial.sweeps), []).append(trial.id)
    for (label, *used), ids in rows.items():
        missing = sum(trial_id in wanted for trial_id in ids)
        names = " ".join(dict.fromkeys(used))
        table.add_row(ids[0][:10], label, str(len(ids)), names, str(missing))
    console.print(table, markup=False)
