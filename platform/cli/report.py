"""`camsweep report`: the papers' tables and figures from a store."""

from __future__ import annotations

from typing import Annotated

import typer

from camsweep.platform.cli.options import DEFAULT_STORE, StoreUrl

#: What `--watch` alone means.
WATCH_SECONDS = 10

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
            help="Tables and figures (cpn/table4), a paper (cpn), or ablate, searches, own. "
            "Without: all with results.",
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
    watch: Annotated[
        int | None,
        typer.Option(
            "--watch",
            min=1,
            metavar="[SECONDS]",
            help=f"Write it again whenever the store changed, looking every {WATCH_SECONDS} (or "
            "so many) seconds, until Ctrl-C. Without --format: html alone.",
            show_default=False,
        ),
    ] = None,
    until_done: Annotated[
        bool, typer.Option("--until-done", help="With --watch: end when no sweep runs any more.")
    ] = False,
) -> None:
    """Regenerate the ablation tables and figures as one page that needs no network.

    Tables and figures come as files of their own, too: png, svg and pdf (drawn by
    Chromium), tex for a paper (tables.tex shows all of them), md for GitHub, csv
    with every number in full. Files of another report in the folder stay.
    In Python: camsweep.reports.api (docs/reports.md).

    Examples:
      camsweep report --store results

      camsweep report cpn/table4 cpn/fig6 --out paper --format html,tex,pdf

      camsweep report cpn --profile voc12 --data 3f2a --format md,svg,csv

      camsweep report --store results --watch 30

      camsweep report --store s3://bucket/results --watch --until-done
    """
    import shlex
    import sys
    from pathlib import Path

    from camsweep.reports.build import Request, build, parse_formats
    from camsweep.shards.errors import InputError

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
    if watch is not None:
        from camsweep.platform.watching import watch as watch_store

        watch_store(request, watch, typer.echo, until_done=until_done)
        return
    if until_done:
        raise InputError("--until-done: only with --watch")
    written = build(request, say=lambda line: typer.echo(line, err=True))
    page = [path for path in written if path.name == "index.html"]
    others = len(written) - len(page)
    if others:
        typer.echo(f"{others} tables and images in {out}")
    for path in page:
        typer.echo(path)
