"""A planned trial made again from its stored row: for trials that no sweep file lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from camsweep.methods.base import load_method
from camsweep.shards.errors import InputError
from camsweep.sweeps.identity import stage_ids
from camsweep.sweeps.planned import PlannedTrial
from camsweep.sweeps.results import merged_uses


def planned_again(row: Mapping[str, Any]) -> PlannedTrial | None:
    """The trial that a row is of.

    Args:
        row: of the store's trials.

    Returns:
        None where this version of camsweep can't make the same trial: the method, a setting or a
        recipe has changed since.
    """
    settings = {
        key.removeprefix("config."): value
        for key, value in row.items()
        # Null are settings that can't act under the others, hence are in no id.
        if key.startswith("config.") and value is not None
    }
    try:
        model = load_method(row["method"]).config
        known = {key: value for key, value in settings.items() if key in model.model_fields}
        config = model.model_validate({**known, "method": row["method"], "seed": row["seed"]})
        stages = stage_ids(config, row["data_digest"], row["threads"] or 1)
    except (InputError, ValidationError):
        return None
    trial = PlannedTrial(config, stages, tuple(merged_uses(row, ())))
    return trial if trial.id == row["id"] else None
