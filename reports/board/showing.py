"""The leaderboard as an exhibit."""

from __future__ import annotations

from camsweep.reports.board.entry import Leaderboard
from camsweep.reports.board.records import RANKED, board_records
from camsweep.reports.board.text import leaderboard_grid
from camsweep.reports.exhibit import Exhibit, Records


def board_exhibit(board: Leaderboard) -> Exhibit:
    """The leaderboard as an exhibit, for the formats that are files of their own."""
    text = leaderboard_grid(board)
    numbers = Records(RANKED, board_records(board))
    return Exhibit(
        "leaderboard", "leaderboard", "", "Leaderboard", text.caption,
        grids=(("", text),), records=(("", numbers),),
    )  # fmt: skip
