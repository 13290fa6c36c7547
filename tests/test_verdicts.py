"""Verdicts from planted differences, and against SciPy's own t tests."""

from __future__ import annotations

import math

import numpy as np
import pytest

from camsweep.reports.measure import Estimate
from camsweep.reports.verdicts import (
    INFORMATIVE,
    Pair,
    Verdict,
    count,
    judge,
    one_more_p,
    summary,
    training_interval,
)

stats = pytest.importorskip("scipy.stats")


def estimate(
    points: list[float], reach: float, *, image_noise: float = 0.0, images: int = 0
) -> Estimate:
    """An estimate from the points of its seeds (percent), ``reach`` half its shown interval."""
    seeds = np.array(points) / 100
    mean = float(seeds.mean())
    common = np.random.default_rng(1).normal(0, image_noise / 100, 500)
    values = seeds[:, None] + common[None] - common.mean()
    low, high = mean - reach / 100, mean + reach / 100
    if math.isnan(reach):
        low = high = math.nan
    names = tuple(range(len(points)))
    return Estimate(mean, low, high, names, images, seeds, values, values.mean(axis=0))


def verdict(found: Estimate, published: float, unlike: str = "") -> str:
    (one,) = judge([Pair(found, published)], unlike)
    assert one is not None
    return one.text


TIGHT = [50.0, 50.2, 49.8, 50.1, 49.9]  # the mean's half-width is 0.2


@pytest.mark.parametrize(
    ("points", "reach", "published", "expected"),
    [
        (TIGHT, 0.3, 50.1, "reproduced"),
        (TIGHT, 2.0, 50.1, "reproduced"),  # drawing other images is no matter of the training
        (TIGHT, 2.0, 51.5, "within noise"),  # outside of the trainings', inside of the shown one
        ([47.0, 53.0, 50.0], 8.0, 50.0, "within noise"),  # dead on, but it would agree with all
        (TIGHT, 0.3, 50.4, "within noise"),  # outside, as one more training might be
        (TIGHT, 0.3, 55.0, "differs: lower"),
        (TIGHT, 0.3, 45.0, "differs: higher"),
        ([50.0, 50.0, 50.0], 0.0, 50.0, "reproduced"),
        ([50.0, 50.0, 50.0], 0.0, 50.01, "differs: lower"),
        ([50.0], 1.0, 50.0, "not comparable: one seed"),
        ([50.0], 1.0, 70.0, "not comparable: one seed"),
        ([50.0, 50.1], math.nan, 50.0, "not comparable: no interval"),
    ],
)
def test_words(points: list[float], reach: float, published: float, expected: str) -> None:
    assert verdict(estimate(points, reach), published) == expected


@pytest.mark.parametrize("reason", ["other data", "other settings"])
def test_other_data_is_never_judged(reason: str) -> None:
    assert verdict(estimate(TIGHT, 0.3), 50.0, reason) == f"not comparable: {reason}"
    assert verdict(estimate([50.0], 0.3), 50.0, reason) == f"not comparable: {reason}"


def test_a_cell_without_both_numbers_has_no_verdict() -> None:
    found = estimate(TIGHT, 0.3)
    assert judge([Pair(None, 50.0), Pair(found, None), Pair(None, None)]) == [None] * 3
    missing = estimate([math.nan, math.nan], math.nan)
    assert judge([Pair(missing, 50.0)]) == [None]
    assert judge([]) == []


def test_the_trainings_interval_is_scipys() -> None:
    points = np.array([49.2, 51.1, 50.4, 50.9]) / 100
    expected = stats.t.interval(0.95, 3, points.mean(), stats.sem(points))
    assert training_interval(estimate(list(100 * points), 1.0)) == pytest.approx(expected)
    wide = [50 - 1.2, 50.0, 50 + 1.2]
    reach = 100 * (training_interval(estimate(wide, 3.0))[1] - 0.5)
    assert reach > INFORMATIVE, "three seeds 1.2 points apart say too little"
    assert verdict(estimate(wide, 3.0), 50.0) == "within noise"


def test_without_image_noise_the_p_is_that_of_a_further_value() -> None:
    """The two-sample t test with one value on the other side, by SciPy."""
    points = [49.2, 51.1, 50.4, 50.9]
    for published in (50.0, 52.5, 45.0):
        expected = stats.ttest_ind(points, [published], equal_var=True).pvalue
        assert one_more_p(estimate(points, 1.0), published) == pytest.approx(expected)


def test_image_noise_widens_and_its_freedom_is_satterthwaites() -> None:
    points = [50.0, 50.4, 49.8]
    found = estimate(points, 1.0, image_noise=0.8, images=100)
    s2 = np.var(points, ddof=1) * (1 + 1 / 3)
    v = float((100 * found.values.mean(axis=0)).var(ddof=1))
    freedom = (s2 + v) ** 2 / (s2**2 / 2 + v**2 / 499)
    expected = 2 * stats.t.sf(2.5 / math.sqrt(s2 + v), freedom)
    assert one_more_p(found, 100 * found.mean + 2.5) == pytest.approx(expected)
    alone = one_more_p(estimate([50.0], 1.0), 99.0)
    assert alone == 1.0, "one seed rules nothing out"


def test_holm_over_the_cells_of_an_artefact() -> None:
    """A difference that stands alone is lost among twenty cells that agree."""
    found = estimate(TIGHT, 0.2)
    published = 50.6
    p = one_more_p(found, published)
    assert 0.05 / 20 < p < 0.05
    assert verdict(found, published) == "differs: lower"
    pairs = [Pair(found, published), *(Pair(found, 50.0) for _ in range(19))]
    judged = judge(pairs)
    assert judged[0] == Verdict("within noise")
    assert {one.word for one in judged[1:] if one} == {"reproduced"}
    # Cells that can't be judged are no part of the family.
    pairs = [Pair(found, published), *(Pair(estimate([50.0], 1.0), 50.0) for _ in range(19))]
    assert judge(pairs)[0] == Verdict("differs", "lower")


def test_a_true_reproduction_is_rarely_called_different() -> None:
    """Published numbers drawn as one more training of ours: an error of 5 % at most."""
    rng = np.random.default_rng(7)
    wrong = 0
    for _ in range(2000):
        draws = rng.normal(50, 0.5, 4)
        found = estimate(list(draws[:3]), 0.0)
        wrong += verdict(found, float(draws[3])).startswith("differs")
    # The shown interval is left out here (reach 0), so that the test alone decides.
    assert wrong / 2000 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)
    assert wrong > 0


def test_counts_and_summary_keep_the_order() -> None:
    words = ["differs", "reproduced", "within noise", "reproduced"]
    counts = count([None, *(Verdict(word) for word in words)])
    assert counts == {"reproduced": 2, "within noise": 1, "differs": 1}
    assert summary(counts) == "2 reproduced, 1 within noise, 1 differs"
    assert count([None]) == {}
