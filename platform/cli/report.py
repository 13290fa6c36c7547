"""`camsweep report`: the papers' tables and figures from a store."""

from __future__ import annotations

from typing import Annotated

import typer

from camsweep.platform.cli.options import DEFAULT_STORE, StoreUrl

ProfileChoice = Annotated[
    str | None,
    typer.Option(
        "--profile",
        "-p",
        help="Only trials of this profile; the one with most trials if not given.",
        show_default=False,
    ),
]
DataChoice = Annotated[
    str | None,
    typer.Option(
        "--data", help="Only this data set: the beginning of its digest.", show_default=False
    ),
]


def report(
    artefacts: Annotated[
        list[str] | None,
        typer.Argument(
            help="Tables and figures (cpn/table4) or a paper (cpn). Without: all with results.",
            show_default=False,
        ),
    ] = None,
    store: StoreUrl = DEFAULT_STORE,
    out: Annotated[str, typer.Option("--out", "-o", help="Folder of the report.")] = "report",
    formats: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            help="html,png,svg,pdf,tex,md,csv. Without: html, and png, svg if Chromium is there.",
            show_default=False,
        ),
    ] = None,
    profile: ProfileChoice = None,
    data: DataChoice = None,
) -> None:
    """Regenerate the ablation tables and figures as one page that needs no network.

    Examples:
      camsweep report --store results

      camsweep report cpn/table4 cpn/fig6 --store results --out paper --format html,tex,pdf
    """
    import shlex
    import sys
    from pathlib import Path

    from camsweep.reports.build import Request, build, parse_formats

    words = ["camsweep", *sys.argv[1:]]
    request = Request(
        store=store,
        out=Path(out),
        artefacts=tuple(artefacts or ()),
        formats=parse_formats(formats),
        profile=profile,
        data=data,
        command=shlex.join(words),
    )
    written = build(request, say=lambda line: typer.echo(line, err=True))
    page = [path for path in written if path.name == "index.html"]
    others = len(written) - len(page)
    if others:
        typer.echo(f"{others} tables and images in {out}")
    for path in page:
        typer.echo(path)
