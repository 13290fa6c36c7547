"""Content ids: the SHA-256 of everything that can change a stage's outcome.

Two rows of two tables that need the same training share its id, hence its weights; a new
inference scale or background threshold changes only the ids behind it (design section 4,
docs/decisions/0002-identity.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from camsweep.methods import pretrain
from camsweep.methods.base import load_method
from camsweep.methods.config import TrialConfig
from camsweep.shards.manifest import canonical_json

#: The whole chain, in order. A trial without pseudo masks or segmentation has not all of it.
STAGES = ("pretrain", "train", "localize", "affinity", "refine", "segment", "evaluate")

#: Raised when a change of our code changes what a stage computes from the same settings.
RECIPES = {
    "pretrain": pretrain.RECIPE,
    "train": 1,
    "localize": 1,
    "affinity": 1,
    "refine": 1,
    "segment": 1,
    "evaluate": 1,
}


def content_id(value: Any) -> str:
    """SHA-256 of the canonical JSON, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def recipe_text(config: TrialConfig) -> str:
    """The recipe versions behind a trial: `pretrain 1, train 1, …, cpn 1`."""
    versions: dict[str, int] = {s: RECIPES[s] for s in config.chain()}
    versions |= {config.method: load_method(config.method).recipe}
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def stage_ids(config: TrialConfig, data_digest: str, threads: int = 1) -> dict[str, str]:
    """The id of every stage that a trial has; the trial's own id is that of `evaluate`.

    Args:
        config: the trial. Settings that can't change the outcome under the other values
            (`config.inactive()`) are left out.
        data_digest: of the manifest. Pretraining does not see the data set.
        threads: CPU threads a trial computes with; their number decides how sums are rounded.
    """
    chain = config.chain()
    settings: dict[str, dict[str, Any]] = {stage: {} for stage in chain}
    stage_of = config.stages_now()
    for name, value in config.active().items():
        settings[stage_of[name]][name] = value
    settings["train"]["threads"] = threads
    recipe = load_method(config.method).recipe
    ids: dict[str, str] = {}
    for stage in chain:
        content: Mapping[str, Any] = {
            "stage": stage,
            "recipe": RECIPES[stage],
            "settings": settings[stage],
            "before": list(ids.values()),
            "data": None if stage == "pretrain" else data_digest,
            "method_recipe": None if stage == "pretrain" else recipe,
        }
        ids[stage] = content_id(content)
    return ids
