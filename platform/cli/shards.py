"""``camsweep shards``: build, inspect and verify data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from camsweep.shards.manifest import Manifest
    from camsweep.shards.writer import Source

app = typer.Typer(no_args_is_help=True, help="Build, inspect and verify webdataset shards.")
build_app = typer.Typer(no_args_is_help=True, help="Write a data set as shards.")
app.add_typer(build_app, name="build")

Out = Annotated[Path, typer.Option("--out", help="New or empty folder for the shards.")]
Superpixels = Annotated[
    str,
    typer.Option(
        "--superpixels", metavar="S_N,...", help="SLIC superpixels to store with each image."
    ),
]
ShardSamples = Annotated[
    int, typer.Option("--shard-samples", min=1, help="Samples in one shard file.")
]
Data = Annotated[Path, typer.Argument(metavar="PATH", help="Folder with shards and a manifest.")]


@build_app.command("voc")
def build_voc(
    root: Annotated[Path, typer.Option("--root", help="Folder in VOC layout, e.g. VOC2012.")],
    out: Out,
    superpixels: Superpixels = "",
    labels: Annotated[
        str, typer.Option("--labels", help="Image labels from: masks, xml or npy.")
    ] = "masks",
    masks: Annotated[
        str,
        typer.Option("--masks", help="auto, SegmentationClass or SegmentationClassAug."),
    ] = "auto",
    classes: Annotated[
        Path | None, typer.Option("--classes", help="Text file with one class a line.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the data set; default the folder's.")
    ] = None,
    shard_samples: ShardSamples = 256,
) -> None:
    """Write PASCAL VOC 2012, or any folder in its layout.

    The lists train, val and train_aug of ImageSets/Segmentation become splits where they exist.

    Examples:
        camsweep shards build voc --root VOCdevkit/VOC2012 --out data/voc12

        camsweep shards build voc --root VOC2012 --out data/voc12 --labels npy --superpixels 100,200

        camsweep shards build voc --root my-folder --out data/mine --classes my-classes.txt
    """
    from typing import cast

    from camsweep.shards.sources.voc import Labels, Masks, voc_source

    source = voc_source(
        root, masks=cast(Masks, masks), labels=cast(Labels, labels), classes=classes, name=name
    )
    _build(source, out, superpixels, shard_samples)


@build_app.command("embedded")
def build_embedded(
    out: Out,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the renderer.")] = 0,
    train: Annotated[int, typer.Option("--train", min=1, help="Training images.")] = 800,
    val: Annotated[int, typer.Option("--val", min=1, help="Evaluation images.")] = 300,
    superpixels: Superpixels = "",
    shard_samples: ShardSamples = 256,
) -> None:
    """Render the embedded data set (no download, the same bytes for the same seed).

    Examples:
        camsweep shards build embedded --out data/embedded

        camsweep shards build embedded --out data/embedded-1 --seed 1 --train 400 --val 100
    """
    from camsweep.shards.embedded.source import embedded_source

    _build(embedded_source(seed, train, val), out, superpixels, shard_samples)


@app.command("info")
def info(path: Data) -> None:
    """Show what a data folder holds: splits, classes, digest, superpixels.

    Example:
        camsweep shards info data/voc12
    """
    from rich.console import Console

    from camsweep.shards.manifest import load_manifest

    manifest = load_manifest(path)
    console = Console()
    console.print(f"[bold]{manifest.name}[/]  {manifest.source}")
    stored = ", ".join(str(s_n) for s_n in manifest.superpixels) or "none"
    console.print(f"superpixels in the shards: {stored}")
    console.print(f"digest {manifest.digest}", soft_wrap=True)
    console.print(_split_table(manifest))
    console.print(_class_table(path, manifest))


@app.command("verify")
def verify_data(path: Data) -> None:
    """Check a data folder: digests match, every sample decodes, masks and labels fit the classes.

    Exit status 0 when all is well, else 2 with one line a problem.

    Example:
        camsweep shards verify data/voc12
    """
    from camsweep.shards.verify import verify

    with _progress() as on_progress:
        report = verify(path, on_progress)
    for problem in report.problems:
        typer.echo(problem, err=True)
    if report.problems:
        typer.echo(f"{path}: {len(report.problems)} problems in {report.samples} samples", err=True)
        raise typer.Exit(2)
    typer.echo(f"{path}: {report.samples} samples, all well")


def _build(source: Source, out: Path, superpixels: str, shard_samples: int) -> None:
    from camsweep.shards.writer import build

    with _progress() as on_progress:
        manifest = build(
            source,
            out,
            shard_samples=shard_samples,
            superpixels=parse_numbers(superpixels),
            on_progress=on_progress,
        )
    counts = ", ".join(f"{split.count} {name}" for name, split in manifest.splits.items())
    typer.echo(f"{out}: {manifest.name}, {counts}, digest {manifest.digest[:12]}")


def parse_numbers(text: str) -> list[int]:
    """The whole numbers of ``"100,200"``; InputError where it is anything else."""
    from camsweep.shards.errors import InputError

    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise InputError(f"--superpixels {text}: whole numbers such as 100,200 are right") from None


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar a split on standard error; only a terminal shows it."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:

        def on_progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done)

        yield on_progress


def _split_table(manifest: Manifest) -> object:
    from rich.table import Table

    table = Table("split", title_justify="left")
    for column in ("images", "shards", "MB"):
        table.add_column(column, justify="right")
    for name, split in manifest.splits.items():
        size = sum(shard.bytes for shard in split.shards)
        table.add_row(name, f"{split.count:,}", str(len(split.shards)), f"{size / 1e6:,.1f}")
    return table


def _class_table(path: Path, manifest: Manifest) -> object:
    from rich.table import Table

    from camsweep.shards.reader import open_split

    table = Table("index", "class", "colour")
    counts = []
    for name in manifest.splits:
        table.add_column(f"images in {name}", justify="right")
        counts.append(open_split(path, name).labels.sum(axis=0).astype(int))
    for index, name in enumerate(manifest.classes):
        colour = "#{:02x}{:02x}{:02x}".format(*manifest.colours[index])
        having = [f"{count[index - 1]:,}" if index else "" for count in counts]
        table.add_row(str(index), name, f"[{colour}]██[/] {colour}", *having)
    return table
