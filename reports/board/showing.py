"""The leaderboard as an exhibit."""

from __future__ import annotations

from camsweep.reports.board.costing import cost_figure
from camsweep.reports.board.entry import Leaderboard
from camsweep.reports.board.forest import forest
from camsweep.reports.board.grids import leaderboard_grid, objects_grid
from camsweep.reports.board.heat import class_heat
from camsweep.reports.board.records import CLASSES, RANKED, board_records, class_records
from camsweep.reports.exhibit import Exhibit, Records


def board_exhibit(board: Leaderboard, name: str = "leaderboard") -> Exhibit:
    """The leaderboard as an exhibit: places, objects and classes, with their figures."""
    text, objects = leaderboard_grid(board), objects_grid(board)
    drawn = (forest(board), class_heat(board), cost_figure(board))
    records = [("", Records(RANKED, board_records(board)))]
    classes = class_records(board)
    if classes:
        records.append(("classes", Records(CLASSES, classes)))
    return Exhibit(
        name, "leaderboard", "", board.title, text.caption,
        figures=tuple(one for one in drawn if one is not None),
        grids=(("", text), *((("objects", objects),) if objects else ())),
        records=tuple(records),
    )  # fmt: skip
