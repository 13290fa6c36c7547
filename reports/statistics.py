"""Intervals, paired tests and rank agreement. Pure functions; randomness comes in as a Generator.

Counts are pixel counts ``[..., classes, 3]`` with the last axis (tp, fp, fn) and class 0 the
background. IoU is always taken from *summed* counts: the mean of per-image IoU is another number.

Two sources of noise are resampled together: the training seed and the evaluation images. All seeds
are evaluated on the same images, so the design is crossed: one draw picks images once for every
seed, and seeds once for every method under comparison, which keeps comparisons paired.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from camsweep.methods.metrics import iou

Floats = NDArray[np.float64]

# Student's t, 97.5 % point, for 1..30 degrees of freedom.
_T975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


def _mean_present(values: Floats) -> Floats:
    """Mean over the last axis without NaN; NaN where nothing is present."""
    present = ~np.isnan(values)
    number = present.sum(axis=-1)
    total = np.where(present, values, 0.0).sum(axis=-1)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def miou(counts: NDArray[np.generic]) -> Floats:
    """Mean IoU over the classes with any pixel in tp + fp + fn: ``[..., C, 3] -> [...]``."""
    return _mean_present(iou(counts))


def background_iou(counts: NDArray[np.generic]) -> Floats:
    """IoU of class 0: ``[..., C, 3] -> [...]``."""
    return iou(counts)[..., 0]


def foreground_iou(counts: NDArray[np.generic]) -> Floats:
    """Mean IoU of the classes 1.. that are present: ``[..., C, 3] -> [...]``."""
    return _mean_present(iou(counts)[..., 1:])


def image_weights(rng: np.random.Generator, images: int, resamples: int) -> Floats:
    """How often each image is drawn: ``[resamples, images]``, rows sum to ``images``."""
    return rng.multinomial(images, np.full(images, 1.0 / images), size=resamples).astype(np.float64)


def seed_weights(rng: np.random.Generator, seeds: int, resamples: int) -> Floats:
    """The share of each seed in each resample: ``[resamples, seeds]``, rows sum to 1."""
    return rng.multinomial(seeds, np.full(seeds, 1.0 / seeds), size=resamples) / seeds


def resample(weights: Floats, counts: NDArray[np.generic]) -> Floats:
    """Summed counts of each resample: ``[B, I] x [I, C, 3] -> [B, C, 3]``, one matrix product."""
    flat = np.asarray(counts, dtype=np.float64).reshape(counts.shape[0], -1)
    return (weights @ flat).reshape(weights.shape[0], *counts.shape[1:])


def t_factor(seeds: int) -> float:
    """How much the spread of a bootstrap over few seeds must grow to cover 95 %.

    Resampling n values understates the variance of their mean by (n - 1) / n, and its percentiles
    ignore that the spread itself was estimated. t(n - 1) / z * sqrt(n / (n - 1)) mends both: it is
    2.69 for 3 seeds, 1.58 for 5 and goes to 1. One seed carries no spread: 1.
    """
    if seeds < 2:
        return 1.0
    freedom = seeds - 1
    normal = NormalDist().inv_cdf(0.975)
    # Beyond the table, the first terms of the Cornish-Fisher expansion are exact to three digits.
    student = (
        _T975[freedom - 1]
        if freedom <= len(_T975)
        else normal + (normal**3 + normal) / (4 * freedom)
    )
    return student / normal * math.sqrt(seeds / freedom)


def combine(values: Floats, shares: Floats) -> Floats:
    """Draws of the mean over seeds: ``values [S, B], shares [B, S] -> [B]``.

    Args:
        values: the metric of each seed on each image resample (the same value throughout where only
            a number for the whole set is known: then the draws carry the noise of the seeds alone).
        shares: the seeds' shares in each resample, of `seed_weights`.

    The seeds' part is widened by `t_factor`, so that 3 seeds do not pretend to be 30.
    """
    centre = values.mean(axis=0)
    drawn = np.einsum("sb,bs->b", values, shares)
    return centre + t_factor(len(values)) * (drawn - centre)


def interval(draws: Floats, level: float = 0.95) -> tuple[float, float]:
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
    # A dependency of scikit-image; nothing but this test needs it.
    from scipy.special import stdtr

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


def holm(p: Floats) -> Floats:
    """Holm's step-down adjustment ``[N] -> [N]``: keeps the family-wise error at the level."""
    order = np.argsort(p, kind="stable")
    scaled = np.asarray(p, dtype=np.float64)[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted


def kendall_tau(measured: Floats, published: Floats) -> Floats:
    """Kendall's tau-b, -1..1: ``measured [..., N]`` against ``published [N]``; NaN if all tie."""
    left, right = np.triu_indices(len(published), k=1)
    a = np.sign(measured[..., left] - measured[..., right])
    b = np.sign(np.asarray(published)[left] - np.asarray(published)[right])
    scale = np.sqrt((a != 0).sum(axis=-1) * float((b != 0).sum()))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(scale > 0, (a * b).sum(axis=-1) / scale, np.nan)
