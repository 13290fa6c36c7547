"""An artefact's numbers as records."""

from __future__ import annotations

import math
from typing import Any

from camsweep.reports.filled import Filled
from camsweep.reports.measure import Estimate
from camsweep.reports.spec import paper


def numbers(estimate: Estimate | None, prefix: str = "") -> dict[str, Any]:
    """Mean and interval in percent, unrounded; None where there is none."""
    found = {"mean": math.nan, "low": math.nan, "high": math.nan}
    if estimate is not None:
        found = {"mean": estimate.mean, "low": estimate.low, "high": estimate.high}
    return {prefix + key: None if math.isnan(v) else 100 * v for key, v in found.items()}


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
            **numbers(value.estimate),
            "published": value.published,
            "difference": value.difference,
            "verdict": value.verdict.word if value.verdict else None,
            "why": value.verdict.why or None if value.verdict else None,
            **numbers(value.effect, "effect_"),
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
