"""Reading a YAML file into a frozen pydantic model, with one clear line when it is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from camsweep.shards.errors import InputError, nearest

Model = TypeVar("Model", bound=BaseModel)


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


def parse(path: Path, model: type[Model]) -> Model:
    """The file as `model`.

    Raises:
        InputError: it can't be read, is no YAML mapping, or has a wrong key or value.
    """
    try:
        content: Any = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; name a readable YAML file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())
        raise InputError(f"{path}: not YAML ({line})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: must be a mapping such as `title: …`")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path}: {first_problem(error, model)}") from error
