"""`camsweep run`: run sweeps, or go on with them."""

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
    parse_duration,
)

if TYPE_CHECKING:
    from camsweep.platform.run import Outcome


def run(
    names: Names,
    profile: ProfileName = "embedded",
    data: Data = None,
    store: StoreUrl = DEFAULT_STORE,
    seeds: Seeds = None,
    first_seed: FirstSeed = 0,
    settings: Settings = None,
    weights: Weights = None,
    skip_damaged: SkipDamaged = False,
    address: Annotated[
        str | None, typer.Option(help="Running Ray cluster: auto or HOST:6379.", show_default=False)
    ] = None,
    gpus_per_trial: Annotated[
        float | None, typer.Option(min=0, help="GPUs a trial; fractions share one.")
    ] = None,
    max_concurrent: Annotated[int | None, typer.Option(min=1, help="Trials at a time.")] = None,
    time_budget: Annotated[
        str | None, typer.Option(help="Stop after 90s, 30m, 2h, …", show_default=False)
    ] = None,
    in_process: Annotated[
        bool, typer.Option("--in-process", help="One trial after another here, without Ray.")
    ] = False,
) -> int:
    """Run sweeps. The same command again resumes: finished trials are found by their id.

    Examples:
      camsweep run cpn/table4 --profile embedded --store results --seeds 2

      camsweep run cpn/fig6 --profile voc12 --data shards/voc12 --weights resnet38.pth

      camsweep run my_sweep.yaml --set epochs=3 --in-process --debug
    """
    import os

    from rich.console import Console

    from camsweep.platform.run import execute, prepare
    from camsweep.shards.errors import InputError

    budget = parse_duration(time_budget)
    rays = {
        "--address": address,
        "--gpus-per-trial": gpus_per_trial,
        "--max-concurrent": max_concurrent,
        "--time-budget": budget,
    }
    for option, value in rays.items():
        if in_process and value is not None:
            raise InputError(f"{option}: is Ray's; leave it out with --in-process")
    request = make_request(
        names, profile, data, store, seeds, first_seed, settings, weights, skip_damaged
    )
    prepared = prepare(request)
    console = Console()
    counts = prepared.plan.counts()
    console.print(
        f"{counts['requested']} trials requested, {counts['unique']} unique, "
        f"{counts['cached']} found in {prepared.context.store}, {counts['to_run']} to run "
        f"(data {prepared.data}, profile {prepared.profile.name})",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    outcome = execute(
        prepared,
        console,
        in_process=in_process,
        debug=bool(os.environ.get("CAMSWEEP_DEBUG")),
        address=address,
        gpus=gpus_per_trial,
        max_concurrent=max_concurrent,
        time_budget=budget,
    )
    return conclude(outcome, store)


def conclude(outcome: Outcome, store: str) -> int:
    """Say how the run ended and return the exit status."""
    import shlex
    import sys

    counts = outcome.monitor.counts()
    for state in outcome.monitor.failures():
        print(f"camsweep: failed: {state.title}: {state.cause}", file=sys.stderr)
    skipped = outcome.monitor.skipped()
    if skipped:
        shown = ", ".join(skipped[:5]) + (", …" if len(skipped) > 5 else "")
        noun = "sample" if len(skipped) == 1 else "samples"
        print(f"camsweep: {len(skipped)} damaged {noun} left out: {shown}", file=sys.stderr)
    if outcome.interrupted:
        left = counts["waiting"] + counts["running"]
        print(f"camsweep: {left} trials not done yet", file=sys.stderr)
        return 130
    if counts["failed"]:
        hint = f"camsweep status --store {shlex.quote(store)}"
        print(f"camsweep: {counts['failed']} failed; tracebacks: {hint}", file=sys.stderr)
        return 1
    return 0
