"""`camsweep plan`: what a run would do; starts nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

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
)

if TYPE_CHECKING:
    from camsweep.sweeps.plan import Plan


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
    max_concurrent: Annotated[
        int | None, typer.Option(min=1, help="Trials at a time, for the estimate.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The whole plan as JSON.")] = False,
) -> None:
    """Show trials, unique ones after sharing, cached ones and the estimated time.

    Ids contain the digest of the data, so the embedded data set is rendered if it isn't there yet.

    Examples:
      camsweep plan cpn/table4 --profile embedded

      camsweep plan cpn --profile voc12 --data shards/voc12 --weights resnet38.pth --json
    """
    import json

    from camsweep.platform.run import expected_seconds, prepare

    request = make_request(
        names, profile, data, store, seeds, first_seed, settings, weights, skip_damaged
    )
    prepared = prepare(request)
    seconds = expected_seconds(prepared, max_concurrent)
    if as_json:
        typer.echo(json.dumps(prepared.plan.to_json(seconds), indent=2))
    else:
        _show(prepared.plan, seconds)


def _show(plan: Plan, seconds: float | None) -> None:
    from rich.console import Console
    from rich.table import Table

    from camsweep.platform.monitor import duration

    console = Console()
    content = plan.to_json(seconds)
    stages = ", ".join(f"{count} {stage}" for stage, count in content["stage_counts"].items())
    console.print(
        f"{content['requested']} trials requested, {content['unique']} unique, "
        f"{content['cached']} in the store, {content['to_run']} to run",
        highlight=False,
    )
    console.print(f"{content['stages']} distinct stages: {stages}", highlight=False)
    time = "unknown (no history in the store)" if seconds is None else f"about {duration(seconds)}"
    console.print(f"estimated time: {time}", highlight=False)
    table = Table("trial", "label", "seeds", "used by", "to run", box=None, pad_edge=False)
    rows: dict[tuple[str, ...], list[dict[str, object]]] = {}
    for trial in content["trials"]:
        key = (trial["label"], *trial["sweeps"])
        rows.setdefault(key, []).append(trial)
    for (label, *used), trials in rows.items():
        first = str(trials[0]["id"])[:10]
        missing = sum(not t["cached"] for t in trials)
        table.add_row(first, label, str(len(trials)), " ".join(dict.fromkeys(used)), str(missing))
    console.print(table, markup=False)
