"""Short readable names for method variants, from what sets them apart."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from camsweep.methods.base import load_method
from camsweep.shards.errors import InputError

# Told by the patches part of the name, or by the method's own title.
_TOLD = frozenset({"method", "seed", "patches", "s_n", "grid_sizes"})
# Settings whose default follows the patches: the default says nothing new.
_USUAL = {("lam", "grid"): "cells", ("lam", "superpixel"): "pixels"}


def method_title(method: str) -> str:
    """How tables call a method; its own name where this version does not know it."""
    try:
        return load_method(method).title
    except InputError:
        return method


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "{" + ", ".join(_plain(v) for v in value) + "}"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def _patches(config: Mapping[str, Any]) -> list[str]:
    kind = config.get("patches")
    if kind == "superpixel" and "s_n" in config:
        return [f"superpixel S_N={config['s_n']}"]
    if kind == "grid" and "grid_sizes" in config:
        return [f"grid K={_plain(config['grid_sizes'])}"]
    return [str(kind)] if kind else []


def _values(configs: Sequence[Mapping[str, Any]], field: str) -> Counter[str]:
    return Counter(json.dumps(c[field], sort_keys=True) for c in configs if field in c)


def _default(method: str, field: str) -> Any:
    """The method's own value of a setting; None where this version does not know it."""
    try:
        declared = load_method(method).config.model_fields.get(field)
    except InputError:
        return None
    return None if declared is None else declared.default


def _part(field: str, value: Any, seen: Counter[str], default: Any) -> str:
    """How a setting is told, or "" where it says nothing.

    A switch is told where it is not as the method has it, whatever most variants do: SIPE stays
    SIPE beside any number of its ablations. Of a method that is not known the rarer state is told.
    Other settings are told where they are neither the method's own nor most variants' value.
    """
    if isinstance(value, bool):
        on, off = seen["true"], seen["false"]
        rare = (on < off) if value else (off <= on)
        told = value != default if isinstance(default, bool) else rare
        return (field if value else f"no {field}") if told else ""
    usual = 2 * seen[json.dumps(value, sort_keys=True)] > seen.total()
    return "" if usual or value == default else f"{field}={_plain(value)}"


def _told_apart(names: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """Names with ``more`` behind those that are equal but differ in it."""
    same: dict[str, list[str]] = {}
    for key, name in names.items():
        same.setdefault(name, []).append(key)
    found = dict(names)
    for keys in same.values():
        if len({more.get(key, "") for key in keys}) > 1:
            found |= {k: f"{names[k]} ({more[k]})" for k in keys if more.get(k)}
    return found


def variant_names(
    variants: Mapping[str, tuple[str, Mapping[str, Any]]],
    overrides: Mapping[str, str] | None = None,
    recipes: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Name each variant by its method, its patches and the settings that differ.

    Args:
        variants: ``variant key -> (method, config without inactive settings)``.
        overrides: ``variant key -> --set key=value``, shown only where names would be equal.
        recipes: ``variant key -> recipe``, shown only where names would still be equal.

    Returns:
        ``variant key -> name``, e.g. ``"CPN, superpixel S_N=200, no prcm"``. Switches as the method
        has them, and values that most of its variants share, are left out. No two names are equal.
    """
    names = {}
    for key, (method, config) in variants.items():
        family = [c for m, c in variants.values() if m == method]
        parts = [method_title(method), *_patches(config)]
        for field in config:
            seen = _values(family, field)
            usual = _USUAL.get((field, str(config.get("patches")))) == config[field]
            if field not in _TOLD and len(seen) > 1 and not usual:
                parts.append(_part(field, config[field], seen, _default(method, field)))
        names[key] = ", ".join(part for part in parts if part)
    names = _told_apart(names, overrides or {})
    names = _told_apart(names, recipes or {})
    twice = {name for name, number in Counter(names.values()).items() if number > 1}
    for key, name in names.items():
        if name in twice:
            names[key] = f"{name} ({hashlib.sha256(key.encode()).hexdigest()[:6]})"
    return names
