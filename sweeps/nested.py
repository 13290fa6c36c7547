"""Sections of a sweep file as models of their own, so that their errors name their own keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ValidationError

from camsweep.shards.errors import nearest
from camsweep.shards.validation import first_problem


def section(model: type[BaseModel]) -> Callable[[Any], Any]:
    """A check that makes a mapping into `model`, for `pydantic.BeforeValidator`.

    Left to pydantic, an unknown key of a section would be answered with the nearest key of the
    whole file.
    """

    def check(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        # First, as the key that is missing may be the one that is misspelt.
        for key in value:
            if key not in model.model_fields:
                raise ValueError(f"{key}: unknown setting{nearest(str(key), model.model_fields)}")
        try:
            return model.model_validate(value)
        except ValidationError as error:
            raise ValueError(first_problem(error, model)) from None

    return check
