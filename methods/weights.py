"""Pretrained weights from a file into a network: a backbone's, or a whole method's.

The files are read by ``pretrained.read`` and recognised by ``pretrained.names``; here they are
compared with a trial's settings and loaded into a network, every tensor or none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from camsweep.methods.config import TrialConfig
from camsweep.methods.pretrained.known import Known
from camsweep.methods.pretrained.match import build_empty, empty_network, refuse
from camsweep.methods.pretrained.names import recognise
from camsweep.methods.pretrained.read import read_origin, read_weights
from camsweep.shards import digests
from camsweep.shards.errors import InputError

__all__ = [
    "Known",
    "check_known",
    "examine_weights",
    "file_sha256",
    "load_into",
    "read_weights",
]

Extent = Literal["backbone", "network"]


def file_sha256(path: Path) -> str:
    """SHA-256 of a weights file, 64 hexadecimal digits: what its trials' ids depend on.

    Raises:
        InputError: the file can't be read.
    """
    try:
        return digests.file_sha256(path)
    except OSError as error:
        raise InputError(f"--weights {path}: {error.strerror}; name a readable file") from error


def examine_weights(path: Path, source: str) -> Known:
    """Read a weight file and tell what it is.

    Args:
        path: the file.
        source: how error lines call it, here and in ``check_known``.

    Raises:
        InputError: as ``read_weights``; of no known network.
    """
    known = recognise(read_weights(path, source), source)
    return replace(known, origin=read_origin(path))


def check_known(known: Known, config: TrialConfig, classes: int) -> Extent:
    """Check before a run that a file holds what a trial needs, all of it.

    Needs no memory for the trial's network: names and shapes are compared.

    Args:
        known: the file, by ``examine_weights``.
        config: the trial's settings.
        classes: the data's classes, background included.

    Returns:
        What the trial takes from the file: its backbone's weights, or those of the whole network.

    Raises:
        InputError: another backbone, method, head or class count, a tensor is missing, unknown or
            of another shape, or CPN's released network under another ``prcm_layout`` than its own.
    """
    if not known.kind.whole:
        refuse(build_empty(config.backbone), known)
        return "backbone"
    refuse(empty_network(config, classes), known)
    # All shapes fit in either layout; only the maps would be wrong.
    needed = known.prcm_layout
    if getattr(config, "prcm", False) and needed not in (
        None,
        getattr(config, "prcm_layout", None),
    ):
        raise InputError(
            f"{known.source}: {known.title}, was trained with prcm_layout: {needed}; "
            f"--set prcm_layout={needed}"
        )
    return "network"


def load_into(net: nn.Module, state: Mapping[str, Tensor], source: str = "weights") -> Extent:
    """Load a file's weights where they belong: into the backbone or the whole network.

    Args:
        net: a method's network, with the attribute ``backbone``.
        state: tensors by any of the known names.
        source: the file, for the error line.

    Returns:
        What was loaded.

    Raises:
        InputError: of no known network, another backbone or class count, or a tensor is missing,
            unknown or of another shape. The network is then unchanged.
    """
    known = recognise(state, source)
    part: Any = net if known.kind.whole else net.backbone
    refuse(part, known)
    # Counters of batch norm, which frozen statistics never use, stay as they are.
    own = part.state_dict()
    part.load_state_dict({k: known.state.get(k, own[k]) for k in own})
    return "network" if known.kind.whole else "backbone"
