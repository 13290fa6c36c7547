"""Estimates from a store's files against computations made here, row by row."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic_store as synthetic

from camsweep.reports import measure
from camsweep.reports.counted import LARGE, SMALL
from camsweep.reports.load import Trial, choose, read_trials
from camsweep.reports.measure import Measurements
from camsweep.sweeps.store import Store

LABEL = ("cpn/table4", "p_h=0.3")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return synthetic.make(tmp_path_factory.mktemp("s"), images=25, sweeps=("cpn/table4",))


@pytest.fixture(scope="module")
def trials(store: Store) -> list[Trial]:
    found = [t for t in choose(read_trials(store), None, None).trials if LABEL in t.memberships]
    return sorted(found, key=lambda t: t.seed)


def rows_of(store: Store, trial: Trial) -> dict[str, dict[int, tuple[int, int, int]]]:
    """Counts by image and class, straight from the file."""
    found: dict[str, dict[int, tuple[int, int, int]]] = {}
    for row in store.read_table(f"images/{trial.id}.arrow").to_pylist():
        found.setdefault(row["image"], {})[row["class"]] = (row["tp"], row["fp"], row["fn"])
    return found


def brute(store: Store, trial: Trial, name: str) -> float:
    """The metric by loops over the file's rows."""
    low, high = {"iou_small": (0, SMALL), "iou_medium": (SMALL, LARGE)}.get(name, (0, 2))
    if name == "iou_large":
        low, high = LARGE, 2
    total = np.zeros((7, 3))
    for classes in rows_of(store, trial).values():
        whole = sum(tp + fn for tp, _, fn in classes.values())
        for index, (tp, fp, fn) in classes.items():
            share = (tp + fn) / whole
            if not name.startswith("iou_") or (share > 0 and low <= share < high):
                total[index] += tp, fp, fn
    ratios = []
    for tp, fp, fn in total[1:]:
        below = {"precision": tp + fp, "recall": tp + fn}.get(name, tp + fp + fn)
        if tp + fp + fn:
            ratios.append(tp / below if below else 0.0)
    return float(np.mean(ratios))


@pytest.mark.parametrize(
    "name", ["precision", "recall", "foreground_iou", "iou_small", "iou_medium", "iou_large"]
)
def test_metrics_of_counts_are_those_of_the_files_rows(
    store: Store, trials: list[Trial], name: str
) -> None:
    found = Measurements(store, resamples=50).estimate(trials, name)
    assert found is not None
    np.testing.assert_allclose(found.points, [brute(store, t, name) for t in trials])
    assert found.mean == pytest.approx(found.points.mean())
    assert found.low < found.mean < found.high
    assert (found.images, found.seeds) == (25, (0, 1, 2))


def test_class_iou_is_the_mean_over_seeds(store: Store, trials: list[Trial]) -> None:
    found = Measurements(store, resamples=5).class_iou(trials)
    each = []
    for trial in trials:
        total = np.zeros((7, 3))
        for classes in rows_of(store, trial).values():
            for index, counts in classes.items():
                total[index] += counts
        each.append(total[:, 0] / total.sum(axis=1))
    np.testing.assert_allclose(found, np.mean(each, axis=0))


def test_the_jackknife_leaves_out_each_image(store: Store, trials: list[Trial]) -> None:
    found = Measurements(store, resamples=5).estimate(trials[:1], "miou")
    assert found is not None
    assert found.jack is not None
    rows = rows_of(store, trials[0])
    key = sorted(rows)[3]
    total = np.zeros((7, 3))
    for image, classes in rows.items():
        for index, counts in classes.items():
            if image != key:
                total[index] += counts
    assert found.jack[0, 3] == pytest.approx(np.mean(total[:, 0] / total.sum(axis=1)))


def test_nothing_is_read_before_it_is_asked_for(
    store: Store, trials: list[Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = measure.read_counts

    def noted(store: Store, some: object, *more: object) -> object:
        chosen = list(some)  # type: ignore[call-overload]
        asked.extend(t.id for t in chosen)
        return real(store, chosen, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(measure, "read_counts", noted)
    measurements = Measurements(store, resamples=5)
    light = Measurements(store, resamples=5, metrics=()).estimate(trials, "miou")
    assert not asked
    assert light is not None
    whole = measurements.estimate(trials, "miou")
    assert whole is not None
    assert asked == [t.id for t in trials]
    measurements.estimate(trials, "miou")
    measurements.estimate(trials, "miou_scale_1")
    assert len(asked) == len(trials)
    measurements.prefetch(trials)
    assert len(asked) == 2 * len(trials), "other metrics of the same counts"
    for name in ("precision", "iou_small", "miou"):
        measurements.estimate(trials, name)
    measurements.class_iou(trials)
    assert len(asked) == 2 * len(trials)
    assert light.mean == pytest.approx(whole.mean)
    assert (light.images, light.jack) == (0, None)


def test_a_combination_is_paired_by_seed_and_image(store: Store, trials: list[Trial]) -> None:
    measurements = Measurements(store, resamples=300)
    first = measurements.estimate(trials, "miou")
    assert first is not None
    nothing = measurements.combine((0.5, 0.5, -1.0), (first, first, first))
    assert nothing is not None
    assert nothing.mean == pytest.approx(0)
    assert nothing.high - nothing.low < 1e-9
    fewer = measurements.estimate(trials[1:], "miou")
    assert fewer is not None
    difference = measurements.difference(first, fewer)
    assert difference.seeds == (1, 2)
    assert difference.mean == pytest.approx(0)


def test_a_class_that_is_never_predicted_has_precision_zero() -> None:
    from camsweep.reports.counted import precision, recall

    counts = np.array([[90, 5, 5], [0, 0, 10], [8, 2, 2], [0, 0, 0]])
    assert float(precision(counts)) == pytest.approx((0 + 0.8) / 2)
    assert float(recall(counts)) == pytest.approx((0 + 0.8) / 2)
    invented = np.array([[90, 5, 5], [0, 4, 0]])
    assert float(precision(invented)) == 0.0
    assert np.isnan(recall(invented))
