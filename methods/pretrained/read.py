"""Tensors from a weight file, which never runs code: safetensors, torch or MXNet."""

from __future__ import annotations

import json
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from camsweep.methods.pretrained.mxnet import is_params, read_params
from camsweep.shards.errors import InputError

# The one key of the metadata of converted files: with several, safetensors writes them in any
# order, and the file's SHA-256, which trial ids depend on, would not be reproducible.
NOTE = "camsweep"
# Tensors that are no weights: batch norm's counters, and the places of pairs that IRN's code keeps.
WHOLE_NUMBERS = re.compile(
    r"(.*\.)?(num_batches_tracked|path_indices_?\d+|disp_target|ind_from|ind_to)"
)
ZIP, PICKLE = b"PK\x03\x04", b"\x80"


def read_weights(path: Path, source: str = "") -> dict[str, Tensor]:
    """The tensors of a weight file under the names it gives them.

    Args:
        path: a `.safetensors` file, a torch checkpoint (a state dict, alone or under
            ``state_dict``; read with `weights_only=True`) or an MXNet `.params` file. Other
            suffixes are told by their content.
        source: how error lines call the file; by default ``--weights PATH``.

    Returns:
        Tensors by name, on the CPU, at least one; a ``module.`` that all names begin with is cut
        off. All are finite floating-point numbers, but for ``WHOLE_NUMBERS``.

    Raises:
        InputError: unreadable, truncated, not a state dict, empty, a pickle that wants to run code,
            or a tensor of other numbers.
    """
    source = source or f"--weights {path}"
    content = _read(path, source)
    if not content:
        raise InputError(f"{source}: holds no tensor")
    for name, value in content.items():
        flaw = None if WHOLE_NUMBERS.fullmatch(name) else _flaw(value)
        if flaw is not None:
            raise InputError(f"{source}: {name} {flaw}")
    if all(key.startswith("module.") for key in content):
        content = {key.removeprefix("module."): value for key, value in content.items()}
    return content


def _read(path: Path, source: str) -> dict[str, Tensor]:
    try:
        with path.open("rb") as handle:
            head = handle.read(8)
        if is_params(head):
            return read_params(path, source)
        if path.suffix == ".safetensors":
            return load_file(path)
    except OSError as error:
        raise InputError(f"{source}: {error.strerror or error}") from error
    except SafetensorError as error:
        raise InputError(f"{source}: no whole safetensors file ({_first_line(error)})") from error
    content = _load_torch(path, head, source)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()
    ):
        raise InputError(f"{source}: must hold a state dict (tensors by name)")
    return dict(content)


def _flaw(value: Tensor) -> str | None:
    """What makes a tensor unfit as a weight, or None."""
    if value.layout != torch.strided or value.is_nested or value.is_meta:
        return "is no plain dense tensor; give one of numbers"
    if not value.is_floating_point():
        kind = str(value.dtype).removeprefix("torch.")
        return f"holds {kind} numbers; weights must be floating-point"
    # Copied where torch has no test of its own for so few bits.
    numbers = value.float() if value.itemsize == 1 else value
    if not numbers.isfinite().all():
        return "holds NaN or infinite numbers; weights must be finite"
    return None


def read_origin(path: Path) -> dict[str, str]:
    """What `camsweep weights convert` noted in a safetensors file; empty for any other file."""
    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, "pt") as handle:
            note = json.loads((handle.metadata() or {}).get(NOTE, "{}"))
    except (OSError, SafetensorError, ValueError):
        return {}
    return {str(k): str(v) for k, v in note.items()} if isinstance(note, dict) else {}


def _load_torch(path: Path, head: bytes, source: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles; what is wrong is said below
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files fail in many ways, all of them the file's fault
        raise InputError(f"{source}: {_torch_problem(head, error)}") from error


def _torch_problem(head: bytes, error: Exception) -> str:
    """Why torch refused a file, in one line."""
    if isinstance(error, pickle.UnpicklingError):
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        if found is not None:
            return f"a pickle that wants to run code ({found[1]}); save plain tensors only"
        if head.startswith(PICKLE):
            return "a pickle that wants to run code or is no torch state dict; save plain tensors"
    if head.startswith((ZIP, PICKLE)):
        return "a truncated or damaged torch file; give the whole file"
    return "no safetensors, torch or MXNet file of plain tensors"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
