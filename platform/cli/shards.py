"""``camsweep shards``: inspect and verify data, and compute superpixels ahead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from camsweep.platform.cli import shards_build
from camsweep.platform.cli.bars import bars, parse_numbers
from camsweep.platform.cli.shards_build import Compactness, Scaling, Workers

if TYPE_CHECKING:
    from camsweep.shards.manifest import Manifest
    from camsweep.shards.places import Place

app = typer.Typer(no_args_is_help=True, help="Build, inspect and verify webdataset shards.")
app.add_typer(shards_build.app, name="build")

Data = Annotated[
    str,
    typer.Argument(metavar="PATH_OR_URL", help="Folder or URL with shards and a manifest."),
]


@app.command("info")
def info(path: Data) -> None:
    """Show what a data folder holds: splits, classes, digest, superpixels.

    Examples:
        camsweep shards info data/voc12

        camsweep shards info s3://bucket/voc12
    """
    from rich.console import Console
    from rich.text import Text

    from camsweep.shards.manifest import load_manifest
    from camsweep.shards.places import as_place
    from camsweep.shards.superpixels.checking import listed

    place = as_place(path)
    manifest = load_manifest(place)
    console = Console()
    # As `Text`: names with brackets would be read as markup.
    console.print(Text.assemble((manifest.name, "bold"), f"  {manifest.source}"))
    stored = ", ".join(str(s_n) for s_n in manifest.superpixels) or "none"
    console.print(f"superpixels in the shards: {stored}")
    for _, side in listed(place):
        if side is not None and side.wanted.data == manifest.digest:
            console.print(
                f"superpixels beside them: S_N {side.wanted.s_n} of {side.wanted.split} "
                f"({side.wanted.scaling}, compactness {side.wanted.compactness:g}), "
                f"digest {side.digest[:12]}",
                soft_wrap=True,
                markup=False,
            )
    console.print(f"digest {manifest.digest}", soft_wrap=True)
    console.print(_split_table(manifest))
    console.print(_class_table(place, manifest))


@app.command("verify")
def verify_data(path: Data, workers: Workers = None) -> None:
    """Check a data folder: digests match, every sample decodes, masks and labels fit the classes.

    Exit status 0 when all is well, else 2 with one line a problem.

    Examples:
        camsweep shards verify data/voc12

        camsweep shards verify s3://bucket/voc12 --workers 8
    """
    from camsweep.shards.node.cores import usable_cores
    from camsweep.shards.places import as_place
    from camsweep.shards.verify import verify

    place = as_place(path)
    with bars() as on_progress:
        report = verify(place, on_progress, workers=workers or usable_cores())
    for problem in report.problems:
        typer.echo(problem, err=True)
    if report.problems:
        typer.echo(
            f"{place}: {len(report.problems)} problems in {report.samples} samples", err=True
        )
        raise typer.Exit(2)
    typer.echo(f"{place}: {report.samples:,} samples, all well")


@app.command("superpixels")
def superpixels(
    path: Data,
    s_n: Annotated[str, typer.Option("--s-n", metavar="S_N,...", help="Numbers asked for.")],
    split: Annotated[
        list[str] | None, typer.Option("--split", help="Only this split; repeat for more.")
    ] = None,
    scaling: Scaling = "modern",
    compactness: Compactness = 10.0,
    publish: Annotated[
        bool, typer.Option("--publish", help="Put them beside remote shards, for all nodes.")
    ] = False,
    workers: Workers = None,
) -> None:
    """Compute SLIC superpixels of whole splits ahead, where runs find them.

    A run computes what it lacks by itself; this does it once, for many S_N, on all cores. They go
    beside the shards (or, where those can't be written, into the cache folder) and keep a digest
    of their own.

    Examples:
        camsweep shards superpixels data/voc12 --s-n 100,200,300

        camsweep shards superpixels data/voc12 --s-n 200 --superpixel-scaling released

        camsweep shards superpixels s3://bucket/voc12 --split train_aug --s-n 200 --publish
    """
    from camsweep.shards.node.cores import usable_cores
    from camsweep.shards.places import as_place
    from camsweep.shards.superpixels import precompute

    place = as_place(path)
    with bars() as on_progress:
        made = precompute(
            place,
            split or None,
            parse_numbers("--s-n", s_n),
            compactness=compactness,
            scaling=scaling,
            workers=workers or usable_cores(),
            publish=publish,
            on_progress=on_progress,
        )
    for line in made:
        typer.echo(str(line))


def _split_table(manifest: Manifest) -> object:
    from rich.table import Table
    from rich.text import Text

    table = Table("split", title_justify="left")
    for column in ("images", "shards", "MB"):
        table.add_column(column, justify="right")
    for name, split in manifest.splits.items():
        size = sum(shard.bytes for shard in split.shards)
        table.add_row(Text(name), f"{split.count:,}", str(len(split.shards)), f"{size / 1e6:,.1f}")
    return table


def _class_table(place: Place, manifest: Manifest) -> object:
    from rich.table import Table
    from rich.text import Text

    from camsweep.shards.reader import open_split

    table = Table("index", "class", "colour")
    counts = []
    for name in manifest.splits:
        table.add_column(Text(f"images in {name}"), justify="right")
        counts.append(open_split(place, name).labels.sum(axis=0).astype(int))
    for index, name in enumerate(manifest.classes):
        colour = "#{:02x}{:02x}{:02x}".format(*manifest.colours[index])
        having = [f"{count[index - 1]:,}" if index else "" for count in counts]
        shown = Text.assemble(("██", colour), f" {colour}")
        table.add_row(str(index), Text(name), shown, *having)
    return table
