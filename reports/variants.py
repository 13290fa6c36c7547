"""The variants of many trials: all settings but the seed as canonical JSON, quickly."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from camsweep.reports.rows import Columns

#: How a variant is written.
CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def _as_json(value: Any) -> str:
    """A config's value as `CANONICAL` writes it."""
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return repr(value)
    return CANONICAL.encode(value)


def variants(columns: Columns, methods: Sequence[str], recipes: Sequence[str]) -> list[str]:
    """`load.variant_key` of each row, its parts made once for each value of a column."""
    names = [n for n in columns.names("config.") if n != "config.seed"]
    parts = []
    for name in sorted(names):
        key = CANONICAL.encode(name.removeprefix("config."))
        # By identity: equal values are mostly one object (`rows.values`), and 1 is not 1.0 here.
        texts: dict[int, str] = {id(None): ""}
        lists: dict[str, str] = {}
        column = columns[name]
        for one, value in zip(map(id, column), column, strict=True):
            if one in texts:
                continue
            if isinstance(value, list):
                told = repr(value)
                if told not in lists:
                    lists[told] = f"{key}:{CANONICAL.encode(value)}"
                texts[one] = lists[told]
            else:
                texts[one] = f"{key}:{_as_json(value)}"
        parts.append([texts[one] for one in map(id, column)])
    configs = [",".join(filter(None, row)) for row in zip(*parts, strict=True)]
    heads = {value: CANONICAL.encode(value) for value in {*methods, *recipes}}
    return [
        f'{{"config":{{{config}}},"method":{heads[method]},"recipe":{heads[recipe]}}}'
        for config, method, recipe in zip(
            configs or [""] * len(methods), methods, recipes, strict=True
        )
    ]
