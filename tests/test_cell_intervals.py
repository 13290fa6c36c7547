"""Intervals of cells and effects against a computation of their own: plain loops, SciPy's tables.

It follows docs/decisions/0018 in its words, reads the files row by row, and draws by itself, so the
two agree up to the noise of their draws.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import synthetic_store as synthetic
from scipy import stats

from camsweep.reports.load import Trial, choose, read_trials
from camsweep.reports.measure import Measurements
from camsweep.sweeps.store import Store

DRAWS = 4000


def miou(total: np.ndarray) -> float:
    return float(np.mean([tp / (tp + fp + fn) for tp, fp, fn in total if tp + fp + fn > 0]))


def counts(store: Store, trial: Trial) -> np.ndarray:
    """[I, C, 3] straight from the file."""
    rows = store.read_table(f"images/{trial.id}.arrow").to_pylist()
    keys = sorted({row["image"] for row in rows})
    found = np.zeros((len(keys), 7, 3))
    for row in rows:
        found[keys.index(row["image"]), row["class"]] = row["tp"], row["fp"], row["fn"]
    return found


def interval(first: list[np.ndarray], second: list[np.ndarray] | None) -> tuple[float, float]:
    """The 95 % interval of the mean over seeds of the mIoU, or of that less the second's."""

    def of(totals: list[np.ndarray]) -> np.ndarray:
        return np.array([miou(total) for total in totals])

    def each(pick: np.ndarray) -> np.ndarray:
        found = of([one[pick].sum(axis=0) for one in first])
        return found if second is None else found - of([one[pick].sum(axis=0) for one in second])

    seeds, images = len(first), len(first[0])
    everything = np.arange(images)
    points = each(everything)
    point = points.mean()
    without = np.array([each(np.delete(everything, i)) for i in everything])  # [I, S]
    influence = (without.mean(axis=0) - without) * (images - 1) / images
    together = influence.mean(axis=1)
    of_images = (together**2).sum() * images / (images - 1)
    apart = ((influence.T - together) ** 2).sum() / (seeds - 1) * images / (images - 1)
    raw = points.var(ddof=1) / seeds
    of_seeds = max(raw - apart / seeds, 0.0)
    excess = (together**4).sum() - (together**2).sum() ** 2 / images
    freedom = 2 * (together**2).sum() ** 2 / excess
    whole = of_images + of_seeds
    satterthwaite = whole**2 / (of_images**2 / freedom + raw**2 / (seeds - 1))
    student = stats.t.ppf(0.975, max(satterthwaite, seeds - 1))

    rng = np.random.default_rng(12)
    drawn, of_image_draws = [], []
    for _ in range(DRAWS):
        values = each(rng.integers(0, images, images))
        contrast = rng.normal(size=seeds)
        contrast = (contrast - contrast.mean()) / math.sqrt(seeds * (seeds - 1))
        of_image_draws.append(values.mean())
        drawn.append(values.mean() + math.sqrt(of_seeds / raw) * (contrast * values).sum())
    widen = student / stats.norm.ppf(0.975)
    widen *= math.sqrt(whole / (np.var(of_image_draws) + of_seeds))
    bias = stats.norm.ppf(np.mean(np.array(drawn) < point))
    skew = (together**3).sum() / (6 * ((together**2).sum() + of_seeds) ** 1.5)
    ends = []
    for tail in (0.025, 0.975):
        z = bias + stats.norm.ppf(tail)
        end = np.quantile(drawn, stats.norm.cdf(bias + z / (1 - skew * z)))
        ends.append(point + widen * (end - point))
    return float(ends[0]), float(ends[1])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return synthetic.make(tmp_path_factory.mktemp("s"), images=20, sweeps=("cpn/table4",))


def trials_of(store: Store, label: str) -> list[Trial]:
    trials = choose(read_trials(store), None, None).trials
    return [t for t in trials if ("cpn/table4", label) in t.memberships]


@pytest.mark.parametrize("other", [None, "p_h=0.1"], ids=["cell", "effect"])
def test_an_interval_is_what_the_decision_says(store: Store, other: str | None) -> None:
    measurements = Measurements(store, resamples=DRAWS)
    mine = trials_of(store, "p_h=0.5")
    found = measurements.estimate(mine, "miou")
    assert found is not None
    base = None
    if other is not None:
        theirs = trials_of(store, other)
        against = measurements.estimate(theirs, "miou")
        assert against is not None
        found = measurements.difference(found, against)
        base = [counts(store, t) for t in sorted(theirs, key=lambda t: t.seed)]
    low, high = interval([counts(store, t) for t in sorted(mine, key=lambda t: t.seed)], base)
    # Two sets of 4,000 draws differ by some hundredths of the interval's width.
    assert found.low == pytest.approx(low, abs=0.05 * (high - low))
    assert found.high == pytest.approx(high, abs=0.05 * (high - low))
