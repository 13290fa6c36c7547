"""Reading a YAML file into a frozen pydantic model, with one clear line when it is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from camsweep.shards.errors import InputError
from camsweep.shards.validation import first_problem

Model = TypeVar("Model", bound=BaseModel)


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
