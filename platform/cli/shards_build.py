"""``camsweep shards build``: write a data set as shards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from camsweep.platform.cli.bars import bars, parse_numbers

if TYPE_CHECKING:
    from camsweep.shards.writing.writer import Source

app = typer.Typer(no_args_is_help=True, help="Write a data set as shards.")

Out = Annotated[
    str, typer.Option("--out", help="New or empty folder for the shards, or s3:// or gs:// URL.")
]
Name = Annotated[
    str | None, typer.Option("--name", help="Name of the data set; default the folder's.")
]
Superpixels = Annotated[
    str,
    typer.Option(
        "--superpixels", metavar="S_N,...", help="SLIC superpixels to store with each image."
    ),
]
Scaling = Annotated[
    str,
    typer.Option(
        "--superpixel-scaling", help="SLIC's input range: modern (min-max) or released (as it is)."
    ),
]
Compactness = Annotated[
    float, typer.Option("--compactness", help="SLIC's weight of space against colour.")
]
ShardSamples = Annotated[
    int, typer.Option("--shard-samples", min=1, help="Samples in one shard file.")
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Processes; default one a core.", show_default=False),
]


@app.command("voc")
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
    sbd: Annotated[
        Path | None,
        typer.Option("--sbd", help="SBD's dataset folder, for train_aug and its masks."),
    ] = None,
    classes: Annotated[
        Path | None, typer.Option("--classes", help="Text file with one class a line.")
    ] = None,
    name: Name = None,
    shard_samples: ShardSamples = 256,
    scaling: Scaling = "modern",
    compactness: Compactness = 10.0,
    workers: Workers = None,
) -> None:
    """Write PASCAL VOC 2012, with the 10,582 images of train_aug where they are there.

    The lists train, val and train_aug of ImageSets/Segmentation become splits where they exist.
    train_aug's masks come from SegmentationClassAug, or from SBD itself with --sbd.

    Examples:
        camsweep shards build voc --root VOCdevkit/VOC2012 --out data/voc12

        camsweep shards build voc --root VOC2012 --sbd benchmark_RELEASE/dataset --out data/voc12

        camsweep shards build voc --root VOC2012 --out data/voc12 --labels npy --superpixels 100,200
    """
    from typing import cast

    from camsweep.shards.sources.voc import Labels, Masks, voc_source

    source = voc_source(
        root,
        masks=cast(Masks, masks),
        labels=cast(Labels, labels),
        classes=classes,
        name=name,
        sbd=sbd,
    )
    _build(source, out, superpixels, shard_samples, scaling, compactness, workers)


@app.command("coco")
def build_coco(
    root: Annotated[
        Path, typer.Option("--root", help="Folder with train2014, val2014 and annotations.")
    ],
    out: Out,
    superpixels: Superpixels = "",
    labels: Annotated[
        str, typer.Option("--labels", help="Image labels from: masks or instances.")
    ] = "masks",
    name: Name = None,
    shard_samples: ShardSamples = 512,
    scaling: Scaling = "modern",
    compactness: Compactness = 10.0,
    workers: Workers = None,
) -> None:
    """Write MS COCO 2014: the 82,081 training and 40,137 validation images with annotations.

    Masks are painted from annotations/instances_{train,val}2014.json, the largest object first;
    crowds are ignored.

    Examples:
        camsweep shards build coco --root coco2014 --out data/coco14

        camsweep shards build coco --root coco2014 --out s3://bucket/coco14 --workers 32
    """
    from typing import cast

    from camsweep.shards.sources.coco import Labels, coco_source

    source = coco_source(root, labels=cast(Labels, labels), name=name)
    _build(source, out, superpixels, shard_samples, scaling, compactness, workers)


@app.command("folder")
def build_folder(
    root: Annotated[Path, typer.Option("--root", help="Folder in VOC layout.")],
    out: Out,
    classes: Annotated[
        Path | None,
        typer.Option("--classes", help="One class a line; default classes.txt in the folder."),
    ] = None,
    superpixels: Superpixels = "",
    labels: Annotated[
        str, typer.Option("--labels", help="Image labels from: masks, xml or npy.")
    ] = "masks",
    masks: Annotated[
        str, typer.Option("--masks", help="Folder of the masks inside the root.")
    ] = "SegmentationClass",
    name: Name = None,
    shard_samples: ShardSamples = 256,
    scaling: Scaling = "modern",
    compactness: Compactness = 10.0,
    workers: Workers = None,
) -> None:
    """Write any folder in VOC layout with a list of its classes.

    Every list in ImageSets/Segmentation becomes a split. Images whose labels come from xml or npy
    need no masks; without masks a split can be trained on, not evaluated.

    Examples:
        camsweep shards build folder --root my-folder --classes my-classes.txt --out data/mine

        camsweep shards build folder --root my-folder --labels xml --out data/mine
    """
    from typing import cast

    from camsweep.shards.sources.folder import folder_source
    from camsweep.shards.sources.voc import Labels

    source = folder_source(
        root, classes=classes, masks=masks, labels=cast(Labels, labels), name=name
    )
    _build(source, out, superpixels, shard_samples, scaling, compactness, workers)


@app.command("embedded")
def build_embedded(
    out: Out,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the renderer.")] = 0,
    train: Annotated[int, typer.Option("--train", min=1, help="Training images.")] = 800,
    val: Annotated[int, typer.Option("--val", min=1, help="Evaluation images.")] = 300,
    superpixels: Superpixels = "",
    shard_samples: ShardSamples = 256,
    scaling: Scaling = "modern",
    compactness: Compactness = 10.0,
    workers: Workers = None,
) -> None:
    """Render the embedded data set (no download, the same bytes for the same seed).

    Examples:
        camsweep shards build embedded --out data/embedded

        camsweep shards build embedded --out data/embedded-1 --seed 1 --train 400 --val 100
    """
    from camsweep.shards.embedded.source import embedded_source

    source = embedded_source(seed, train, val)
    _build(source, out, superpixels, shard_samples, scaling, compactness, workers)


def _build(
    source: Source,
    out: str,
    superpixels: str,
    shard_samples: int,
    scaling: str,
    compactness: float,
    workers: int | None,
) -> None:
    from camsweep.shards.places import as_place
    from camsweep.shards.writing.writer import build

    wanted = parse_numbers("--superpixels", superpixels)
    with bars() as on_progress:
        manifest = build(
            source,
            out,
            shard_samples=shard_samples,
            superpixels=wanted,
            scaling=scaling,
            compactness=compactness,
            workers=workers,
            on_progress=on_progress,
        )
    counts = ", ".join(f"{split.count:,} {name}" for name, split in manifest.splits.items())
    left_out: Any = manifest.settings.get("left_out") or {}  # by split, of COCO
    for split, reasons in left_out.items():
        for reason, count in reasons.items():
            if count:
                typer.echo(f"{split}: {count:,} {reason.replace('_', ' ')} left out")
    typer.echo(f"{as_place(out)}: {manifest.name}, {counts}, digest {manifest.digest[:12]}")
