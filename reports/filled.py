"""An artefact with its numbers: what tables and figures are drawn from."""

from __future__ import annotations

from dataclasses import dataclass

from camsweep.reports.load import Selection, Trial
from camsweep.reports.measure import Estimate
from camsweep.reports.shape import Shape
from camsweep.reports.spec import AnySpec
from camsweep.reports.verdicts import Verdict, count

OTHER_DATA = "other data"
OTHER_SETTINGS = "other settings"


@dataclass(frozen=True)
class Value:
    """A cell: what was measured, what was published (percent), and the hole if neither can stand.

    ``difference`` is measured minus published in points, or None where ``unlike`` says why the two
    can't be compared ("other data", "other settings") or one of the two is missing. ``verdict`` is
    there where both numbers are. ``effect`` is the paired difference to the reference row.
    """

    estimate: Estimate | None
    published: float | None = None
    difference: float | None = None
    effect: Estimate | None = None
    hole: bool = False
    unlike: str = ""
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Line:
    """A row of a filled artefact.

    ``facts`` are its words in the columns ``Filled.facts``, ``x`` is its place on a numeric axis.
    """

    name: str
    values: tuple[Value, ...]
    seeds: int = 0
    ours: bool = False
    x: float | None = None
    published_only: bool = False
    facts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Hole:
    """Something missing, and the command that fills it."""

    what: str
    command: str


@dataclass(frozen=True)
class Filled:
    """An artefact with its numbers.

    ``columns`` name ``Line.values``, ``facts`` name ``Line.facts``; ``unlike`` says why the numbers
    can't be compared with the paper's, empty where they can; ``settings`` are the overrides of all
    rows, ``--set epochs=1``; ``protocol`` is what was done otherwise than for the published
    numbers, and ``sources`` where that is known from; ``measures`` says what the numbers are of,
    ``segmentation on val``, empty where all are of maps.
    """

    spec: AnySpec
    selection: Selection
    unlike: str
    settings: str = ""
    columns: tuple[str, ...] = ()
    lines: tuple[Line, ...] = ()
    reference: str | None = None
    shape: Shape | None = None
    holes: tuple[Hole, ...] = ()
    failed: tuple[Trial, ...] = ()
    notes: tuple[str, ...] = ()
    images: int = 0
    facts: tuple[str, ...] = ()
    protocol: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    measures: str = ""

    @property
    def comparable(self) -> bool:
        """Whether measured and published numbers may be subtracted."""
        return not self.unlike

    @property
    def seeds(self) -> int:
        """The largest number of seeds of any line."""
        return max((line.seeds for line in self.lines), default=0)

    @property
    def decimals(self) -> int:
        """How many the paper prints: what its numbers here need, 1 or 2."""
        given = [v.published for line in self.lines for v in line.values if v.published is not None]
        return 1 if all(round(number, 1) == number for number in given) else 2

    @property
    def verdicts(self) -> dict[str, int]:
        """How many cells have each verdict."""
        return count(value.verdict for line in self.lines for value in line.values)
