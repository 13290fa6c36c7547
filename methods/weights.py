"""Pretrained weights from a file, which never runs code: safetensors or a plain state dict."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from camsweep.methods.backbones import build_backbone
from camsweep.shards.errors import InputError


def file_sha256(path: Path) -> str:
    """SHA-256 of a weights file, 64 hexadecimal digits: what its trials' ids depend on.

    Raises:
        InputError: the file can't be read.
    """
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"--weights {path}: {error.strerror}; name a readable file") from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict of a `.safetensors` file or of a torch checkpoint.

    Args:
        path: the file; torch files are read with `weights_only=True`.

    Returns:
        Tensors by name, on the CPU.

    Raises:
        InputError: unreadable, not a state dict, or a pickle that wants to run code.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"--weights {path}: {error.strerror or error}") from error
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise InputError(
            f"--weights {path}: no safetensors file and no torch state dict of plain tensors"
        ) from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise InputError(f"--weights {path}: must hold a state dict (tensors by name)")
    return content


def check_weights(path: Path, backbone: str) -> None:
    """Check before a run that a file holds the weights of a backbone, all of them.

    Raises:
        InputError: as `read_weights`, or a weight is missing, unknown or of another shape.
    """
    build_backbone(backbone).load_pretrained(read_weights(path), f"--weights {path}")
