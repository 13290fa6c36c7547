"""Intervals, paired tests and rank agreement. Pure functions; randomness comes in as a Generator.

Counts are pixel counts ``[..., classes, 3]`` with the last axis (tp, fp, fn) and class 0 the
background. IoU is always taken from *summed* counts: the mean of per-image IoU is another number
(`reports.counted`).

Two sources of noise are resampled together: the training seed and the evaluation images. All seeds
are evaluated on the same images, so the design is crossed: one draw picks images once for every
seed, and seeds once for every method under comparison, which keeps comparisons paired.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit

Floats = NDArray[np.float64]
LEVEL = 0.95
#: With so many seeds or fewer every change of signs is tried, else random ones.
EXACT = 14


def image_weights(
    rng: np.random.Generator, images: int, resamples: int, strata: NDArray[np.generic] | None = None
) -> Floats:
    """How often each image is drawn: ``[resamples, images]``, rows sum to ``images``.

    Args:
        rng: of the draws.
        images: how many there are.
        resamples: how many draws.
        strata: a label for each image ``[images]``; each stratum then keeps its size in every draw,
            as where the test set was put together that way. Without, images are alike.
    """
    groups = np.zeros(images, np.int64) if strata is None else np.asarray(strata)
    weights = np.zeros((resamples, images))
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        share = np.full(len(members), 1.0 / len(members))
        weights[:, members] = rng.multinomial(len(members), share, size=resamples)
    return weights


def seed_weights(rng: np.random.Generator, seeds: int, resamples: int) -> Floats:
    """The share of each seed in each draw: ``[resamples, seeds]``, rows sum to 1.

    A smooth bootstrap: 1 / S plus normal contrasts, so that the mean of S values has the variance
    s^2 / S. Drawing S of S with replacement has too small a variance, by (S - 1) / S, and takes few
    different values: three for two seeds, ten for three.
    """
    if seeds < 2:
        return np.ones((resamples, seeds))
    contrasts = rng.normal(size=(resamples, seeds))
    contrasts -= contrasts.mean(axis=1, keepdims=True)
    return 1.0 / seeds + contrasts / math.sqrt(seeds * (seeds - 1))


def resample(weights: Floats, counts: NDArray[np.generic]) -> Floats:
    """Summed counts of each resample: ``[B, I] x [I, ...] -> [B, ...]``, one matrix product."""
    flat = np.asarray(counts, dtype=np.float64).reshape(counts.shape[0], -1)
    return (weights @ flat).reshape(weights.shape[0], *counts.shape[1:])


def leave_one_out(counts: NDArray[np.generic], metric: Callable[[Floats], Floats]) -> Floats:
    """The metric of the summed counts without each image in turn: ``[I, C, 3] -> [I]``."""
    exact = np.asarray(counts, dtype=np.float64)
    return metric(exact.sum(axis=0) - exact)


class Interval(NamedTuple):
    """Ends of an interval, NaN where nothing can be said, and draws that are as wide ``[B]``."""

    low: float
    high: float
    draws: Floats


def two_level(
    points: Floats, values: Floats, shares: Floats, jack: Floats | None, level: float = LEVEL
) -> Interval:
    """The interval of a mean over seeds: bootstrap over seeds and images, BCa, Student's t.

    Draws are ``sum_s shares[b, s] values[s, b]``. Their quantiles are corrected for bias and skew
    (BCa, Efron 1987: the bias from the draws, the acceleration from leaving out each image in turn)
    and widened about the point, since a bootstrap takes the variances that it estimated for known.
    What differs between seeds on the images at hand is part of both levels and is counted once. The
    degrees of freedom are Satterthwaite's, those of the seeds' part S - 1, those of the images'
    part what the kurtosis of their influence leaves.

    Simulated coverage (tests/test_coverage.py) is 93 to 97 % from three seeds on; for two seeds it
    is 90 to 97 %, as the spread of two values says little.

    Args:
        points: the metric of each seed ``[S]``.
        values: the metric of each seed on each image resample ``[S, B]``; constant along B where
            only a number for the whole set is known. Then the interval is Student's over seeds.
        shares: the seeds' shares in each draw ``[B, S]``, of `seed_weights`.
        jack: the metric of each seed without each image ``[S, I]``; None: the bootstrap's own
            variance, and no acceleration.
        level: of the interval.

    Returns:
        NaN ends where nothing can be said: one seed without counts, or a number is missing.
    """
    seeds, point = len(points), float(points.mean())
    normal = float(ndtri((1 + level) / 2))
    raw = float(points.var(ddof=1)) / seeds if seeds > 1 else 0.0
    images = values.mean(axis=0)
    boot = float(np.var(images[np.isfinite(images)])) if np.isfinite(images).any() else 0.0
    drawn = np.einsum("sb,bs->b", values, shares)
    if not math.isfinite(point) or (boot <= 1e-18 and seeds < 2):
        return Interval(math.nan, math.nan, drawn)
    if boot <= 1e-18:
        factor = float(stdtrit(seeds - 1, (1 + level) / 2))
        half = factor * math.sqrt(raw)
        return Interval(point - half, point + half, point + factor / normal * (drawn - point))
    known = _spread(jack, boot)
    of_seeds = max(raw - known.shared / seeds, 0.0)
    whole = known.variance + of_seeds
    loose = known.variance**2 / known.freedom + (raw**2 / (seeds - 1) if seeds > 1 else 0.0)
    freedom = max(whole**2 / loose, seeds - 1, 1) if loose > 0 else math.inf
    student = float(stdtrit(freedom, (1 + level) / 2)) if math.isfinite(freedom) else normal
    widen = student / normal * math.sqrt(whole / (boot + of_seeds))
    seen = math.sqrt(of_seeds / raw) if raw > 0 else 0.0
    draws = images + seen * (drawn - images)
    acceleration = known.third / (6 * (known.square + of_seeds) ** 1.5)
    low, high = bca(draws, point, acceleration, level)
    return Interval(
        point - widen * (point - low),
        point + widen * (high - point),
        point + widen * (draws - point),
    )


class _Spread(NamedTuple):
    """The images' part of the variance of a mean over seeds.

    ``variance`` with its degrees of ``freedom``, sums of the ``square`` and ``third`` power of the
    images' influence, and ``shared``: how much of the variance between seeds is the images' doing.
    """

    variance: float
    freedom: float
    square: float
    third: float
    shared: float


def _spread(jack: Floats | None, boot: float) -> _Spread:
    """From the metric of each seed without each image ``[S, I]``; else the bootstrap's variance."""
    plain = _Spread(boot, math.inf, boot, 0.0, 0.0)
    if jack is None or jack.shape[-1] < 2 or not np.isfinite(jack).all():
        return plain
    seeds, images = jack.shape
    moved = (jack.mean(axis=1, keepdims=True) - jack) * (images - 1) / images
    together = moved.mean(axis=0)
    square = float((together**2).sum())
    if square <= 1e-18:
        return plain
    fourth = float((together**4).sum()) - square**2 / images
    apart = float(((moved - together) ** 2).sum()) / max(seeds - 1, 1)
    return _Spread(
        variance=square * images / (images - 1),
        freedom=2 * square**2 / fourth if fourth > 0 else math.inf,
        square=square,
        third=float((together**3).sum()),
        shared=apart * images / (images - 1),
    )


def bca(
    draws: Floats, point: float, acceleration: float, level: float = LEVEL
) -> tuple[float, float]:
    """The bias-corrected and accelerated bootstrap interval (Efron 1987).

    Args:
        draws: of the statistic ``[B]``.
        point: the statistic itself.
        acceleration: a sixth of the skewness of its influence; 0 corrects the bias alone.
        level: of the interval.
    """
    finite = draws[np.isfinite(draws)]
    if not finite.size:
        return math.nan, math.nan
    below = ((finite < point).sum() + 0.5 * (finite == point).sum()) / finite.size
    bias = float(ndtri(np.clip(below, 0.5 / finite.size, 1 - 0.5 / finite.size)))
    ends = bias + ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
    low, high = np.quantile(finite, ndtr(bias + ends / (1 - acceleration * ends)))
    return float(low), float(high)


def interval(draws: Floats, level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval of draws ``[B]``; (NaN, NaN) where no draw is finite."""
    finite = draws[np.isfinite(draws)]
    if not finite.size:
        return math.nan, math.nan
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def block_variance(points: Floats) -> tuple[Floats, int]:
    """The noise of a training, pooled over variants: ``[..., V, S] -> [...]`` and its freedom.

    The residual mean square of a randomised block design: what is left of each point after its
    variant's mean and its seed's mean, over (V - 1)(S - 1) degrees of freedom. It assumes that the
    variants are about equally noisy, and earns three seeds the power that one pair alone has not.
    For two variants it is half the variance of their differences: the paired test itself.
    """
    variants, seeds = points.shape[-2:]
    of_variant = points.mean(axis=-1, keepdims=True)
    of_seed = points.mean(axis=-2, keepdims=True)
    rest = points - of_variant - of_seed + points.mean(axis=(-2, -1), keepdims=True)
    freedom = (variants - 1) * (seeds - 1)
    return (rest**2).sum(axis=(-2, -1)) / max(freedom, 1), freedom


def paired_p(points: Floats, values: Floats, pooled: tuple[Floats, int] | None = None) -> Floats:
    """Two-sided p of "no difference" by Student's t: ``[..., S], [..., S, B] -> [...]``.

    The squared standard error is the seeds' part, the variance of the points over S, plus the
    images' part, the variance over resamples of the mean over seeds. The degrees of freedom are
    S - 1, since the seeds' part is estimated from S points: with a normal tail, or with the spread
    of a bootstrap over three seeds, a third of all families of equal variants would show a
    difference.

    Args:
        points: the difference of each common seed.
        values: the difference of each common seed on each image resample.
        pooled: the variance of one training and its degrees of freedom, of `block_variance`, in
            the place of the pair's own.

    Returns:
        1 where fewer than two seeds are common or a number is missing.
    """
    seeds = points.shape[-1]
    if seeds < 2:
        return np.ones(points.shape[:-1])
    mean = points.mean(axis=-1)
    variance, freedom = pooled or (points.var(axis=-1, ddof=1) / 2, seeds - 1)
    of_seeds = 2 * variance / seeds
    of_images = values.mean(axis=-2).var(axis=-1, ddof=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.abs(mean) / np.sqrt(of_seeds + of_images)
    # 0 / 0 is no difference; a missing number proves none either.
    return np.where(np.isnan(ratio), 1.0, 2 * stdtr(freedom, -ratio))


def seed_permutation_p(
    differences: Floats, rng: np.random.Generator, permutations: int = 9999
) -> float:
    """Two-sided p of a paired permutation test over seeds: ``[S] -> 0..1``.

    If two methods are alike, each seed's pair of results may be exchanged, which changes the sign
    of its difference. No distribution is assumed, but p is never below 2 / 2^S: 0.25 for three
    seeds, 0.03 for six. All 2^S changes are tried up to `EXACT` seeds, else random ones.
    """
    given = np.asarray(differences, dtype=np.float64)
    if len(given) < 2 or not np.isfinite(given).all():
        return 1.0
    if len(given) <= EXACT:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=len(given))))
        return float((np.abs(signs @ given) >= _reached(given.sum())).mean())
    signs = rng.choice((1.0, -1.0), size=(permutations, len(given)))
    return float((1 + (np.abs(signs @ given) >= _reached(given.sum())).sum()) / (1 + permutations))


def image_permutation_p(
    first: NDArray[np.generic],
    second: NDArray[np.generic],
    metric: Callable[[Floats], Floats],
    rng: np.random.Generator,
    permutations: int = 1999,
) -> float:
    """Two-sided p of a paired permutation test over images, of these trained networks.

    Under the hypothesis that both are alike on every image, the counts of an image may be exchanged
    between them (for all seeds at once). It speaks of these trainings, not of others: where the
    seeds' noise is not small, a small p says nothing of the methods.

    Args:
        first: counts ``[S, I, C, 3]`` or ``[I, C, 3]``.
        second: counts of the same shape, on the same images.
        metric: of summed counts, ``[..., C, 3] -> [...]``.
        rng: of the exchanges.
        permutations: how many.
    """
    pair = np.stack([first, second]).astype(np.float64)
    pair = pair if pair.ndim == 5 else pair[:, None]
    total, gap = pair.sum(axis=2), pair[0] - pair[1]
    observed = np.abs((metric(total[0]) - metric(total[1])).mean())
    swapped = rng.random((permutations, gap.shape[1])) < 0.5
    moved = np.einsum("pi,sicn->pscn", swapped.astype(np.float64), gap)
    drawn = np.abs((metric(total[0] - moved) - metric(total[1] + moved)).mean(axis=-1))
    return float((1 + (drawn >= _reached(observed)).sum()) / (1 + permutations))


def _reached(observed: float) -> float:
    """The least value that counts as extreme: sums in another order differ in the last bits."""
    return abs(float(observed)) * (1 - 1e-9)


def holm(p: Floats) -> Floats:
    """Holm's step-down adjustment ``[N] -> [N]``: keeps the family-wise error at the level."""
    order = np.argsort(p, kind="stable")
    scaled = np.asarray(p, dtype=np.float64)[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted


def probability_of_improvement(first: Floats, second: Floats) -> Floats:
    """How often a training of the first is better than one of the second, 0..1; ties count half.

    ``[..., S], [..., T] -> [...]``: the share of the S x T pairs of seeds (Mann-Whitney's U over
    S T), the probability of improvement of Agarwal et al. 2021. NaN where a number is missing.
    """
    a, b = first[..., :, None], second[..., None, :]
    wins = (a > b) + 0.5 * (a == b)
    known = np.isfinite(a) & np.isfinite(b)
    return np.where(known.all(axis=(-2, -1)), wins.mean(axis=(-2, -1)), np.nan)


def rank_intervals(
    draws: Floats, level: float = LEVEL
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The interval of each row's rank, 1 for the largest: ``[N, B] -> ([N], [N])``.

    Draws must be paired: column b is the same resample of images and seeds in every row.
    """
    order = np.argsort(-draws, axis=0, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(1, len(draws) + 1)[:, None], axis=0)
    low = np.quantile(ranks, (1 - level) / 2, axis=1, method="lower")
    high = np.quantile(ranks, (1 + level) / 2, axis=1, method="higher")
    return low.astype(np.int64), high.astype(np.int64)


def kendall_tau(measured: Floats, published: Floats) -> Floats:
    """Kendall's tau-b, -1..1: ``measured [..., N]`` against ``published [N]``; NaN if all tie."""
    left, right = np.triu_indices(len(published), k=1)
    a = np.sign(measured[..., left] - measured[..., right])
    b = np.sign(np.asarray(published)[left] - np.asarray(published)[right])
    scale = np.sqrt((a != 0).sum(axis=-1) * float((b != 0).sum()))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(scale > 0, (a * b).sum(axis=-1) / scale, np.nan)
