"""`camsweep weights`: what a weight file is, and the same file under our names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from camsweep.methods.pretrained.convert import Examined

app = typer.Typer(
    no_args_is_help=True, help="Check and convert weight files (ImageNet's, or whole networks)."
)

File = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="torch (.pth), .safetensors or MXNet .params file."),
]
SHOWN = 8


@app.command("check")
def check(
    file: File,
    target: Annotated[
        str | None,
        typer.Option("--for", help="Backbone or method to compare with.", show_default=False),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option(
            "--classes", min=2, help="Classes of the data, with background.", show_default=False
        ),
    ] = None,
) -> None:
    """Say what a weight file is, which tensors fit and which do not.

    Exit status 0 when every tensor fits, else 2.

    Examples:
      camsweep weights check resnet50.pth

      camsweep weights check resnet38_SEAM.pth --for seam --classes 21
    """
    from rich.console import Console
    from rich.text import Text

    from camsweep.methods.pretrained.convert import examine
    from camsweep.methods.weights import file_sha256

    found = examine(file, target, classes)
    console, known, match = Console(), found.known, found.match
    console.print(Text.assemble((str(file), "bold"), f"  {known.kind.title}"), soft_wrap=True)
    if "source_sha256" in known.origin:
        made = f"{known.title}, {known.origin.get('source')}"
        console.print(Text(f"converted from {made}"), soft_wrap=True)
        console.print(Text(f"source sha256 {known.origin['source_sha256']}"), soft_wrap=True)
    console.print(f"sha256 {file_sha256(file)}", soft_wrap=True)
    console.print(_table(found), markup=False)  # names of parts are the file's
    for line in problems(found):
        console.print(Text(line), soft_wrap=True)
    if known.prcm_layout is not None:
        console.print(Text(f"needs prcm_layout: {known.prcm_layout}"))
    if known.left_out:
        names = ", ".join(known.left_out)
        console.print(Text(f"not used: {known.left_out_title} ({names})"), soft_wrap=True)
    if known.aliases:
        console.print(f"not used: {known.aliases} second names of the same tensors")
    if found.aside:
        names = ", ".join(found.aside)
        console.print(Text(f"not compared: {names}; --for METHOD does"), soft_wrap=True)
    if not match.fits:
        count = len(match.missing) + len(match.unknown) + len(match.reshaped)
        typer.echo(f"{file}: {count} tensors do not fit {found.target}", err=True)
        raise typer.Exit(2)
    console.print(Text(f"fits {found.target}"), soft_wrap=True)


@app.command("convert")
def convert_file(
    file: File,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New .safetensors file.")],
    force: Annotated[bool, typer.Option("--force", help="Replace OUT if it is there.")] = False,
) -> None:
    """Write a weight file as safetensors under camsweep's names; it notes its source's SHA-256.

    Examples:
      camsweep weights convert ilsvrc-cls_rna-a1_cls1000_ep-0001.params resnet38.safetensors

      camsweep weights convert resnet38_SEAM.pth seam.safetensors --force
    """
    from camsweep.methods.pretrained.convert import convert

    known = convert(file, out, force)
    typer.echo(f"{out}: {known.kind.title}, {len(known.state)} tensors")


def problems(found: Examined) -> list[str]:
    """A line for each tensor that does not fit, in the file's names; long lists are cut."""
    known, match = found.known, found.match
    lines = [f"missing: {known.named(name)}" for name in match.missing]
    lines += [f"unknown: {known.named(name)}" for name in match.unknown]
    lines += [
        f"other shape: {known.named(name)} is {list(given)}, must be {list(wanted)}"
        for name, given, wanted in match.reshaped
    ]
    more = len(lines) - SHOWN
    return lines if more <= 0 else [*lines[:SHOWN], f"and {more} more"]


def _table(found: Examined) -> Table:
    """Numbers of tensors by part of the network."""
    from rich.table import Table

    match = found.match
    alone = found.target.startswith("backbone ")
    parts: dict[str, list[int]] = {}
    groups = (match.matched, match.missing, match.unknown, [r[0] for r in match.reshaped])
    for column, names in enumerate(groups):
        for name in names:
            part = "backbone" if alone else name.split(".")[0]
            parts.setdefault(part, [0, 0, 0, 0])[column] += 1
    table = Table("part")
    for title in ("match", "missing", "unknown", "other shape"):
        table.add_column(title, justify="right")
    for part, counts in parts.items():
        table.add_row(part, *(f"{count:,}" for count in counts))
    return table
