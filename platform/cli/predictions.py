"""`camsweep results predictions`: a trial's segmentations of a split, for a test server."""

from __future__ import annotations

from typing import Annotated

import typer

from camsweep.platform.cli.options import DEFAULT_STORE, StoreUrl


def predictions(
    trial: Annotated[
        str, typer.Argument(help="A finished trial's id, or its beginning.", show_default=False)
    ],
    data: Annotated[
        str, typer.Option("--data", help="Folder or URL of the shards.", show_default=False)
    ],
    store: StoreUrl = DEFAULT_STORE,
    split: Annotated[str, typer.Option("--split", help="Split to predict; needs no masks.")] = (
        "test"
    ),
    out: Annotated[str, typer.Option("--out", "-o", help="Folder written to.")] = "predictions",
    device: Annotated[str, typer.Option("--device", help="cpu or cuda.")] = "cpu",
) -> None:
    """Write the segmentations of a trial as palette PNGs, in the layout of the VOC test server.

    Pack the folder `results` in it with `tar czf` and send that. Run the same command again to go
    on after an interruption.

    Examples:
      camsweep results predictions 3f2a --data shards/voc12 --split test --out submission
    """
    from pathlib import Path

    from camsweep.platform.cli.bars import bars
    from camsweep.shards.errors import InputError
    from camsweep.sweeps.store import Store

    if device not in ("cpu", "cuda"):
        raise InputError(f"--device {device}: cpu or cuda is right")
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise InputError("--device cuda: there is no GPU here; cpu is right")
    where = Store(store)
    where.require()
    from camsweep.platform.chain.exporting import export_predictions

    with bars() as on_progress:
        folder = export_predictions(
            where, trial, data, split, Path(out), device=device, on_progress=on_progress
        )
    typer.echo(f"predictions in {folder}")
