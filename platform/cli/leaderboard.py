"""`camsweep leaderboard`: method variants ranked, with intervals, groups and cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from camsweep.platform.cli.options import DEFAULT_STORE, StoreUrl
from camsweep.platform.cli.report import DataChoice, ProfileChoice
from camsweep.reports.uncollected import uncollected

if TYPE_CHECKING:
    from camsweep.reports.board.entry import Leaderboard
    from camsweep.reports.exhibit import Grid

FORMATS = ("table", "md", "tex", "csv", "json")
#: A pipe or file has no width to fold to.
PIPE = 200
#: What a terminal has room for, most important first: from which width each column is shown.
WIDTHS = {
    "ranks": 100, "foreground": 100, "train": 110, "P(better than next)": 120, "background": 140,
    "GPU-hours": 150, "core-hours": 150, "images/s": 160, "peak memory": 160, "repeated": 180,
    "parameters": 220, "in": 260,
}  # fmt: skip


@uncollected()
def leaderboard(
    store: StoreUrl = DEFAULT_STORE,
    metric: Annotated[
        str,
        typer.Option(
            "--metric", "-m", help="miou, foreground_iou, precision, recall, iou_small, …"
        ),
    ] = "miou",
    form: Annotated[
        str, typer.Option("--format", "-f", help="table, md, tex, csv or json.")
    ] = "table",
    profile: ProfileChoice = None,
    data: DataChoice = None,
    method: Annotated[
        str | None, typer.Option("--method", help="Only this method.", show_default=False)
    ] = None,
    backbone: Annotated[
        str | None, typer.Option("--backbone", help="Only this backbone.", show_default=False)
    ] = None,
    stage: Annotated[
        str | None,
        typer.Option(
            "--stage",
            help="Only what is measured on this: raw map, refined map, IS-CAM, pseudo masks, "
            "segmentation.",
            show_default=False,
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option("--top", "-n", help="Only so many of the best places.", show_default=False),
    ] = None,
) -> None:
    """Rank the method variants of a store by a metric.

    Variants that share a group's letter are not separated by a paired test over seeds and images.
    The table shows as many columns as the terminal has room for, and at most 60 places; csv and
    json have everything.

    Examples:
      camsweep leaderboard --store results

      camsweep leaderboard --store results --metric iou_small --method cpn --top 10

      camsweep leaderboard --store results --metric foreground_iou --format csv > ranks.csv
    """
    from camsweep.reports.board.filters import Filters
    from camsweep.reports.board.grids import leaderboard_grid
    from camsweep.reports.board.ofstore import rank
    from camsweep.reports.board.ranking import TESTED
    from camsweep.reports.counted import COUNTED
    from camsweep.shards.errors import InputError, nearest

    if form not in FORMATS:
        raise InputError(f"--format {form}: not a format{nearest(form, FORMATS)}")
    whole = form in ("csv", "json")
    filters = Filters(method, backbone, stage, top if whole or top is not None else TESTED)
    # The text formats show means alone of the others, which the rows have: no counts are read.
    columns = COUNTED if whole else ()
    board = rank(
        store, metric, profile, data, lambda line: typer.echo(line, err=True), filters,
        tuple(columns),
    )  # fmt: skip
    if form == "table":
        _show(leaderboard_grid(board, None))
    else:
        typer.echo(_written(board, form), nl=False)


def _written(board: Leaderboard, form: str) -> str:
    from camsweep.reports.board.grids import leaderboard_grid
    from camsweep.reports.board.records import RANKED, board_records
    from camsweep.reports.formats.tables import csv_text, json_text

    if form == "json":
        return json_text(board_records(board))
    if form == "csv":
        from camsweep.reports.exhibit import Records

        return csv_text(Records(RANKED, board_records(board)))
    grid = leaderboard_grid(board, None)
    if form == "md":
        from camsweep.reports.formats.markdown import markdown

        return markdown(grid)
    from camsweep.reports.formats.latex import latex

    return latex(grid, "leaderboard")


def _show(grid: Grid) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPE)
    shown = [i for i, name in enumerate(grid.headers) if WIDTHS.get(name, 0) <= console.width]
    left = {"variant", "group", "in", "repeated"}
    # Numbers are short and must not be folded; names may be.
    folded = {"variant", "in", "repeated", "P(better than next)", "peak memory"}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in (grid.headers[i] for i in shown):
        side = "left" if name in left else "right"
        table.add_column(name, justify=side, overflow="fold", no_wrap=name not in folded)  # type: ignore[arg-type]
    for row in grid.rows:
        table.add_row(*(Text(row[i]) for i in shown))
    if grid.rows:
        console.print(table)
    for note in grid.notes:
        console.print(Text(note))
    console.print(Text(grid.caption), style="dim")
