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


def plain_miou(total: np.ndarray) -> float:
    values = [tp / (tp + fp + fn) for tp, fp, fn in total if tp + fp + fn > 0]
    return sum(values) / len(values)


def test_iou_is_of_summed_counts_and_leaves_absent_classes_out() -> None:
    counts = np.array([[[8, 2, 0], [0, 0, 0], [1, 1, 2]], [[2, 0, 8], [0, 0, 0], [1, 0, 0]]])
    total = counts.sum(axis=0)
    assert st.miou(total) == pytest.approx((10 / 20 + 2 / 5) / 2)
    assert st.miou(total) != pytest.approx(st.miou(counts).mean())
    assert st.background_iou(total) == pytest.approx(0.5)
    assert st.foreground_iou(total) == pytest.approx(0.4)
    assert np.isnan(st.iou(total)[1])
    assert np.isnan(st.miou(np.zeros((3, 3), dtype=np.int64)))


def test_two_level_equals_a_loop_over_drawn_images_and_seeds() -> None:
    counts = make_counts(1, seeds=3, images=7)
    got = st.two_level(counts, st.miou, np.random.default_rng(5), resamples=40)
    rng = np.random.default_rng(5)
    images = rng.multinomial(7, [1 / 7] * 7, size=40)
    seeds = rng.multinomial(3, [1 / 3] * 3, size=40)
    expected = []
    for b in range(40):
        each = []
        for s in range(3):
            drawn = [i for i in range(7) for _ in range(images[b, i])]
            each.append(plain_miou(sum(counts[s, i] for i in drawn)))
        centre = sum(each) / 3
        chosen = sum(value * k for value, k in zip(each, seeds[b], strict=True)) / 3
        expected.append(centre + 4.303 / 1.959964 * math.sqrt(3 / 2) * (chosen - centre))
    np.testing.assert_allclose(got.draws, expected, rtol=1e-6)
    assert got.mean == pytest.approx(np.mean([plain_miou(c.sum(axis=0)) for c in counts]))
    assert (got.low, got.high) == pytest.approx(np.quantile(expected, [0.025, 0.975]), rel=1e-6)


def test_same_generator_gives_same_interval_and_other_generator_another() -> None:
    counts = make_counts(2, 3, 20)
    first = st.two_level(counts, st.miou, np.random.default_rng(0), 200)
    again = st.two_level(counts, st.miou, np.random.default_rng(0), 200)
    other = st.two_level(counts, st.miou, np.random.default_rng(1), 200)
    assert (first.low, first.high) == (again.low, again.high)
    assert first.low != other.low


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
        low, high = st.interval(st.combine(values, shares, calibrate=False))
        narrow_hits += low <= 0 <= high
    assert hits / 300 > 0.88
    assert narrow_hits / 300 < 0.85


def test_paired_difference_is_tighter_than_unpaired_and_has_the_right_sign() -> None:
    base = make_counts(5, 3, 60)
    better = base.copy()
    better[..., 0] += 12
    paired = st.paired_difference(better, base, st.miou, np.random.default_rng(0), 400)
    one = st.two_level(better, st.miou, np.random.default_rng(1), 400)
    two = st.two_level(base, st.miou, np.random.default_rng(2), 400)
    unpaired = np.ptp(one.draws - two.draws)
    assert paired.low > 0
    assert np.ptp(paired.draws) < 0.2 * unpaired
    assert paired.mean == pytest.approx(one.mean - two.mean)


def test_bootstrap_p() -> None:
    draws = np.random.default_rng(0).normal(1.0, 0.5, 20000)
    assert st.bootstrap_p(1.0, draws) == pytest.approx(0.0455, abs=0.004)
    assert st.bootstrap_p(0.0, np.zeros(5)) == 1.0
    assert st.bootstrap_p(0.1, np.full(5, 0.1)) == 0.0
    assert st.bootstrap_p(math.nan, draws) == 1.0


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
    st.two_level(counts, st.miou, np.random.default_rng(0), 1000)
    assert time.perf_counter() - begin < 1.0
