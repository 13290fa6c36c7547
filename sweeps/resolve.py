"""From a cell's settings to its configuration: method defaults < profile < sweep < `--set`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from camsweep.methods.base import load_method, method_names
from camsweep.methods.config import TrialConfig
from camsweep.shards.errors import InputError
from camsweep.shards.validation import first_problem
from camsweep.sweeps.profile import Profile
from camsweep.sweeps.rules import broken_rule
from camsweep.sweeps.spec import Overrides, Sweep

#: Networks that later stages train, beside the method's own.
ROLES = ("affinity", "segment")


def refuse_swept(sweep: Sweep, overrides: Mapping[str, Any]) -> None:
    """A setting that the sweep varies can't be set: its rows would carry labels that lie.

    Raises:
        InputError: one is.
    """
    for name in sorted(sweep.varied() & set(overrides)):
        raise InputError(
            f"--set {name}: {sweep.path} varies it; leave it out, or write a sweep file of your own"
        )


def resolve_plain(
    path: str, cell: Overrides, profile: Profile, weights: Mapping[str, str]
) -> TrialConfig | None:
    """The cell without `--set`; None where it is not valid without."""
    try:
        return resolve(path, cell, profile, {}, weights)
    except InputError:
        return None


def changed(
    config: TrialConfig, plain: TrialConfig | None, overrides: Mapping[str, Any]
) -> Overrides:
    """The settings of `--set` that change a cell's active configuration."""
    after, before = config.active(), plain.active() if plain else {}
    return {k: after[k] for k in overrides if k in after and before.get(k) != after[k]}


def all_settings() -> set[str]:
    """Names of the settings of all methods."""
    return {field for name in method_names() for field in load_method(name).config.model_fields}


def resolve(
    path: str,
    cell: Overrides,
    profile: Profile,
    overrides: Mapping[str, Any],
    weights: Mapping[str, str],
) -> TrialConfig:
    """One cell's configuration, for seed 0: method defaults < profile < sweep < `--set`.

    Raises:
        InputError: an unknown setting or a value out of range; names the file and the key.
    """
    model, settings, chosen = _gather(path, cell, profile, overrides)
    name = settings["method"]
    if "method" in overrides:
        path = f"--set method={name}: {path}"
    try:
        config = model.model_validate(settings)
    except ValidationError as error:
        loc = error.errors()[0]["loc"]
        where = _origin(str(loc[0]) if loc else "", cell, chosen, path, profile)
        raise InputError(f"{where}: {first_problem(error, model)}") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    wanted = cell.get("map", "final")
    if wanted != "final" and wanted not in config.map_names():
        made = ", ".join(config.map_names())
        raise InputError(f"{path}: map: {name} makes no '{wanted}' map here, but {made}")
    # Which file it is follows from the backbone, which the method's recipe may have chosen.
    found = {"weights_sha256": weights_for(config, weights)}
    found |= {f"{role}_weights_sha256": weights_for(config, weights, role) for role in ROLES}
    return config.model_copy(update=found)


def weights_for(config: TrialConfig, weights: Mapping[str, str], role: str = "") -> str | None:
    """The entry that a trial's network starts from, or None.

    Args:
        config: the trial's settings.
        weights: by the backbone's name, or by the role; "" stands for the method's own backbone.
        role: one of `ROLES`, or "" for the method's own network.
    """
    if not role:
        return weights.get(config.backbone, weights.get(""))
    network = getattr(config, f"{role}_network")
    rest = weights.get("") if network == config.backbone else None
    return weights.get(role, weights.get(network, rest))


def excluding_rule(
    path: str, cell: Overrides, profile: Profile, overrides: Mapping[str, Any]
) -> tuple[str, str] | None:
    """The method, and its rule that a row of a design breaks; None where it breaks none.

    Raises:
        InputError: there is no such method.
    """
    model, settings, _ = _gather(path, cell, profile, overrides)
    rule = broken_rule(model, settings)
    return None if rule is None else (str(settings["method"]), rule)


def settings_of(path: str, cell: Overrides, overrides: Mapping[str, Any]) -> set[str]:
    """Names of the settings of a cell's method.

    Raises:
        InputError: there is no such method.
    """
    return set(_method(path, cell, overrides).model_fields)


def _method(path: str, cell: Overrides, overrides: Mapping[str, Any]) -> type[TrialConfig]:
    try:
        return load_method(str(overrides.get("method", cell["method"]))).config
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _gather(
    path: str, cell: Overrides, profile: Profile, overrides: Mapping[str, Any]
) -> tuple[type[TrialConfig], Overrides, Overrides]:
    """The method's config, all settings from least to most, and those of `--set` that it has."""
    name = overrides.get("method", cell["method"])
    model = _method(path, cell, overrides)
    shared = set(model.model_fields)
    chosen = {key: value for key, value in overrides.items() if key in shared}
    settings = {
        **profile.settings,
        **profile.methods.get(str(name), {}),
        **cell,
        **chosen,
        "method": name,
        "seed": 0,
    }
    return model, settings, chosen


def _origin(
    key: str, cell: Overrides, chosen: Mapping[str, Any], path: str, profile: Profile
) -> str:
    """Where a wrong setting was written; an empty key is a clash between several."""
    if key in chosen or (not key and chosen):
        return "--set"
    if key in cell or not key:
        return path
    return f"sweeps/profiles/{profile.name}.yaml" if profile.name else path
