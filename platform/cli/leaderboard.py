"""`camsweep leaderboard`: method variants ranked, with intervals, ties and cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from camsweep.platform.cli.options import DEFAULT_STORE, StoreUrl
from camsweep.platform.cli.report import DataChoice, ProfileChoice

if TYPE_CHECKING:
    from camsweep.reports.board.ranking import Leaderboard

FORMATS = ("table", "md", "tex", "csv", "json")


def leaderboard(
    store: StoreUrl = DEFAULT_STORE,
    metric: Annotated[
        str, typer.Option("--metric", "-m", help="miou, background_iou, foreground_iou, …")
    ] = "miou",
    form: Annotated[
        str, typer.Option("--format", "-f", help="table, md, tex, csv or json.")
    ] = "table",
    profile: ProfileChoice = None,
    data: DataChoice = None,
) -> None:
    """Rank the method variants of a store by a metric.

    Tied places are those that a paired test over seeds and images does not separate.

    Examples:
      camsweep leaderboard --store results

      camsweep leaderboard --store results --metric foreground_iou --format csv > ranks.csv
    """
    from camsweep.reports.board.ofstore import rank
    from camsweep.reports.board.records import RANKED, board_records
    from camsweep.reports.board.text import leaderboard_grid
    from camsweep.reports.exhibit import Records
    from camsweep.reports.formats.latex import latex
    from camsweep.reports.formats.markdown import markdown
    from camsweep.reports.formats.tables import csv_text, json_text
    from camsweep.shards.errors import InputError, nearest

    if form not in FORMATS:
        raise InputError(f"--format {form}: not a format{nearest(form, FORMATS)}")
    board = rank(store, metric, profile, data, say=lambda line: typer.echo(line, err=True))
    if form == "table":
        _show(board)
        return
    texts = {
        "md": lambda: markdown(leaderboard_grid(board)),
        "tex": lambda: latex(leaderboard_grid(board), "leaderboard"),
        "csv": lambda: csv_text(Records(RANKED, board_records(board))),
        "json": lambda: json_text(board_records(board)),
    }
    typer.echo(texts[form](), nl=False)


def _show(board: Leaderboard) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from camsweep.reports.board.text import leaderboard_grid

    grid = leaderboard_grid(board)
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)  # a pipe or file has no width to fold to
    # A terminal has no room for everything; the other formats have it all.
    dropped = {"in", "parameters"}
    if console.width < 120:
        dropped |= {"background", "images/s", "peak memory", "repeated"}
    if console.width < 90:
        dropped |= {"foreground", "train"}
    shown = [i for i, name in enumerate(grid.headers) if name not in dropped]
    left = {"variant", "tied"}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in (grid.headers[i] for i in shown):
        side = "left" if name in left else "right"
        table.add_column(name, justify=side, overflow="fold")  # type: ignore[arg-type]
    for row in grid.rows:
        table.add_row(*(Text(row[i]) for i in shown))
    console.print(table)
    console.print(Text(grid.caption), style="dim")
