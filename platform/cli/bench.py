"""`camsweep bench`: the benchmarks, each against its peer in the same run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from camsweep.platform.bench.table import Result


def bench(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Those listed below; default all."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="DIR",
            help="Shards to measure on; default a set made for it.",
            show_default=False,
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.01, help="Length of one measurement, about.")
    ] = 1.0,
    repeat: Annotated[
        int, typer.Option("--repeat", min=1, help="Rounds; each measures everything once.")
    ] = 7,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, with every round's values.")
    ] = False,
) -> None:
    """Measure camsweep's parts against their peers, by turns in one run, as ratios with spread.

    loader: images a second, against bare decoding and torch's DataLoader.
    pair: a superpixel pair in training, against a grid pair and the released way.
    open: opening 100,000 samples, against reading their tar headers.
    scheduling: 1,000 trials that only store a row, against Ray Tune's defaults and bare actors.
    thresholds: counting 100 background thresholds, against a pass over the files for each.
    prototypes: SIPE's prototypes and IS-CAMs, against the released broadcast form.
    step: a training step of CPN, against the same mathematics written plainly.
    inference: maps of four scales, mirrored too, against one image and view at a time.
    crf: the fully connected CRF, against pydensecrf.
    store: writing, reading and reporting 10,000 trials, against JSON files and pandas.
    suite: epochs of training that planning saves in CPN's ablation suite.
    suite-run: seconds that sharing stages saves when that suite runs on the embedded data.
    scaling: trials an hour on 1 to 256 slots, and the driver's memory to 100,000 trials.
    start: import and --help, against a bare interpreter.

    Nothing else should run meanwhile. A missed goal is no error: exit status 0. What can't be
    measured is told, the others are measured all the same, and the exit status is 2.

    Examples:
      camsweep bench

      camsweep bench loader --data data/voc12 --seconds 2

      camsweep bench open pair --repeat 15 --json > bench.json
    """
    from camsweep.platform.bench import choose, measure
    from camsweep.shards.errors import InputError
    from camsweep.shards.manifest import load_manifest
    from camsweep.shards.places import as_place

    chosen = choose(names or [])
    place = None if data is None else as_place(data)
    if place is not None:
        load_manifest(place)  # refused before minutes of measuring
    found: list[Result] = []
    failed: dict[str, str] = {}
    try:
        for name in chosen:
            typer.echo(f"measuring {name} ...", err=True)
            try:
                found.append(measure(name, place, seconds, repeat))
            except InputError as error:
                failed[name] = str(error)
                typer.echo(f"camsweep: {error}", err=True)
            else:
                if not as_json:
                    _print_tables(found[-1])
    finally:  # hours of measuring are not lost to Ctrl-C
        if as_json:
            _print_json(found, failed)
        else:
            _print_machine()
    if failed:
        raise InputError(f"bench: could not measure {', '.join(failed)}; see above")


def _print_json(found: list[Result], failed: dict[str, str]) -> None:
    import json

    from camsweep.platform.bench.table import as_json

    content = _machine() | {"benchmarks": [as_json(result) for result in found], "failed": failed}
    typer.echo(json.dumps(content, indent=1))


def _print_tables(result: Result) -> None:
    from rich.console import Console
    from rich.text import Text

    from camsweep.platform.bench.table import tables

    console = Console()
    for table in tables(result):
        console.print(table)
    for note in result.notes:
        console.print(Text(f"- {note}"))
    console.print()


def _print_machine() -> None:
    about = _machine()
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    typer.echo(f"{about['machine']}; {versions}")


def _machine() -> dict[str, Any]:
    """The machine in words, and what ran on it."""
    from camsweep.platform.provenance import collect, hardware

    about = collect()
    return {
        "machine": hardware("cpu"),
        "git_commit": about.git_commit,
        "git_dirty": about.git_dirty,
        "versions": about.versions,
    }
