"""`camsweep cluster`: the ready files that start Ray on several machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def cluster(
    name: Annotated[
        str | None,
        typer.Argument(help="static, slurm, kuberay, aws, or a file's name.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write it there instead of printing it.", show_default=False)
    ] = None,
) -> None:
    """List the ready files for clusters, or print one; its first lines say what to change.

    Examples:
      camsweep cluster

      camsweep cluster slurm --out slurm.sh
    """
    from camsweep.platform.cluster import READY, ready_file
    from camsweep.shards.errors import InputError, nearest

    if name is None:
        if out is not None:
            raise InputError(f"--out {out}: name the file to write: {', '.join(READY)}")
        for known, purpose in READY.items():
            typer.echo(f"{known:<14}{purpose}")
        return
    # "static" is the launcher's file, the first of that name.
    found = next((known for known in READY if name in (known, known.partition(".")[0])), None)
    if found is None:
        raise InputError(f"cluster {name}: no such file{nearest(name, READY)}")
    text = ready_file(found).read_text("utf-8")
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise InputError(f"--out {out}: is there already; give another name") from None
    typer.echo(f"{out}: change the lines marked CHANGE")
