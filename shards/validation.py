"""What pydantic found wrong, as the one line a person can act on."""

from __future__ import annotations

from pydantic import BaseModel, ValidationError

from camsweep.shards.errors import nearest


def first_problem(error: ValidationError, model: type[BaseModel]) -> str:
    """The first problem of a validation as `key: what would be right`.

    Args:
        error: what pydantic raised.
        model: the model that raised it; its fields are the right names.
    """
    problem = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown setting{nearest(str(problem['loc'][-1]), model.model_fields)}"
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    message = message[:1].lower() + message[1:]
    if problem["type"] not in ("missing", "value_error", "too_short", "too_long"):
        message += f", not {problem['input']!r}"
    info = model.model_fields.get(str(problem["loc"][0])) if problem["loc"] else None
    if info is not None and info.description:
        message += f" ({info.description})"
    return f"{key}: {message}" if key else message
