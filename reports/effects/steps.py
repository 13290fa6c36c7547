"""The steps of rows that add one thing after the other, over the seeds that all of them have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from camsweep.reports.measure import Estimate, Measurements


@dataclass(frozen=True)
class Step:
    """One row of a cumulative table.

    Attributes:
        name: of the row.
        level: over the common seeds; None where it is not measured.
        gain: against the last measured row before it; None for the first.
        since: the name of that row.
        start: that row's mean, a fraction.
    """

    name: str
    level: Estimate | None
    gain: Estimate | None = None
    since: str = ""
    start: float = 0.0


def steps_of(
    names: Sequence[str], estimates: Sequence[Estimate | None], measurements: Measurements
) -> list[Step]:
    """The steps; the first level and all gains sum to the last level.

    Args:
        names: of the rows, in the order in which they add up.
        estimates: of the rows, fractions; None where a row is not measured.
        measurements: of the report; its resamples pair the draws.

    Returns:
        One step a row; all without a level where the measured rows share no seed.
    """
    found = [e for e in estimates if e is not None]
    steps: list[Step] = []
    index = 0
    before: Step | None = None
    for name, estimate in zip(names, estimates, strict=True):
        if estimate is None:
            steps.append(Step(name, None))
            continue
        # All rows take part, those without weight too: so each sum is over the common seeds.
        weights = [float(i == index) for i in range(len(found))]
        level = measurements.combine(weights, found)
        if level is None:
            return [Step(one, None) for one in names]
        gain = None
        if before is not None:
            weights[index - 1] = -1.0
            gain = measurements.combine(weights, found)
        start = before.level.mean if before is not None and before.level is not None else 0.0
        before = Step(name, level, gain, before.name if before else "", start)
        steps.append(before)
        index += 1
    return steps
