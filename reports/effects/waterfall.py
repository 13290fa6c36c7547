"""The waterfall of any rows that add up, ready for an exhibit."""

from __future__ import annotations

from collections.abc import Sequence

from camsweep.reports.effects.bars import waterfall
from camsweep.reports.effects.figures import kind_of, signed
from camsweep.reports.effects.steps import steps_of
from camsweep.reports.exhibit import Drawn
from camsweep.reports.measure import Estimate, Measurements
from camsweep.reports.words import percent


def waterfall_drawn(
    names: Sequence[str],
    estimates: Sequence[Estimate | None],
    measurements: Measurements,
    title: str,
    name: str = "waterfall",
) -> Drawn | None:
    """What each row adds to the one before it, as a figure.

    Args:
        names: of the rows, in the order in which they add up.
        estimates: of the rows, fractions of mIoU; None where a row is not measured (a named gap).
        measurements: of the report, so that gains are paired by seed and image draw.
        title: of the figure.
        name: tells the figure apart from the exhibit's others.

    Returns:
        None where fewer than two rows are measured on a common seed.
    """
    steps = steps_of(names, estimates, measurements)
    gains = [step for step in steps if step.gain is not None]
    if not gains:
        return None
    levels = [step.level for step in steps if step.level is not None]
    told = [
        f"{step.name} {signed(step.gain)}"
        + ("" if kind_of(step.gain) == "effect" else f" ({kind_of(step.gain)})")
        for step in gains
        if step.gain is not None
    ]
    alt = (
        f"{title}: from {percent(levels[0].mean)} % mIoU by {len(gains)} steps to "
        f"{percent(levels[-1].mean)} %: {'; '.join(told)}."
    )
    return Drawn(name, title, alt, waterfall(steps))
