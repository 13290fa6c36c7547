"""Whether a measured number agrees with the published one: one word a cell. Pure functions.

A published number is one training on the same images, without a spread of its own. So two
questions are asked of a comparable cell with at least two seeds:

1. Does the published number lie inside the measured 95 % interval?
   "reproduced" where it does and the interval reaches at most `INFORMATIVE` point to either side on
   average (half its width); "within noise" where it does and the interval is wider: such a cell
   would have agreed with much else.
2. If it lies outside: could it be one more training of ours? Student's t of the difference over
   seeds, the squared standard error being s^2 (1 + 1 / S) + the images' part: s^2 the variance
   between our S seeds, once more for the paper's single run (taken to be as noisy as ours), and
   the variance over image resamples of our mean; S - 1 degrees of freedom. The p values of all such
   cells of an artefact are adjusted by Holm. "differs" below `LEVEL`, else "within noise".

The images' part is kept although the paper's images are the same: without its counts an image the
paper had right cannot be paired. It makes "differs" a careful word.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

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

RULES = (
    f"{REPRODUCED}: the published number lies in the measured 95 % interval, and half the "
    f"interval's width is at most {INFORMATIVE:g} point.",
    f"{NOISE}: it lies in a wider interval, or outside of it but no further than one more training "
    "of ours might lie (t test over seeds with the images' noise, Holm over the cells of the "
    f"table or figure, level {LEVEL:g}).",
    f"{DIFFERS}: it lies outside and further than that; higher or lower is the measured mean.",
    f"{UNLIKE}: measured on other data, with other settings or with one seed, whose interval lacks "
    "the noise between trainings.",
    "A published number is one training without a spread; that of ours is taken for it. That a "
    "number differs says nothing of why: see the protocol.",
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


def one_more_p(estimate: Estimate, published: float) -> float:
    """Two-sided p of "the published number is one more training of ours", by Student's t.

    Args:
        estimate: over at least two seeds.
        published: in percent.

    Returns:
        0..1; 1 with one seed or where a number is missing.
    """
    # A dependency of scikit-image; nothing but the tests needs it.
    from scipy.special import stdtr

    seeds = len(estimate.seeds)
    if seeds < 2 or len(estimate.points) != seeds:
        return 1.0
    of_seeds = float(np.var(estimate.points, ddof=1)) * (1 + 1 / seeds)
    of_images = float(estimate.values.mean(axis=0).var(ddof=1)) if estimate.images else 0.0
    difference = abs(estimate.mean - published / 100)
    if difference <= _EXACT:
        return 1.0
    error = math.sqrt(of_seeds + of_images)
    if math.isnan(error) or math.isnan(difference):
        return 1.0
    return 2 * float(stdtr(seeds - 1, -difference / error)) if error > 0 else 0.0


def _judge(estimate: Estimate, published: float, adjusted: float) -> Verdict:
    target = published / 100
    if estimate.low - _EXACT <= target <= estimate.high + _EXACT:
        narrow = 100 * (estimate.high - estimate.low) / 2 <= INFORMATIVE
        return Verdict(REPRODUCED if narrow else NOISE)
    if adjusted >= LEVEL:
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
