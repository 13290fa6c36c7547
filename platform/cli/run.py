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
    from camsweep.platform.execute import Where


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
        str | None,
        typer.Option(
            help="Running Ray cluster: auto, HOST:6379 or ray://HOST:10001.", show_default=False
        ),
    ] = None,
    gpus_per_trial: Annotated[
        float | None,
        typer.Option(min=0, help="GPUs a worker of a trial takes; fractions share one."),
    ] = None,
    workers_per_trial: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that train a trial together, of the same batch."),
    ] = None,
    max_concurrent: Annotated[int | None, typer.Option(min=1, help="Trials at a time.")] = None,
    time_budget: Annotated[
        str | None,
        typer.Option(
            help="Stop after 90s, 30m, 2h, …; most informative first.", show_default=False
        ),
    ] = None,
    max_trials: Annotated[
        int | None, typer.Option(min=1, help="Only so many, the most informative first.")
    ] = None,
    wait_for_nodes: Annotated[
        str | None,
        typer.Option(
            help="Wait 10m, … for nodes that have what a trial needs.", show_default=False
        ),
    ] = None,
    in_process: Annotated[
        bool, typer.Option("--in-process", help="One trial after another here, without Ray.")
    ] = False,
    repeat: Annotated[
        int | None,
        typer.Option(
            min=1, help="Run finished trials so often again and compare.", show_default=False
        ),
    ] = None,
    track: Annotated[
        list[str] | None,
        typer.Option(
            help="tensorboard=FOLDER, mlflow=URI or wandb=PROJECT; repeat.", show_default=False
        ),
    ] = None,
    notify: Annotated[
        str | None,
        typer.Option(help="Command to run at the end, however it ends.", show_default=False),
    ] = None,
) -> int:
    """Run sweeps. The same command again resumes: finished trials are found by their id.

    Examples:
      camsweep run cpn/table4 --profile embedded --store results --seeds 2

      camsweep run cpn/fig6 --profile voc12 --data shards/voc12 --weights resnet38.pth

      camsweep run big.yaml --address auto --gpus-per-trial 1 --workers-per-trial 4 --store s3://b/r

      camsweep run my_sweep.yaml --max-trials 20 --notify 'mail -s done me@lab' --track mlflow=runs
    """
    import os
    import signal

    from rich.console import Console

    from camsweep.platform.cli.endings import conclude, fill, run_audit, say_plan
    from camsweep.platform.execute import Where, execute
    from camsweep.platform.notify import notified, notify_command
    from camsweep.platform.prepare import prepare
    from camsweep.platform.trackers import parse_tracks
    from camsweep.shards.places import redact

    where = Where(
        in_process=in_process,
        debug=bool(os.environ.get("CAMSWEEP_DEBUG")),
        address=address,
        gpus=gpus_per_trial,
        workers=workers_per_trial,
        max_concurrent=max_concurrent,
        max_trials=max_trials,
        time_budget=parse_duration(time_budget),
        wait_for_nodes=parse_duration(wait_for_nodes, "--wait-for-nodes") or 0.0,
    )
    refuse_ray_options(where)
    # What a scheduler sends before it takes the machine back ends the run as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    trackers = parse_tracks(track or [])
    with notified(notify_command(notify)) as ending:
        ending.store = redact(store)
        request = make_request(
            names, profile, data, store, seeds, first_seed, settings, weights, skip_damaged
        )
        prepared = prepare(request)
        ending.command = prepared.context.provenance.command
        console = Console()
        if repeat is not None:
            return run_audit(prepared, repeat, console, where, ending)
        say_plan(prepared, console)
        outcome = execute(prepared, console, where, trackers)
        fill(ending, prepared, outcome)
        return conclude(outcome, store)


def refuse_ray_options(where: Where) -> None:
    """Refuse options that mean nothing without Ray, and fractions of several GPUs.

    Raises:
        InputError: names the option.
    """
    from camsweep.shards.errors import InputError

    gpus = where.gpus
    if gpus is not None and not (gpus < 1 or float(gpus).is_integer()):
        raise InputError(
            f"--gpus-per-trial {gpus:g}: a fraction below 1 or a whole number is right"
        )

    rays = {
        "--address": where.address,
        "--gpus-per-trial": where.gpus,
        "--workers-per-trial": where.workers,
        "--max-concurrent": where.max_concurrent,
        "--wait-for-nodes": where.wait_for_nodes or None,
    }
    for option, value in rays.items():
        if where.in_process and value is not None:
            raise InputError(f"{option}: is Ray's; leave it out with --in-process")
