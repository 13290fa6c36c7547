from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from camsweep.methods.metrics import ThresholdCounts, iou, miou, threshold_values
from camsweep.shards.errors import InputError

CLASSES = 4
THRESHOLDS = [0.0, 0.25, 0.5, 0.75]
# A coarse range, so that values equal to a threshold and to each other are common.
VALUES = arrays.arrays(
    np.float32, (CLASSES - 1, 3, 4), elements=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.6, 0.75, 1.0])
)
MASKS = arrays.arrays(np.uint8, (3, 4), elements=st.sampled_from([0, 1, 2, 3, 255]))


def naive(maps: Any, mask: Any, classes: int, thresholds: Any) -> Any:
    """One threshold and one class at a time, as the released evaluations do it."""
    counts = np.zeros((len(thresholds), classes, 3), np.int64)
    for t, threshold in enumerate(thresholds):
        stack = np.concatenate([np.full((1, *mask.shape), threshold, np.float32), maps])
        predicted = stack.argmax(0)
        for c in range(classes):
            valid = mask != 255
            counts[t, c, 0] = ((predicted == c) & (mask == c) & valid).sum()
            counts[t, c, 1] = ((predicted == c) & (mask != c) & valid).sum()
            counts[t, c, 2] = ((predicted != c) & (mask == c) & valid).sum()
    return counts


@settings(max_examples=150, deadline=None)
@given(maps=VALUES, mask=MASKS)
def test_one_pass_equals_the_loop_over_thresholds_and_classes(maps: Any, mask: Any) -> None:
    counter = ThresholdCounts(CLASSES, THRESHOLDS)
    found = counter.add(torch.from_numpy(maps), mask)
    np.testing.assert_array_equal(found, naive(maps, mask, CLASSES, THRESHOLDS))
    counter.add(maps, mask)
    np.testing.assert_array_equal(counter.total, 2 * found)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), classes=st.integers(2, 6))
def test_random_maps_and_a_fine_sweep(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    maps = rng.random((classes - 1, 7, 9), np.float32)
    mask = rng.choice([*range(classes), 255], (7, 9)).astype(np.uint8)
    thresholds = threshold_values(0.0, 0.99, 0.01)
    found = ThresholdCounts(classes, thresholds).add(maps, mask)
    np.testing.assert_array_equal(found, naive(maps, mask, classes, thresholds))


def test_ties_go_to_background_and_to_the_lower_class() -> None:
    maps = np.full((2, 1, 1), 0.5, np.float32)
    mask = np.ones((1, 1), np.uint8)
    counts = ThresholdCounts(3, [0.49, 0.5]).add(maps, mask)
    assert counts[0].tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert counts[1].tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 0]]


def test_all_pixels_ignored_counts_nothing() -> None:
    counts = ThresholdCounts(3, [0.1]).add(np.ones((2, 2, 2), np.float32), np.full((2, 2), 255))
    assert counts.sum() == 0
    assert miou(counts[0]) == 0


def test_wrong_shapes_classes_and_thresholds_are_refused() -> None:
    counter = ThresholdCounts(3, [0.1])
    with pytest.raises(InputError, match="do not fit a mask"):
        counter.add(np.ones((2, 2, 2), np.float32), np.zeros((2, 3), np.uint8))
    with pytest.raises(InputError, match="mask has class 3, the last one is 2"):
        counter.add(np.ones((2, 1, 1), np.float32), np.full((1, 1), 3, np.uint8))
    with pytest.raises(ValueError, match="ascend"):
        ThresholdCounts(3, [0.2, 0.1])


def test_miou_leaves_out_classes_that_never_occur() -> None:
    counts = np.array([[8, 2, 0], [0, 0, 0], [1, 0, 3]])
    np.testing.assert_allclose(iou(counts), [0.8, np.nan, 0.25])
    assert miou(counts) == pytest.approx((0.8 + 0.25) / 2)
    np.testing.assert_allclose(miou(np.stack([counts, counts * 3])), [0.525, 0.525])


def test_threshold_values_include_both_ends() -> None:
    values = threshold_values(0.0, 0.99, 0.01)
    assert len(values) == 100
    assert values[0] == 0
    assert values[-1] == np.float32(0.99)
    assert values[29] == np.float32(0.29)


def images(golden: Any) -> Any:
    for number in range(20):
        part = f"in/{number:02d}"
        mask = golden[f"{part}/gt"]
        maps = np.zeros((20, *mask.shape), np.float32)
        maps[golden[f"{part}/keys"]] = golden[f"{part}/cam"].astype(np.float32)
        yield maps, mask


def test_the_released_evaluations(shared: Path) -> None:
    golden = np.load(shared / "golden" / "evaluation.seed0.npz")
    counter = ThresholdCounts(21, golden["cpn/thresholds"])
    for maps, mask in images(golden):
        counter.add(maps, mask)
    found = iou(counter.total)
    # CPN's code counts a class that never occurs as 0, SIPE's leaves it out (our mean does too).
    np.testing.assert_allclose(100 * np.nan_to_num(found), golden["cpn/class_iou"], atol=1e-8)
    np.testing.assert_allclose(
        100 * np.nan_to_num(found).mean(-1), golden["cpn/miou"], rtol=0, atol=1e-8
    )
    best = int(miou(counter.total).argmax())
    assert best == int(golden["cpn/best_index"])
    np.testing.assert_allclose(found[best], golden["sipe/class_iou"], atol=1e-10)
    assert miou(counter.total)[best] == pytest.approx(float(golden["sipe/miou"]), abs=1e-12)


def test_maps_of_some_classes_count_as_all_maps_with_the_others_zero() -> None:
    rng = np.random.default_rng(3)
    thresholds = threshold_values(0.0, 0.9, 0.1)
    for present in ([2, 5, 6], [1], []):
        dense = np.zeros((6, 9, 11), np.float32)
        part = rng.random((len(present), 9, 11), dtype=np.float32).round(1)
        dense[[c - 1 for c in present]] = part
        mask = rng.choice(np.array([0, 1, 2, 5, 255], np.uint8), (9, 11))
        whole = ThresholdCounts(7, thresholds).add(dense, mask)
        np.testing.assert_array_equal(
            ThresholdCounts(7, thresholds).add(part, mask, present), whole
        )
