"""Whether a measured number agrees with the published one: one word a cell. Pure functions.

A published number is one training, without a spread of its own, on the images that ours are
evaluated on too. A comparable cell with S >= 2 seeds is judged in this order:

- "reproduced": the published number lies in the 95 % interval of our mean over trainings alone,
  Student's t over seeds, and that interval reaches at most `INFORMATIVE` points to each side: one
  that is wider would agree with much else. The noise of drawing images is no part of it, as the
  images are the same; the interval that is shown has it, and must hold the number as well.
- "differs": the number lies outside of the shown interval, and is no plausible further training of
  ours. t = (mean - published) / error, error^2 = s^2 (1 + 1 / S) + v: s^2 is the variance between
  our seeds, once more for the paper's single run, v the variance of our mean over image resamples
  (careful: without the paper's counts the images can't be paired), the degrees of freedom are
  Satterthwaite's. The p values of all such cells of an artefact are adjusted by Holm, level
  `LEVEL`.
- "within noise": everything else, and so too what few seeds cannot tell.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from camsweep.reports.measure import Estimate
from camsweep.reports.statistics import holm

REPRODUCED = "reproduced"
NOISE = "within noise"
DIFFERS = "differs"
UNLIKE = "not comparable"
#: In the order they are counted in.
WORDS = (REPRODUCED, NOISE, DIFFERS, UNLIKE)
ONE_SEED = "one seed"
NO_INTERVAL = "no interval"
#: Half the width of an interval that says something, in points of the metric.
INFORMATIVE = 1.0
LEVEL = 0.05
# Against the rounding of binary fractions alone: 55.52 / 100 is not always 0.5552.
_EXACT = 1e-9

RULES = {
    REPRODUCED: "the published number lies in the 95 % interval over our trainings alone "
    "(Student's t over seeds; the images are the paper's own), which reaches at most "
    f"{INFORMATIVE:g} point to each side.",
    NOISE: "neither reproduced nor different can be said; with more seeds it may become either.",
    DIFFERS: "the published number lies outside of the interval that is shown and further away "
    "than one more training of ours might lie (t test with the noise of seeds and images, Holm "
    f"over the cells of the table or figure, level {LEVEL:g}); higher or lower is our mean.",
    UNLIKE: "measured on other data, with other settings or with one seed, which tells nothing of "
    "the noise between trainings.",
}
CAVEAT = (
    "A published number is one training without a spread; it is taken to be as noisy as ours. That "
    "a number differs says nothing of why: see the protocol."
)


@dataclass(frozen=True)
class Verdict:
    """One of `WORDS`, and which way or why (``higher``, ``other data``, ``one seed``)."""

    word: str
    why: str = ""

    @property
    def text(self) -> str:
        """``differs: higher``, ``not comparable: other data``, ``reproduced``."""
        return f"{self.word}: {self.why}" if self.why else self.word


@dataclass(frozen=True)
class Pair:
    """A cell to judge: the estimate (fractions) and the published number (percent)."""

    estimate: Estimate | None
    published: float | None


def training_interval(estimate: Estimate) -> tuple[float, float]:
    """The 95 % interval of the mean over trainings on these images: Student's t over the seeds.

    Returns:
        Fractions; (NaN, NaN) with one seed.
    """
    seeds = len(estimate.points)
    if seeds < 2:
        return math.nan, math.nan
    error = float(np.std(estimate.points, ddof=1)) / math.sqrt(seeds)
    reach = float(stdtrit(seeds - 1, 1 - LEVEL / 2)) * error
    return estimate.mean - reach, estimate.mean + reach


def one_more_p(estimate: Estimate, published: float) -> float:
    """Two-sided p of "the published number is one more training of ours", by Student's t.

    Args:
        estimate: over at least two seeds.
        published: in percent.

    Returns:
        0..1; 1 with one seed or where a number is missing.
    """
    seeds = len(estimate.points)
    difference = abs(estimate.mean - published / 100)
    if seeds < 2 or not difference > _EXACT:
        return 1.0
    of_seeds = float(np.var(estimate.points, ddof=1)) * (1 + 1 / seeds)
    drawn = estimate.values.mean(axis=0)
    of_images = float(drawn.var(ddof=1)) if estimate.images else 0.0
    error = math.sqrt(of_seeds + of_images)
    if math.isnan(error):
        return 1.0
    if error <= 0:
        return 0.0
    parts = of_seeds**2 / (seeds - 1) + of_images**2 / max(len(drawn) - 1, 1)
    return 2 * float(stdtr(error**4 / parts, -difference / error))


def _holds(interval: tuple[float, float], target: float) -> bool:
    return interval[0] - _EXACT <= target <= interval[1] + _EXACT


def _judge(estimate: Estimate, published: float, adjusted: float) -> Verdict:
    target = published / 100
    shown = _holds((estimate.low, estimate.high), target)
    low, high = training_interval(estimate)
    narrow = 100 * (high - low) / 2 <= INFORMATIVE
    if shown and narrow and _holds((low, high), target):
        return Verdict(REPRODUCED)
    if shown or adjusted >= LEVEL:
        return Verdict(NOISE)
    return Verdict(DIFFERS, "higher" if estimate.mean > target else "lower")


def judge(pairs: Sequence[Pair], unlike: str = "") -> list[Verdict | None]:
    """A verdict for each cell of one artefact.

    Args:
        pairs: all of its cells, those without a published or a measured number too.
        unlike: why none of them may be compared (``other data``), empty where they may.

    Returns:
        One a pair; None where either number is missing.
    """
    found: list[Verdict | None] = []
    tested: list[tuple[int, Estimate, float]] = []
    for index, pair in enumerate(pairs):
        if pair.estimate is None or pair.published is None or math.isnan(pair.estimate.mean):
            found.append(None)
            continue
        why = unlike
        if not why and pair.estimate.one_seed:
            why = ONE_SEED
        if not why and math.isnan(pair.estimate.low):
            why = NO_INTERVAL
        found.append(Verdict(UNLIKE, why))
        if not why:
            tested.append((index, pair.estimate, pair.published))
    adjusted = holm(np.array([one_more_p(estimate, given) for _, estimate, given in tested]))
    for (index, estimate, given), p in zip(tested, adjusted, strict=True):
        found[index] = _judge(estimate, given, float(p))
    return found


def count(verdicts: Iterable[Verdict | None]) -> dict[str, int]:
    """How often each of `WORDS` occurs, in their order; those that don't are left out."""
    words = [one.word for one in verdicts if one is not None]
    return {word: words.count(word) for word in WORDS if word in words}


def summary(counts: Mapping[str, int]) -> str:
    """``3 reproduced, 1 within noise, 1 differs``."""
    return ", ".join(f"{number} {word}" for word, number in counts.items())
