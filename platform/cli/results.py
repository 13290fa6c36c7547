"""`camsweep results`: the tables of a store exported, asked by SQL, and compacted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from camsweep.platform.cli.options import DEFAULT_STORE, StoreUrl
from camsweep.platform.cli.predictions import predictions

if TYPE_CHECKING:
    from camsweep.sweeps.query import Answer

FORMATS = ("table", "csv", "json")
#: Rows of an answer that a terminal is shown; the other formats have all.
SHOWN = 200
#: Files named that compacting left as they are.
NAMED = 10

app = typer.Typer(
    no_args_is_help=True, help="Export results, ask them by SQL, put many small files into few."
)

app.command("predictions")(predictions)


@app.command("compact")
def compact(store: StoreUrl = DEFAULT_STORE) -> None:
    """Put the files of single trials into few large ones, so that reports read them quickly.

    Nothing is lost, whenever it is stopped; drivers, reports and other tools may go on meanwhile.
    Run it again when many trials have come. Versions of camsweep without this command refuse a
    compacted store.

    Examples:
      camsweep results compact --store results
    """
    from camsweep.platform.cli.bars import bars
    from camsweep.sweeps.compacting.compact import compact as work
    from camsweep.sweeps.store import Store

    where = Store(store)
    where.require()
    where.require_writable()
    told: list[str] = []

    def on_wait() -> None:
        if not told:
            told.append("waiting")
            typer.echo("another process compacts this store; waiting for it", err=True)

    with bars() as on_progress:
        done = work(where, on_progress, on_wait)
    for table, number in done.packed.items():
        if number:
            typer.echo(f"{table}: {number:,} files into packs; {done.packs[table]} packs now")
    if not any(done.packed.values()):
        typer.echo("nothing to do: no trials have come since the last time")
    else:
        before, after = (f"{n / 2**20:,.1f} MB" for n in (done.bytes_before, done.bytes_after))
        typer.echo(f"{before} deleted, {after} written")
    for one in done.left[:NAMED]:
        typer.echo(f"left as it is: {one.reason}", err=True)
    if len(done.left) > NAMED:
        typer.echo(f"and {len(done.left) - NAMED} more left as they are", err=True)


@app.command("export")
def export(
    store: StoreUrl = DEFAULT_STORE,
    out: Annotated[str, typer.Option("--out", "-o", help="Folder written to.")] = "results",
    form: Annotated[str, typer.Option("--format", "-f", help="parquet or csv.")] = "parquet",
    tables: Annotated[
        str | None,
        typer.Option(
            "--table",
            "-t",
            help="trials, epochs, images, curves; several with commas. Without: all.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write the tables of a store as Parquet or CSV: a file a table, a row a trial, epoch, ….

    Columns are in families: config.* (settings), metric.*, seconds.*, stage.*, loss.*. In CSV,
    lists and maps are JSON.

    Examples:
      camsweep results export --store results --out tables

      camsweep results export --store results --out tables --format csv --table trials,epochs
    """
    from pathlib import Path

    from camsweep.platform.cli.bars import bars
    from camsweep.sweeps.exporting import export_tables, parse_tables
    from camsweep.sweeps.store import Store

    chosen = parse_tables(tables)
    where = Store(store)
    where.require()
    with bars() as on_progress:
        for path, rows in export_tables(where, Path(out), form, chosen, on_progress):
            typer.echo(f"{path}: {rows:,} rows")


@app.command("sql")
def sql(
    query: Annotated[str, typer.Argument(help="One SELECT in DuckDB's SQL.", show_default=False)],
    store: StoreUrl = DEFAULT_STORE,
    form: Annotated[str, typer.Option("--format", "-f", help="table, csv or json.")] = "table",
) -> None:
    """Ask the tables trials, epochs, images and curves by SQL; nothing can be changed.

    Columns with a dot are written in double quotes. A trial's id is `id` in trials, `trial_id` in
    the others.

    Examples:
      camsweep results sql --store results 'SELECT method, seed, "metric.miou" FROM trials'

      camsweep results sql --store results --format csv "SELECT class, sum(tp) / sum(tp+fp+fn) AS
      iou FROM images JOIN trials ON id = trial_id WHERE method = 'cpn' GROUP BY class ORDER BY
      class"
    """
    from camsweep.shards.errors import InputError, nearest
    from camsweep.sweeps.query import ask
    from camsweep.sweeps.store import Store

    if form not in FORMATS:
        raise InputError(f"--format {form}: not a format{nearest(form, FORMATS)}")
    where = Store(store)
    where.require()
    answer = ask(where, query)
    if form == "table":
        _show(answer)
    else:
        typer.echo(answer.csv() if form == "csv" else answer.json(), nl=False)


def _show(answer: Answer) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console = Console(width=10_000)  # a pipe or file has no width to fold to
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, number in zip(answer.columns, answer.numeric, strict=True):
        table.add_column(Text(name), justify="right" if number else "left", overflow="fold")
    for row in answer.texts()[:SHOWN]:
        table.add_row(*map(Text, row))
    console.print(table)
    more = len(answer.rows) - SHOWN
    if more > 0:
        console.print(f"{more:,} more rows; --format csv has all", style="dim", highlight=False)
