"""Short readable names for method variants, from what sets them apart."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from camsweep.reports.known import method_defaults, method_title

# Told by the patches part of the name, or by the method's own title.
_TOLD = frozenset({"method", "seed", "patches", "s_n", "grid_sizes"})
# Stages that a trial may go on to: a row without the setting has none of them.
_NONE = {"refine": "none", "segment": "none"}
# Settings whose default follows the patches: the default says nothing new.
_USUAL = {("lam", "grid"): "cells", ("lam", "superpixel"): "pixels"}


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


def same_as(value: Any) -> str:
    """Text that two values share if and only if JSON makes no difference between them."""
    return repr(list(value) if isinstance(value, tuple) else value)


def _left_out(configs: Iterable[Mapping[str, Any]], defaults: Mapping[str, Any]) -> dict[str, str]:
    """The value of each varying setting that names do not tell, "" where all are told.

    That is the method's own value where some variant has it, whatever most of them do: SIPE stays
    SIPE beside any number of its ablations. Else it is the value that most variants have.
    """
    found = {}
    for field, values in _values(configs).items():
        if len(values) > 1:
            own = same_as(defaults.get(field))
            found[field] = own if own in values else _most(values)
    return found


def _values(configs: Iterable[Mapping[str, Any]]) -> dict[str, Counter[str]]:
    """How often each setting that varies has each of its values."""
    alike: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for config in configs:
        alike.setdefault(tuple(config), []).append(config)
    columns: dict[str, list[Any]] = {}
    for fields, some in alike.items():
        # Configs with the same fields are turned at once, of thousands of variants.
        turned = zip(*(config.values() for config in some), strict=True)
        for field, values in zip(fields, turned, strict=True):
            columns.setdefault(field, []).extend(values)
    found: dict[str, Counter[str]] = {}
    for field, column in columns.items():
        # Most settings are one object in all rows, others few.
        number = Counter(map(id, column))
        if field in _TOLD or len(number) == 1:
            continue
        found[field] = Counter()
        for one, value in dict(zip(map(id, column), column, strict=True)).items():
            found[field][same_as(value)] += number[one]
    return found


def _part(field: str, value: Any) -> str:
    if isinstance(value, bool):
        return field if value else f"no {field}"
    return f"{field}={_plain(value)}"


def _most(seen: Counter[str]) -> str:
    """The value that more than half have, or for switches as many as half are on; else none."""
    if set(seen) == {"True", "False"}:
        return "True" if seen["True"] >= seen["False"] else "False"
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
    families: dict[str, list[Mapping[str, Any]]] = {}
    if any(stage in config for _, config in variants.values() for stage in _NONE):
        variants = {key: (m, {**_NONE, **config}) for key, (m, config) in variants.items()}
    for method, config in variants.values():
        families.setdefault(method, []).append(config)
    # Counted once a method: thousands of search trials are named in no time.
    left_out = {m: _left_out(configs, method_defaults(m)) for m, configs in families.items()}
    for stage, none in _NONE.items():
        # They differ between methods, too: masks of one CAM by CRF, of another by IRN.
        if len({config.get(stage) for _, config in variants.values()}) > 1:
            for told in left_out.values():
                told[stage] = same_as(none)
    names = {}
    for key, (method, config) in variants.items():
        parts = [method_title(method), *_patches(config)]
        told = left_out[method]
        for field in [field for field in config if field in told]:
            value = config[field]
            usual = _USUAL.get((field, str(config.get("patches")))) == value
            if not usual and same_as(value) != told[field]:
                parts.append(_part(field, value))
        names[key] = ", ".join(part for part in parts if part)
    names = _told_apart(names, overrides or {})
    names = _told_apart(names, recipes or {})
    twice = {name for name, number in Counter(names.values()).items() if number > 1}
    for key, name in names.items():
        if name in twice:
            names[key] = f"{name} ({hashlib.sha256(key.encode()).hexdigest()[:6]})"
    return names
