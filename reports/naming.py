"""Short readable names for method variants, from what sets them apart."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from camsweep.methods.base import load_method, make_config
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


@lru_cache(maxsize=32)
def _defaults(method: str) -> Mapping[str, Any]:
    """What a method sets where nobody says anything; nothing where this version does not know it.

    As a whole config: some defaults follow others.
    """
    try:
        # Without a network that needs weights, which says nothing about the other settings.
        found = make_config({"method": method, "backbone": "small", "pretrain": "none"})
    except InputError:
        return {}
    return found.model_dump(mode="json")


def _part(field: str, value: Any, seen: Counter[str], defaults: Mapping[str, Any]) -> str:
    """How a setting is told, or "" where it is the one that is left out.

    That is the method's own value where some variant has it, whatever most of them do: SIPE stays
    SIPE beside any number of its ablations. Else it is the value that most variants have.
    """
    own = json.dumps(defaults.get(field), sort_keys=True)
    left_out = own if own in seen else _most(seen)
    if json.dumps(value, sort_keys=True) == left_out:
        return ""
    if isinstance(value, bool):
        return field if value else f"no {field}"
    return f"{field}={_plain(value)}"


def _most(seen: Counter[str]) -> str:
    """The value that more than half have, or for switches as many as half are on; else none."""
    if set(seen) == {"true", "false"}:
        return "true" if seen["true"] >= seen["false"] else "false"
    value, count = seen.most_common(1)[0]
    return value if 2 * count > seen.total() else ""


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
        ``variant key -> name``, e.g. ``"CPN, superpixel S_N=200, no prcm"``. Settings as the method
        has them, or else as most of its variants have them, are left out. No two names are equal.
    """
    names = {}
    for key, (method, config) in variants.items():
        family = [c for m, c in variants.values() if m == method]
        parts = [method_title(method), *_patches(config)]
        for field in config:
            seen = _values(family, field)
            usual = _USUAL.get((field, str(config.get("patches")))) == config[field]
            if field not in _TOLD and len(seen) > 1 and not usual:
                parts.append(_part(field, config[field], seen, _defaults(method)))
        names[key] = ", ".join(part for part in parts if part)
    names = _told_apart(names, overrides or {})
    names = _told_apart(names, recipes or {})
    twice = {name for name, number in Counter(names.values()).items() if number > 1}
    for key, name in names.items():
        if name in twice:
            names[key] = f"{name} ({hashlib.sha256(key.encode()).hexdigest()[:6]})"
    return names
