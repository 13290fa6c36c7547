"""The leaderboard as numbers, for CSV, JSON and notebooks."""

from __future__ import annotations

import math
from typing import Any

from camsweep.reports.board.entry import Leaderboard
from camsweep.reports.measure import Estimate

RANKED = (
    "rank", "variant", "metric", "mean", "low", "high", "tied", "background_iou", "foreground_iou",
    "seeds", "train_seconds", "images_per_second", "peak_memory_bytes", "parameters", "labels",
    "no_skill_floor", "repeated_trials", "repeats_differing", "repeat_spread", "profile", "data",
    "data_digest",
)  # fmt: skip


def _numbers(estimate: Estimate | None, prefix: str = "") -> dict[str, Any]:
    """Mean and interval in percent, unrounded; None where there is none."""
    values = (estimate.mean, estimate.low, estimate.high) if estimate else (math.nan,) * 3
    return {
        prefix + name: None if math.isnan(value) else 100 * value
        for name, value in zip(("mean", "low", "high"), values, strict=True)
    }


def board_records(board: Leaderboard) -> list[dict[str, Any]]:
    """One record an entry of the leaderboard; numbers in percent, seconds, bytes."""

    def finite(value: float) -> float | None:
        return None if math.isnan(value) else value

    return [
        {
            "rank": e.rank,
            "variant": e.name,
            "metric": board.metric,
            **_numbers(e.estimate),
            "tied": list(e.tied),
            "background_iou": 100 * e.background.mean if e.background else None,
            "foreground_iou": 100 * e.foreground.mean if e.foreground else None,
            "seeds": len(e.trials),
            "train_seconds": finite(e.train_seconds),
            "images_per_second": finite(e.images_per_second),
            "peak_memory_bytes": finite(e.peak_memory),
            "parameters": finite(e.parameters),
            "labels": list(e.labels),
            "no_skill_floor": finite(100 * board.floor),
            "repeated_trials": e.repeated.trials if e.repeated else 0,
            "repeats_differing": e.repeated.differing if e.repeated else 0,
            "repeat_spread": 100 * e.repeated.spread if e.repeated else None,
            "profile": board.selection.profile,
            "data": board.selection.data_name,
            "data_digest": board.selection.data_digest,
        }
        for e in board.entries
    ]
