"""What stands in a table's cells, read back from their text: numbers, intervals, words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

#: What stands where there is no number.
_NOTHING = frozenset({"", "–", "-", "not measured", "other data", "other settings"})
_CELL = re.compile(
    r"(?P<number>[+\-−]?\d[\d,]*(?:\.\d+)?)(?P<interval> \[[^\[\]]*\])?(?P<rest> \S.*)?"
)


@dataclass(frozen=True)
class Parts:
    """A cell such as ``+3.8 [+1.2, +6.4] noise``, taken apart; ``interval`` and ``rest`` or ""."""

    number: str
    interval: str
    rest: str

    @property
    def decimals(self) -> int:
        """How many digits stand behind the point."""
        return len(self.number.partition(".")[2])

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The interval's ends; None where there is none."""
        ends = self.interval.strip(" []").replace("−", "-").split(", ")
        try:
            low, high = (float(end) for end in ends)
        except ValueError:
            return None
        return low, high


def parts(cell: str) -> Parts | None:
    """A cell taken apart; None where it does not begin with a number."""
    found = _CELL.fullmatch(cell.strip())
    if found is None:
        return None
    return Parts(found["number"], (found["interval"] or "").strip(), (found["rest"] or "").strip())


def kind(cells: Sequence[str]) -> str:
    """What a column holds: ``estimate`` (numbers with intervals), ``number`` or ``text``.

    Args:
        cells: of the column, without its heading. Those that say that there is no number don't
            count; of the others at least half decide.
    """
    said = [cell for cell in cells if cell.strip() not in _NOTHING]
    read = [found for cell in said if (found := parts(cell)) is not None]
    if not said or 2 * len(read) < len(said):
        return "text"
    with_interval = sum(bool(found.interval) for found in read)
    return "estimate" if 4 * with_interval >= len(read) else "number"


def best(column: Sequence[str]) -> int | None:
    """The row whose mean is the highest of a column and whose interval lies above all others.

    Only for columns of levels: in a column of differences (signed numbers) none is the best. Rows
    without an interval decide nothing, and there must be two with one.

    Args:
        column: its cells without the heading.
    """
    found = [(row, p, p.bounds) for row, cell in enumerate(column) if (p := parts(cell))]
    known = [(row, p, ends) for row, p, ends in found if ends is not None]
    if len(known) < 2 or any(p.number[0] in "+-−" for _, p, _ in known):
        return None
    first, *others = sorted(known, key=lambda item: -item[2][0])
    return first[0] if first[2][0] > max(ends[1] for _, _, ends in others) else None
