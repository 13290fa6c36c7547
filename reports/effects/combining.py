"""The rows of a design by what is on in them, and effects as their weighted sums."""

from __future__ import annotations

from collections.abc import Mapping

from camsweep.reports.effects.weights import Coalition, Weights
from camsweep.reports.measure import Estimate, Measurements


def weighted(
    measurements: Measurements, weights: Weights, rows: Mapping[Coalition, Estimate]
) -> Estimate | None:
    """The sum of rows times weights, over the seeds that all rows with a weight have.

    Args:
        measurements: of the report; its resamples pair the draws by seed and image.
        weights: by coalition; they sum to 0, as those of effects do.
        rows: the measured ones, fractions of mIoU.

    Returns:
        None where there are no weights, a row is not measured, or the rows share no seed.
    """
    used = {key: weight for key, weight in weights.items() if weight}
    if not used or any(key not in rows for key in used):
        return None
    return measurements.combine(list(used.values()), [rows[key] for key in used])
