"""Pretrained weights from a file into a network: a backbone's, or a whole method's.

The files are read by ``pretrained.read`` and recognised by ``pretrained.names``; here they are
loaded into a network, every tensor or none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from camsweep.methods.base import TrialConfig
from camsweep.methods.pretrained.match import backbone_of, build_empty, empty_network, refuse
from camsweep.methods.pretrained.names import Kind, Known, recognise
from camsweep.methods.pretrained.read import read_weights
from camsweep.shards.errors import InputError

__all__ = ["check_weights", "file_sha256", "identify", "load_into", "load_official", "read_weights"]


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


def identify(state: Mapping[str, Tensor], source: str = "weights") -> Kind:
    """What a state dict is.

    Raises:
        InputError: weights of no known network.
    """
    return recognise(state, source).kind


def load_official(net: nn.Module, state: Mapping[str, Tensor], source: str = "weights") -> Kind:
    """Load a whole network, every tensor, under its released names or ours.

    Args:
        net: a method's network, ``backbone`` and heads.
        state: tensors of a SEAM, CPN, SIPE, IRN CAM, AffinityNet CAM or camsweep network.
        source: the file, for the error line.

    Returns:
        What the state is.

    Raises:
        InputError: a backbone alone, of another network or of another class count, or a tensor is
            missing, unknown or of another shape. The network is then unchanged.
    """
    known = recognise(state, source)
    if not known.kind.whole:
        raise InputError(f"{source}: holds {known.kind.title}; a method's whole network is needed")
    _load(net, known, source)
    return known.kind


def load_into(
    net: nn.Module, state: Mapping[str, Tensor], source: str = "weights"
) -> Literal["backbone", "network"]:
    """Load a file's weights where they belong: into the backbone or the whole network.

    Args:
        net: a method's network, with the attribute ``backbone``.
        state: tensors by any of the known names.
        source: the file, for the error line.

    Returns:
        What was loaded.

    Raises:
        InputError: as ``load_official``; a backbone's weights are of another backbone.
    """
    known = recognise(state, source)
    if known.kind.whole:
        _load(net, known, source)
        return "network"
    part: Any = net.backbone
    _load(part, known, source)
    return "backbone"


def check_weights(
    path: Path, backbone: str, config: TrialConfig | None = None, classes: int = 0
) -> Literal["backbone", "network"]:
    """Check before a run that a file holds what the run needs, all of it.

    Args:
        path: the weight file.
        backbone: the run's backbone.
        config: a trial's settings, to compare a whole network with the trial's; without them only
            its backbone is compared.
        classes: the data's classes, background included; needed with ``config``.

    Returns:
        What the file holds.

    Raises:
        InputError: as ``read_weights`` and ``load_into``.
    """
    source = f"--weights {path}"
    known = recognise(read_weights(path, source), source)
    if known.kind.whole and config is not None:
        refuse(empty_network(config, classes), known, source)
    else:
        refuse(build_empty(backbone), backbone_of(known), source)
    return "network" if known.kind.whole else "backbone"


def _load(net: nn.Module, known: Known, source: str) -> None:
    refuse(net, known, source)
    # Counters of batch norm, which frozen statistics never use, stay as they are.
    own = net.state_dict()
    net.load_state_dict({k: known.state.get(k, own[k]) for k in own})
