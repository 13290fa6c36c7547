"""The leaderboard as numbers, for CSV, JSON and notebooks."""

from __future__ import annotations

import json
import math
from typing import Any

from camsweep.reports.board.entry import Entry, Leaderboard
from camsweep.reports.measure import Estimate

RANKED = (
    "rank", "rank_low", "rank_high", "variant", "method", "backbone", "stage", "metric", "mean",
    "low", "high", "images_resampled", "group", "tied", "better_than_next", "background_iou",
    "foreground_iou", "precision", "recall", "iou_small", "iou_medium", "iou_large", "seeds",
    "train_seconds", "images_per_second", "peak_memory_bytes", "parameters", "gpu_hours",
    "cpu_hours", "labels", "settings", "no_skill_floor", "repeated_trials", "repeats_differing",
    "repeat_spread", "profile", "data", "data_digest",
)  # fmt: skip
CLASSES = ("rank", "variant", "class", "name", "iou", "seeds", "profile", "data", "data_digest")


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value


def _percent(value: float) -> float | None:
    return None if math.isnan(value) else 100 * value


def _mean(estimate: Estimate | None) -> float | None:
    return None if estimate is None else _percent(estimate.mean)


def _where(board: Leaderboard) -> dict[str, str]:
    selection = board.selection
    return {
        "profile": selection.profile,
        "data": selection.data_name,
        "data_digest": selection.data_digest,
    }


def _record(board: Leaderboard, e: Entry) -> dict[str, Any]:
    return {
        "rank": e.rank,
        "rank_low": e.rank_low or None,
        "rank_high": e.rank_high or None,
        "variant": e.name,
        "method": e.method,
        "backbone": e.backbone or None,
        "stage": e.stage,
        "metric": board.metric,
        "mean": _percent(e.estimate.mean),
        "low": _percent(e.estimate.low),
        "high": _percent(e.estimate.high),
        "images_resampled": e.estimate.images,
        "group": e.group or None,
        "tied": list(e.tied),
        "better_than_next": _finite(e.better),
        "background_iou": _mean(e.background),
        "foreground_iou": _mean(e.foreground),
        "precision": _mean(e.precision),
        "recall": _mean(e.recall),
        "iou_small": _mean(e.small),
        "iou_medium": _mean(e.medium),
        "iou_large": _mean(e.large),
        "seeds": len(e.trials),
        "train_seconds": _finite(e.train_seconds),
        "images_per_second": _finite(e.images_per_second),
        "peak_memory_bytes": _finite(e.peak_memory),
        "parameters": _finite(e.parameters),
        "gpu_hours": _finite(e.gpu_hours),
        "cpu_hours": _finite(e.cpu_hours),
        "labels": list(e.labels),
        "settings": [f"{name}={json.dumps(value)}" for name, value in e.config.items()],
        "no_skill_floor": _percent(board.floor),
        "repeated_trials": e.repeated.trials if e.repeated else 0,
        "repeats_differing": e.repeated.differing if e.repeated else 0,
        "repeat_spread": 100 * e.repeated.spread if e.repeated else None,
        **_where(board),
    }


def board_records(board: Leaderboard) -> list[dict[str, Any]]:
    """One record an entry; shares in percent, times in seconds or hours, memory in bytes.

    ``better_than_next`` is 0..1. ``images_resampled`` is 0 where the interval is over seeds alone.
    """
    return [_record(board, entry) for entry in board.entries]


def class_records(board: Leaderboard) -> list[dict[str, Any]]:
    """One record an entry and class: IoU in percent, mean over seeds, None where it is absent."""
    return [
        {
            "rank": e.rank,
            "variant": e.name,
            "class": index,
            "name": board.classes[index] if index < len(board.classes) else str(index),
            "iou": _percent(value),
            "seeds": len(e.trials),
            **_where(board),
        }
        for e in board.entries
        for index, value in enumerate(e.class_iou)
    ]
