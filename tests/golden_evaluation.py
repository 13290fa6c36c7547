"""Replay of ``evaluation.seedS``: threshold curves of CPN's evaluation, IoU of SIPE's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from golden_data import Array, Golden

from camsweep.methods.metrics import ThresholdCounts, iou, miou
from camsweep.shards.sources.voc import VOC_CLASSES as CLASSES


def replay(golden: Golden) -> Iterator[tuple[str, Any]]:
    thresholds = golden.array("cpn/thresholds")
    counts = count(golden, thresholds)
    class_iou = 100 * np.nan_to_num(iou(counts))  # released: + 1e-10, so an absent class has 0
    mean = class_iou.mean(1)
    best = int(mean.argmax())
    yield "cpn/thresholds", np.round(0.2 + 0.01 * np.arange(40), 2)
    yield "cpn/class_iou", class_iou
    yield "cpn/miou", mean
    yield "cpn/best_index", best
    yield "cpn/best_class_iou", class_iou[best]
    yield "cpn/categories", list(CLASSES)
    yield "cpn/png_miou", mean[best]

    counts = count(golden, thresholds[best : best + 1])[0]
    yield "sipe/class_iou", iou(counts)
    yield "sipe/miou", miou(counts)
    tp, fn = (counts[:, i].astype(np.float64) for i in (0, 2))
    seen = (tp + fn) > 0
    yield "sipe/iouutils_miou", iou(counts)[seen].mean()  # of classes that the truth has
    yield "sipe/iouutils_pixacc", tp.sum() / (tp + fn).sum()
    yield "sipe/iouutils_meanacc", (tp[seen] / (tp + fn)[seen]).mean()
    share = (tp + fn) / (tp + fn).sum()
    yield "sipe/iouutils_fwiou", (share[seen] * iou(counts)[seen]).sum()


def count(golden: Golden, thresholds: Array) -> Array:
    """Integer counts [T, 21, 3] over all images of the file."""
    total = ThresholdCounts(len(CLASSES), thresholds)
    for name in sorted({k.split("/")[1] for k in golden.keys if k.startswith("in/")} - {"seed"}):
        truth = golden.array(f"in/{name}/gt")
        maps = np.zeros((len(CLASSES) - 1, *truth.shape), np.float32)
        maps[golden.array(f"in/{name}/keys")] = golden.array(f"in/{name}/cam")
        total.add(maps, truth)
    return total.total
