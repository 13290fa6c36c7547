"""An artefact's numbers as records."""

from __future__ import annotations

import math
from typing import Any

from camsweep.reports.filled import Filled
from camsweep.reports.measure import Estimate
from camsweep.reports.spec import paper


def _numbers(estimate: Estimate | None, prefix: str = "") -> dict[str, Any]:
    """Mean and interval in percent, unrounded; nothing where there is none."""
    if estimate is None:
        return {}
    found = {"mean": estimate.mean, "low": estimate.low, "high": estimate.high}
    return {prefix + name: 100 * v for name, v in found.items() if not math.isnan(v)}


def tidy(filled: Filled) -> list[dict[str, Any]]:
    """One record a row and column of an artefact; numbers in percent, unrounded."""
    selection = filled.selection
    return [
        {
            "artefact": filled.spec.id,
            "paper": paper(filled.spec.paper).title,
            "row": line.name,
            "ours": line.ours,
            "facts": [f"{k}: {v}" for k, v in zip(filled.facts, line.facts, strict=True) if v],
            "column": column,
            **_numbers(value.estimate),
            "published": value.published,
            "difference": value.difference,
            "verdict": value.verdict.word if value.verdict else None,
            "why": value.verdict.why or None if value.verdict else None,
            **_numbers(value.effect, "effect_"),
            "seeds": len(value.estimate.seeds) if value.estimate else 0,
            "images": value.estimate.images if value.estimate else 0,
            "profile": selection.profile,
            "data": selection.data_name,
            "data_digest": selection.data_digest,
            "settings": filled.settings,
            "comparable": filled.comparable,
        }
        for line in filled.lines
        for column, value in zip(filled.columns, line.values, strict=True)
    ]


TIDY = (
    "artefact", "paper", "row", "ours", "facts", "column", "mean", "low", "high", "published",
    "difference", "verdict", "why", "effect_mean", "effect_low", "effect_high", "seeds", "images",
    "profile", "data", "data_digest", "settings", "comparable",
)  # fmt: skip
