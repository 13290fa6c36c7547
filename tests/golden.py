"""Replay golden files of the released code: ``python tests/golden.py FILE...``.

The first part of a file's name (``cpn.seed0.npz`` -> ``cpn``) picks the module ``golden_cpn`` with

    def replay(golden: Golden) -> Iterator[tuple[str, Value]]

which recomputes the stored arrays with our code, in any order, and yields the name of each (without
``#val`` and so on) and our value: a tensor, an array, a number, or what a stored JSON text holds
(dicts may hold more keys than stored, and a value that the file does not store is ignored).
``Golden`` gives the inputs, the seed and the weights. Nothing is ever expected by a number
written into a replay, so files of other seeds work too.

It may also have a ``compare(golden, name, value) -> Line``, where other tolerances are stated.

Prints a line an array: name, largest absolute error, largest relative error (to the largest stored
magnitude), PASS or FAIL. An array that is not replayed fails. Exit status 1 if any fails, 2 if a
file cannot be read.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from golden_data import Array, Golden
from torch import Tensor

from camsweep.shards.errors import InputError

Value = Tensor | Array | float | dict[str, Any] | list[Any]

# What a replay starts from; f64/ is the released code in double precision, a reference only.
INPUTS = re.compile(
    r"(in|in_b|aug|f64)/|(state_dict_\w+|gain)$"
    r"|hide/(image|ss_slic_labels|ss_drawn_ids|skimage_version)$"
)
# The files were recorded on two threads. With as many, sums are taken in the same order and most
# arrays agree bit for bit; otherwise rounding alone turns over near ties of classes on some seeds.
THREADS = 2
SAMPLED = ("#shape", "#mean", "#std", "#idx", "#val")
OUTPUTS, LOSSES, NORMS, EXACT = 1e-4, 1e-5, 1e-3, 0.0


class Line(NamedTuple):
    """The comparison of one stored array.

    Attributes:
        name: the array, without ``#val`` and so on.
        absolute: largest absolute error; NaN where there is nothing to compare.
        relative: the same over the largest stored magnitude.
        passed: whether it is within the tolerance.
        note: why there is nothing to compare, else empty.
    """

    name: str
    absolute: float
    relative: float
    passed: bool
    note: str = ""

    def __str__(self) -> str:
        verdict = "PASS" if self.passed else "FAIL"
        note = f"  {self.note}" if self.note else ""
        return f"{self.name:<44} {self.absolute:10.2e} {self.relative:10.2e}  {verdict}{note}"


def wanted_names(golden: Golden) -> list[str]:
    """Names of all arrays that must be replayed, in the file's order."""
    names = {k.split("#")[0] if k.endswith(SAMPLED) else k: None for k in golden.keys}
    return [name for name in names if not INPUTS.match(name)]


def tolerance(name: str, stored: Array) -> float:
    """The relative tolerance of an array."""
    if stored.dtype.kind in "biu" or re.search(r"(^|[/_])(seeds|mask)($|_)", name):
        return EXACT
    if name.startswith("loss"):
        return LOSSES
    if name.startswith("gradnorm"):
        return NORMS
    return OUTPUTS


def errors(ours: Any, stored: Any, scale: float | None = None) -> tuple[float, float]:
    """Largest absolute error, and over ``scale`` (default: the largest stored magnitude).

    NaN equals NaN. Both are infinite where the shapes differ or one side alone is not finite.
    """
    a, b = np.asarray(ours, np.float64), np.asarray(stored, np.float64)
    if a.shape != b.shape or not np.array_equal(np.isnan(a), np.isnan(b)):
        return np.inf, np.inf
    with np.errstate(invalid="ignore"):
        gap = np.where((a == b) | np.isnan(a), 0.0, np.abs(a - b))
    absolute = float(gap.max(initial=0.0))
    if scale is None:
        scale = float(np.nanmax(np.abs(b))) if (~np.isnan(b)).any() else 0.0
    if absolute == 0:
        return 0.0, 0.0
    return absolute, absolute / scale if scale > 0 else np.inf


def _flat(value: Any) -> dict[str, Any]:
    """Leaves of nested dicts and lists by path."""
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, (list, tuple)):
        parts = enumerate(value)  # type: ignore[assignment]
    else:
        return {"": value}
    found = {f"/{k}{path}": leaf for k, v in parts for path, leaf in _flat(v).items()}
    return found | ({"/#": len(value)} if isinstance(value, (list, tuple)) else {})


def compare_json(name: str, ours: Any, stored: Any) -> Line:
    """Compare JSON values: numbers each by their own size, everything else exactly."""
    a, b = _flat(ours), _flat(stored)
    missing = sorted(b.keys() - a.keys())
    if missing:
        return Line(name, np.nan, np.nan, False, f"lacks {missing[0]}")
    limit = NORMS if name.startswith("gradnorm") else EXACT
    worst = (0.0, 0.0)
    for path, value in b.items():
        if isinstance(value, (str, bool)) or value is None:
            if a[path] != value:
                return Line(name, np.nan, np.nan, False, f"{path}: {a[path]} is not {value}")
        else:
            worst = tuple(max(pair) for pair in zip(worst, errors(a[path], value), strict=True))  # type: ignore[assignment]
    return Line(name, *worst, worst[1] <= limit)


def compare(golden: Golden, name: str, ours: Value) -> Line:
    """Compare our value with the stored array ``name``, whole or sampled."""
    if name in golden:
        stored = golden.array(name)
        if stored.dtype.kind == "U":
            return compare_json(name, _sorted(ours), _sorted(_parsed(str(stored))))
        found = errors(_plain(ours), stored)
        return Line(name, *found, found[1] <= tolerance(name, stored))
    shape, index, stored = (golden.array(f"{name}#{part}") for part in ("shape", "idx", "val"))
    array = np.asarray(_plain(ours))
    if array.shape != tuple(shape):
        note = f"shape {list(array.shape)} is not {shape.tolist()}"
        return Line(name, np.nan, np.nan, False, note)
    scale = float(np.abs(stored).max())
    pairs = [(array.reshape(-1)[index], stored)]
    wide = array.astype(np.float64)
    pairs += [
        (wide.mean(), golden.array(f"{name}#mean")),
        (wide.std(), golden.array(f"{name}#std")),
    ]
    worst = np.max([errors(a, b, scale) for a, b in pairs], axis=0)
    return Line(name, float(worst[0]), float(worst[1]), worst[1] <= tolerance(name, stored))


def _plain(value: Any) -> Any:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else value


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _sorted(value: Any) -> Any:
    # Lists of names are sets.
    names = isinstance(value, list) and all(isinstance(v, str) for v in value)
    return sorted(value) if names else value


def check(golden: Golden) -> Iterator[Line]:
    """Replay a file and compare every array; those that are not replayed come last and fail.

    Raises:
        InputError: there is no replay for files of this name.
    """
    known = sorted(p.stem[7:] for p in Path(__file__).parent.glob("golden_*.py"))
    known.remove("data")
    if golden.prefix not in known:
        raise InputError(f"{golden.path}: no replay; names start with one of: {', '.join(known)}")
    left = dict.fromkeys(wanted_names(golden))
    note = "not replayed"
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        module = importlib.import_module(f"golden_{golden.prefix}")
        compared = getattr(module, "compare", compare)
        # On processors without AVX-512 oneDNN may take convolutions by Winograd, whose rounding is
        # ten times that of a plain sum: gradients would miss the released ones by more than their
        # tolerance.
        with torch.backends.mkldnn.flags(enabled=False):
            for name, value in module.replay(golden):
                if name in left:
                    del left[name]
                    yield compared(golden, name, value)
    except Exception as error:  # a replay that breaks off must still name what it left out
        note = f"not replayed: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
    finally:
        torch.set_num_threads(threads)
    for name in left:
        yield Line(name, np.nan, np.nan, False, note)


def main(paths: list[str]) -> int:
    """Check files; returns the exit status."""
    if not paths:
        print("usage: python tests/golden.py FILE...", file=sys.stderr)
        return 2
    failed = 0
    try:
        for path in paths:
            count = bad = 0
            for line in check(Golden(Path(path))):
                print(line, flush=True)
                count, bad = count + 1, bad + (not line.passed)
            print(f"{path}: {count} arrays, {bad} failed")
            failed += bad + (count == 0)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
