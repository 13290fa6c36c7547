from __future__ import annotations

import math
import time

import numpy as np
import pytest

from camsweep.reports import statistics as st


def make_counts(seed: int, seeds: int, images: int, classes: int = 5, shift: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 500, size=(seeds, images, classes, 3))
    counts[..., 0] += 300 + shift
    return counts


def test_iou_is_of_summed_counts_and_leaves_absent_classes_out() -> None:
    counts = np.array([[[8, 2, 0], [0, 0, 0], [1, 1, 2]], [[2, 0, 8], [0, 0, 0], [1, 0, 0]]])
    total = counts.sum(axis=0)
    assert st.miou(total) == pytest.approx((10 / 20 + 2 / 5) / 2)
    assert st.miou(total) != pytest.approx(st.miou(counts).mean())
    assert st.background_iou(total) == pytest.approx(0.5)
    assert st.foreground_iou(total) == pytest.approx(0.4)
    assert np.isnan(st.iou(total)[1])
    assert np.isnan(st.miou(np.zeros((3, 3), dtype=np.int64)))


@pytest.mark.parametrize("seeds", [2, 3, 5, 12, 40])
def test_t_factor_makes_the_bootstrap_over_seeds_students_interval(seeds: int) -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(3).normal(0, 1, size=seeds)
    # bootstrap standard error of a mean is sd(ddof=0) / sqrt(n)
    half = 1.959964 * st.t_factor(seeds) * values.std() / math.sqrt(seeds)
    student = scipy_stats.t.ppf(0.975, seeds - 1) * values.std(ddof=1) / math.sqrt(seeds)
    assert half == pytest.approx(student, rel=2e-3)
    assert st.t_factor(1) == 1.0


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(4)
    hits, narrow_hits = 0, 0
    for _ in range(300):
        values = np.repeat(rng.normal(0, 1, size=(3, 1)), 400, axis=1)
        shares = st.seed_weights(rng, 3, 400)
        low, high = st.interval(st.combine(values, shares))
        hits += low <= 0 <= high
        low, high = st.interval(np.einsum("sb,bs->b", values, shares))
        narrow_hits += low <= 0 <= high
    assert hits / 300 > 0.88
    assert narrow_hits / 300 < 0.85, "an interval that is not widened would do: a poor test"


def test_paired_p_is_students_paired_test_where_images_carry_no_noise() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(1)
    first, second = rng.normal(0, 1, (2, 6, 4))
    points = first - second
    got = st.paired_p(points, np.repeat(points[..., None], 30, axis=-1))
    np.testing.assert_allclose(got, scipy_stats.ttest_rel(first, second, axis=1).pvalue)


def test_paired_p_adds_the_noise_of_the_images() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    points = np.array([0.5, 0.7, 0.6])
    values = points[:, None] + np.random.default_rng(0).normal(0, 0.2, (3, 1000))
    error = math.sqrt(np.var(points, ddof=1) / 3 + np.var(values.mean(axis=0), ddof=1))
    expected = 2 * scipy_stats.t.sf(0.6 / error, 2)
    assert float(st.paired_p(points, values)) == pytest.approx(expected)
    assert expected > 1.5 * float(st.paired_p(points, np.repeat(points[:, None], 9, axis=1)))


def test_paired_p_says_nothing_of_one_seed_or_missing_numbers() -> None:
    assert st.paired_p(np.array([3.0]), np.full((1, 50), 3.0)) == 1.0
    assert st.paired_p(np.zeros(3), np.zeros((3, 50))) == 1.0
    assert st.paired_p(np.full(3, 0.5), np.full((3, 50), 0.5)) == 0.0
    assert st.paired_p(np.array([1.0, np.nan, 1.0]), np.ones((3, 50))) == 1.0


def family_wise_error(
    seeds: int, variants: int = 7, families: int = 1500, draws: int = 40, pool: bool = False
) -> float:
    """How often some pair of equally good variants is separated."""
    rng = np.random.default_rng(11)
    # noise between trainings, and of the images: of its own for each variant, beside the shared one
    points = rng.normal(0, 1, (families, variants, seeds))
    of_images = rng.normal(0, 0.5, (families, variants, 1, draws))
    points = points + rng.normal(0, 0.5, (families, variants, 1))
    first, second = np.triu_indices(variants, k=1)
    differences = points[:, first] - points[:, second]
    values = differences[..., None] + of_images[:, first] - of_images[:, second]
    variance, freedom = st.block_variance(points)
    pooled = (np.repeat(variance[:, None], len(first), axis=1), freedom) if pool else None
    p = st.paired_p(differences, values, pooled)
    return float(np.mean([st.holm(row).min() < 0.05 for row in p]))


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_seven_equal_variants_are_rarely_separated(seeds: int, pool: bool) -> None:
    assert family_wise_error(seeds, pool=pool) <= 0.08


def test_the_pooled_noise_is_that_of_a_block_design() -> None:
    rng = np.random.default_rng(2)
    points = rng.normal(0, 1, (4, 3)) + np.arange(4.0)[:, None] + np.array([0, 5, 9.0])
    residual = [
        points[v, s] - points[v].mean() - points[:, s].mean() + points.mean()
        for v in range(4)
        for s in range(3)
    ]
    variance, freedom = st.block_variance(points)
    assert freedom == 6
    assert float(variance) == pytest.approx(sum(r * r for r in residual) / 6)
    # two variants: the paired test itself
    pair = points[:2]
    difference = pair[0] - pair[1]
    values = np.repeat(difference[:, None], 30, axis=1)
    alone = st.paired_p(difference, values)
    assert float(st.paired_p(difference, values, st.block_variance(pair))) == pytest.approx(alone)


def test_pooling_separates_what_three_seeds_alone_cannot() -> None:
    rng = np.random.default_rng(3)
    points = rng.normal(0, 0.01, (7, 3))
    points[0] += 0.1
    difference = points[0] - points[1]
    values = np.repeat(difference[:, None], 30, axis=1)
    alone = float(st.paired_p(difference, values))
    assert float(st.paired_p(difference, values, st.block_variance(points))) < alone / 5


def test_holm() -> None:
    got = st.holm(np.array([0.01, 0.04, 0.03, 0.005]))
    np.testing.assert_allclose(got, [0.03, 0.06, 0.06, 0.02])
    assert st.holm(np.array([0.9, 0.8])).max() <= 1.0
    assert st.holm(np.array([])).shape == (0,)


def test_kendall_tau_equals_scipy_with_ties_and_over_draws() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    published = np.array([1.0, 2.0, 2.0, 5.0, 4.0])
    draws = rng.integers(0, 4, size=(50, 5)).astype(float)
    got = st.kendall_tau(draws, published)
    for value, one in zip(got, draws, strict=True):
        expected = scipy_stats.kendalltau(one, published).statistic
        assert (math.isnan(value) and math.isnan(expected)) or value == pytest.approx(expected)
    assert st.kendall_tau(published, published) == pytest.approx(1.0)
    assert st.kendall_tau(-published, published) == pytest.approx(-1.0)


def test_a_thousand_resamples_of_voc_take_less_than_a_second() -> None:
    counts = make_counts(8, 1, 1464, classes=21)
    begin = time.perf_counter()
    weights = st.image_weights(np.random.default_rng(0), 1464, 1000)
    assert st.miou(st.resample(weights, counts[0])).shape == (1000,)
    assert time.perf_counter() - begin < 1.0
