"""Whether the shape of a published result holds: rank agreement, the peak's place, the ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from camsweep.reports.measure import Estimate, Measurements
from camsweep.reports.statistics import interval, kendall_tau


@dataclass(frozen=True)
class Place:
    """A row or point with its measured estimate and its published number (percent), if any."""

    name: str
    estimate: Estimate | None
    published: float | None


@dataclass(frozen=True)
class End:
    """Measured difference between the published peak and an end of the axis."""

    name: str
    peak: str
    difference: Estimate

    @property
    def verdict(self) -> str:
        """``lower`` (as published), ``higher`` (reversed), ``noise`` or ``one seed``."""
        if self.difference.one_seed:
            return "one seed"
        if self.difference.noise:
            return "noise"
        return "lower" if self.difference.mean > 0 else "higher"


@dataclass(frozen=True)
class Shape:
    """The shape statement as numbers.

    Attributes:
        tau: Kendall's tau-b between the measured and the published order.
        tau_low: lower end of its bootstrap interval.
        tau_high: upper end.
        compared: how many places have both numbers.
        peak: the measured peak over all measured places.
        published_peak: the published peak, of all published places, measured or not.
        peak_share: share of the draws with the measured peak at the published one's place; NaN
            where that place is not measured.
        one_seed: whether a place has one seed, so that the draws miss the noise of trainings.
        ends: the ends of the axis against the published peak (ordered artefacts only).
        unmeasured: ends of the axis that are not measured.
    """

    tau: float
    tau_low: float
    tau_high: float
    compared: int
    peak: str
    published_peak: str
    peak_share: float
    one_seed: bool
    ends: tuple[End, ...]
    unmeasured: tuple[str, ...] = ()

    @property
    def peak_measured(self) -> bool:
        """Whether the published peak's place is measured."""
        return not np.isnan(self.peak_share)


def shape(places: Sequence[Place], measurements: Measurements, *, ordered: bool) -> Shape | None:
    """Compare the order of measured and published numbers.

    Args:
        places: all rows of the artefact in its order, measured or not.
        measurements: for paired differences.
        ordered: whether the places lie along an axis, so that peak and ends mean something.

    Returns:
        None where fewer than two places have both numbers.
    """
    measured = [p for p in places if p.estimate is not None]
    both = [p for p in measured if p.published is not None]
    if len(both) < 2:
        return None
    published = np.array([p.published for p in both], dtype=np.float64)
    means = np.array([p.estimate.mean for p in both if p.estimate is not None])
    draws = np.stack([p.estimate.draws for p in both if p.estimate is not None], axis=-1)
    low, high = interval(kendall_tau(draws, published))
    best = max((p for p in places if p.published is not None), key=lambda p: p.published or 0.0)
    all_means = [p.estimate.mean for p in measured if p.estimate is not None]
    all_draws = np.stack([p.estimate.draws for p in measured if p.estimate is not None], axis=-1)
    share = np.nan
    if best.estimate is not None:
        place = next(i for i, p in enumerate(measured) if p is best)
        share = float((np.argmax(all_draws, axis=-1) == place).mean())
    ends, unmeasured = [], []
    for end in (places[0], places[-1]) if ordered else ():
        if end.estimate is None:
            unmeasured.append(end.name)
        elif end is not best and best.estimate is not None:
            paired = measurements.difference(best.estimate, end.estimate)
            ends.append(End(end.name, best.name, paired))
    return Shape(
        tau=float(kendall_tau(means, published)),
        tau_low=low,
        tau_high=high,
        compared=len(both),
        peak=measured[int(np.argmax(all_means))].name,
        published_peak=best.name,
        peak_share=share,
        one_seed=any(p.estimate.one_seed for p in measured if p.estimate is not None),
        ends=tuple(ends),
        unmeasured=tuple(unmeasured),
    )


def sentences(found: Shape, *, ordered: bool) -> list[str]:
    """The statement in words, every claim with its number and uncertainty."""
    count = "the two" if found.compared == 2 else f"the {found.compared}"
    peak = found.published_peak
    if found.peak_measured:
        best = (
            f"Best: measured at {found.peak}, published at {peak}; the published place is best in "
            f"{100 * found.peak_share:.0f} % of the draws."
        )
    else:
        best = (
            f"The published peak {peak} is not measured, so nothing can be said of its place; the "
            f"best of those measured is {found.peak}."
        )
    lines = [
        f"Order of {count} places with a published number: Kendall's tau {found.tau:+.2f} "
        f"[{found.tau_low:+.2f}, {found.tau_high:+.2f}]"
        + (" (only a sign with two places)." if found.compared == 2 else "."),
        best,
    ]
    if found.one_seed:
        lines.append("Some places have one seed: these draws miss the noise between trainings.")
    words = {
        "lower": "lower, as published",
        "higher": "higher, the reverse of the paper",
        "noise": "not separated from it (noise)",
        "one seed": "one seed, so nothing can be said",
    }
    for end in found.ends if ordered else ():
        d = end.difference
        lines.append(
            f"End {end.name} against the published peak {end.peak}: {words[end.verdict]}; "
            f"peak minus end {signed(d)}."
        )
    for name in found.unmeasured:
        what = f"End {name} is not measured: it can't be held against the published peak"
        lines.append(f"{what} {peak}." if name != peak else f"End {name} is not measured.")
    return lines


def signed(difference: Estimate) -> str:
    """``+3.8 [+1.2, +6.4]`` in points (hundredths)."""
    if np.isnan(difference.low):
        return f"{100 * difference.mean:+.1f} [no interval]"
    return (
        f"{100 * difference.mean:+.1f} [{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]"
    )
