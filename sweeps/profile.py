"""Profiles: the data set, backbone, crop, epochs and batch a sweep runs under."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from camsweep.shards.errors import InputError, nearest
from camsweep.sweeps.spec import shipped_folder
from camsweep.sweeps.yamlfile import parse


class Profile(BaseModel):
    """One profile file.

    Attributes:
        title: one line for people and captions.
        data: the name of the data set it is meant for; `embedded` is rendered on first use.
        settings: settings of every method.
        methods: further settings by method.
        threads: CPU threads a trial computes with. Sums are rounded by thread, so this is fixed
            by the profile and results do not depend on how many trials run at a time.
        workers: data-loading threads a trial.
        gpus: GPUs a trial takes where the machine has any.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = ""
    title: str
    data: str
    settings: dict[str, Any]
    methods: dict[str, dict[str, Any]] = {}
    threads: int = Field(default=1, ge=1)
    workers: int = Field(default=0, ge=0)
    gpus: float = Field(default=0, ge=0)


def profile_names() -> list[str]:
    """Names of the shipped profiles."""
    return sorted(p.stem for p in (shipped_folder() / "profiles").glob("*.yaml"))


def load_profile(name: str) -> Profile:
    """A shipped profile by name, or a profile file by path.

    Raises:
        InputError: no such profile, or the file is wrong.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        return parse(path, Profile).model_copy(update={"name": path.stem})
    names = profile_names()
    if name not in names:
        raise InputError(f"--profile: unknown profile '{name}'{nearest(name, names)}")
    path = shipped_folder() / "profiles" / f"{name}.yaml"
    return parse(path, Profile).model_copy(update={"name": name})
