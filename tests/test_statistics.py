from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
from scipy import stats

from camsweep.reports import counted as ct
from camsweep.reports import statistics as st


def make_counts(seed: int, seeds: int, images: int, classes: int = 5, shift: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 500, size=(seeds, images, classes, 3))
    counts[..., 0] += 300 + shift
    return counts


def test_iou_is_of_summed_counts_and_leaves_absent_classes_out() -> None:
    counts = np.array([[[8, 2, 0], [0, 0, 0], [1, 1, 2]], [[2, 0, 8], [0, 0, 0], [1, 0, 0]]])
    total = counts.sum(axis=0)
    assert ct.miou(total) == pytest.approx((10 / 20 + 2 / 5) / 2)
    assert ct.miou(total) != pytest.approx(ct.miou(counts).mean())
    assert ct.background_iou(total) == pytest.approx(0.5)
    assert ct.foreground_iou(total) == pytest.approx(0.4)
    assert np.isnan(ct.iou(total)[1])
    assert np.isnan(ct.miou(np.zeros((3, 3), dtype=np.int64)))


@pytest.mark.parametrize("seeds", [2, 3, 5, 40])
def test_without_counts_the_interval_is_students_over_seeds(seeds: int) -> None:
    points = np.random.default_rng(3).normal(0.5, 0.1, size=seeds)
    values = np.repeat(points[:, None], 50, axis=1)
    got = st.two_level(points, values, st.seed_weights(np.random.default_rng(0), seeds, 50), None)
    want = stats.t.interval(0.95, seeds - 1, points.mean(), points.std(ddof=1) / math.sqrt(seeds))
    assert got[:2] == pytest.approx(want)


def test_seed_weights_carry_the_variance_of_a_mean_of_few_seeds() -> None:
    values = np.array([1.0, 2.0, 4.0])
    shares = st.seed_weights(np.random.default_rng(0), 3, 40_000)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    drawn = shares @ values
    assert drawn.mean() == pytest.approx(values.mean(), abs=0.02)
    assert drawn.var() == pytest.approx(values.var(ddof=1) / 3, rel=0.03)


def test_image_weights_keep_the_size_of_every_stratum() -> None:
    strata = np.array(["a"] * 6 + ["b"] * 3)
    weights = st.image_weights(np.random.default_rng(1), 9, 200, strata)
    assert (weights[:, :6].sum(axis=1) == 6).all()
    assert (weights[:, 6:].sum(axis=1) == 3).all()
    free = st.image_weights(np.random.default_rng(1), 9, 200)
    assert (free.sum(axis=1) == 9).all()
    assert len(np.unique(free[:, :6].sum(axis=1))) > 3


def test_bca_is_scipys_for_one_sample() -> None:
    rng = np.random.default_rng(5)
    data = rng.lognormal(0, 1, 40)
    got = stats.bootstrap(
        (data,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(1)
    ).confidence_interval
    drawn = (st.image_weights(np.random.default_rng(2), 40, 20_000) @ data) / 40
    without = (data.sum() - data) / 39
    moved = without.mean() - without
    acceleration = (moved**3).sum() / (6 * (moved**2).sum() ** 1.5)
    assert st.bca(drawn, data.mean(), acceleration) == pytest.approx(tuple(got), rel=0.02)
    plain = st.interval(drawn)
    assert st.bca(drawn, data.mean(), acceleration)[1] > plain[1] + 0.05, "skew moves the ends"


def test_leave_one_out_is_the_metric_without_each_image() -> None:
    counts = make_counts(4, 1, 9)[0]
    got = st.leave_one_out(counts, ct.miou)
    want = [float(ct.miou(np.delete(counts, i, axis=0).sum(axis=0))) for i in range(9)]
    np.testing.assert_allclose(got, want)


def test_an_interval_of_nothing_is_unknown() -> None:
    one = np.array([0.4])
    flat = np.full((1, 20), 0.4)
    shares = st.seed_weights(np.random.default_rng(0), 1, 20)
    assert np.isnan(st.two_level(one, flat, shares, None).low)
    assert np.isnan(st.two_level(np.array([np.nan]), flat, shares, None).high)


def test_permutation_over_seeds_tries_every_change_of_signs() -> None:
    rng = np.random.default_rng(0)
    given = rng.normal(0.4, 1, 8)
    brute = [
        abs(sum(s * g for s, g in zip(signs, given, strict=True))) >= abs(given.sum()) - 1e-12
        for signs in itertools.product((1, -1), repeat=8)
    ]
    assert st.seed_permutation_p(given, rng) == pytest.approx(np.mean(brute))
    assert st.seed_permutation_p(np.array([1.0, 2.0, 3.0]), rng) == pytest.approx(0.25)
    assert st.seed_permutation_p(np.array([1.0]), rng) == 1.0
    many = rng.normal(0.6, 1, 20)
    wanted = stats.permutation_test(
        (many, np.zeros(20)), lambda a, b: (a - b).mean(), permutation_type="samples",
        n_resamples=9999, rng=np.random.default_rng(3),
    ).pvalue  # fmt: skip
    assert st.seed_permutation_p(many, rng) == pytest.approx(wanted, abs=0.01)


@pytest.mark.parametrize("seeds", [5, 8, 16])
def test_permutation_over_seeds_errs_within_its_level(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    wrong = [
        st.seed_permutation_p(rng.standard_t(3, seeds), rng, permutations=399) <= 0.05
        for _ in range(2000)
    ]
    assert np.mean(wrong) <= 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / 2000)


def test_permutation_over_images_errs_within_its_level_and_finds_a_difference() -> None:
    rng = np.random.default_rng(7)

    def pair(shift: float) -> tuple[np.ndarray, np.ndarray]:
        area = rng.integers(50, 400, (40, 3)) * (rng.random((40, 3)) < 0.7)
        hard = rng.normal(0.6, 0.15, (40, 3))

        def one(more: float) -> np.ndarray:
            part = np.clip(hard + more + rng.normal(0, 0.08, (40, 3)), 0, 1)
            tp = (area * part).astype(int)
            return np.stack([tp, area - tp, area - tp], axis=-1)

        return one(0.0), one(shift)

    alike = [st.image_permutation_p(*pair(0.0), ct.miou, rng, 199) <= 0.05 for _ in range(1000)]
    assert np.mean(alike) <= 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / 1000)
    other = [st.image_permutation_p(*pair(0.05), ct.miou, rng, 199) <= 0.05 for _ in range(100)]
    assert np.mean(other) > 0.8


def test_probability_of_improvement_counts_pairs_and_halves_ties() -> None:
    first, second = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.5])
    wins = [(a > b) + 0.5 * (a == b) for a in first for b in second]
    assert float(st.probability_of_improvement(first, second)) == pytest.approx(np.mean(wins))
    u = stats.mannwhitneyu(first, second).statistic
    assert float(st.probability_of_improvement(first, second)) == pytest.approx(u / 6)
    assert np.isnan(st.probability_of_improvement(np.array([np.nan]), second))


def test_rank_intervals_are_quantiles_of_each_draws_ranks() -> None:
    draws = np.random.default_rng(0).normal([[3.0], [2.9], [1.0], [0.0]], 0.1, (4, 500))
    low, high = st.rank_intervals(draws)
    ranks = np.array([[1 + (column > value).sum() for value in column] for column in draws.T]).T
    for place in range(4):
        assert low[place] == sorted(ranks[place])[12]
        assert high[place] == sorted(ranks[place])[487]
    assert (low[0], high[0], low[2], high[3]) == (1, 2, 3, 4)


def test_paired_p_is_students_paired_test_where_images_carry_no_noise() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.normal(0, 1, (2, 6, 4))
    points = first - second
    got = st.paired_p(points, np.repeat(points[..., None], 30, axis=-1))
    np.testing.assert_allclose(got, stats.ttest_rel(first, second, axis=1).pvalue)


def test_paired_p_adds_the_noise_of_the_images() -> None:
    points = np.array([0.5, 0.7, 0.6])
    values = points[:, None] + np.random.default_rng(0).normal(0, 0.2, (3, 1000))
    error = math.sqrt(np.var(points, ddof=1) / 3 + np.var(values.mean(axis=0), ddof=1))
    expected = 2 * stats.t.sf(0.6 / error, 2)
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
    rng = np.random.default_rng(0)
    published = np.array([1.0, 2.0, 2.0, 5.0, 4.0])
    draws = rng.integers(0, 4, size=(50, 5)).astype(float)
    got = st.kendall_tau(draws, published)
    for value, one in zip(got, draws, strict=True):
        expected = stats.kendalltau(one, published).statistic
        assert (math.isnan(value) and math.isnan(expected)) or value == pytest.approx(expected)
    assert st.kendall_tau(published, published) == pytest.approx(1.0)
    assert st.kendall_tau(-published, published) == pytest.approx(-1.0)


def test_a_thousand_resamples_of_voc_take_less_than_a_second() -> None:
    counts = make_counts(8, 1, 1464, classes=21)
    begin = time.perf_counter()
    weights = st.image_weights(np.random.default_rng(0), 1464, 1000)
    assert ct.miou(st.resample(weights, counts[0])).shape == (1000,)
    assert time.perf_counter() - begin < 1.0
