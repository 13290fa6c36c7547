"""Numbers as text, the same in every table, figure and page."""

from __future__ import annotations

import math

from camsweep.reports.measure import Estimate

BLANK = "–"
METRIC_TITLES = {
    "miou": "mIoU",
    "miou_raw": "mIoU, raw map",
    "miou_refined": "mIoU, refined map",
    "miou_is_cam": "mIoU, IS-CAM by a threshold",
    "miou_estimated": "mIoU, estimated labels",
    "miou_maps": "mIoU, maps",
    "miou_pseudo": "mIoU, pseudo masks",
    "miou_segment": "mIoU, segmentation",
    "precision_pseudo": "precision, pseudo masks",
    "recall_pseudo": "recall, pseudo masks",
    "background_iou": "background IoU",
    "foreground_iou": "foreground IoU",
    "precision": "precision",
    "recall": "recall",
    "iou_small": "IoU, small objects",
    "iou_medium": "IoU, medium objects",
    "iou_large": "IoU, large objects",
}


def percent(fraction: float) -> str:
    """``43.2`` of 0.432."""
    return BLANK if math.isnan(fraction) else f"{100 * fraction:.1f}"


def bounds(estimate: Estimate, *, sign: bool = False) -> str:
    """``[41.9, 44.5]`` in percent, or the words for why there is no interval."""
    if math.isnan(estimate.low):
        return "[no interval]"
    form = "+.1f" if sign else ".1f"
    return f"[{100 * estimate.low:{form}}, {100 * estimate.high:{form}}]"


def measured(estimate: Estimate | None) -> str:
    """``43.2 [41.9, 44.5]``."""
    return BLANK if estimate is None else f"{percent(estimate.mean)} {bounds(estimate)}"


def duration(seconds: float) -> str:
    """``48 s``, ``12 min``, ``3.4 h``."""
    if math.isnan(seconds):
        return BLANK
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def scaled(number: float, units: tuple[str, ...] = ("", "k", "M", "G"), base: float = 1000) -> str:
    """A count in its unit: ``120 k``, ``23.5 M``."""
    if math.isnan(number):
        return BLANK
    place = 0
    while abs(number) >= base and place < len(units) - 1:
        number /= base
        place += 1
    return f"{number:.3g} {units[place]}".strip()


def memory(size: float) -> str:
    """Bytes as ``668 MiB``."""
    return scaled(size, ("B", "KiB", "MiB", "GiB", "TiB"), 1024)


def counted(count: int, noun: str) -> str:
    """``1 trial``, ``2 trials``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
