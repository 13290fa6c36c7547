"""What a weight file holds beside what is needed, and the same file under our names."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save

from camsweep.methods.backbones import BACKBONES
from camsweep.methods.base import method_names
from camsweep.methods.pretrained.known import Known
from camsweep.methods.pretrained.match import (
    Match,
    backbone_of,
    build_empty,
    class_count,
    compare,
    expected_network,
    refuse,
)
from camsweep.methods.pretrained.read import NOTE
from camsweep.methods.weights import examine_weights, file_sha256
from camsweep.shards.errors import InputError, nearest


@dataclass(frozen=True)
class Examined:
    """A weight file and how it fits.

    Attributes:
        known: its tensors and what they are.
        target: what it was compared with, in words.
        match: the comparison.
        aside: tensors of the file that were not compared: heads, beside a backbone.
    """

    known: Known
    target: str
    match: Match
    aside: tuple[str, ...] = ()


def examine(path: Path, target: str | None = None, classes: int | None = None) -> Examined:
    """Compare a weight file with a backbone or a method's network.

    Args:
        path: the file.
        target: a backbone or a method; None takes what the file itself is of. Of a backbone's file
            only the method's backbone is compared.
        classes: classes of the data, background included; None takes the file's own number.

    Raises:
        InputError: not a weight file that is known, another backbone than ``target``, or no such
            target.
    """
    source = str(path)
    known = examine_weights(path, source)
    kind = known.kind
    if target in BACKBONES and target != kind.backbone:
        raise InputError(f"{source}: holds {kind.title}; --for {target} needs weights of {target}")
    if target is not None and target not in (*BACKBONES, *method_names()):
        known_targets = [*BACKBONES, *method_names()]
        raise InputError(f"--for: there is no '{target}'{nearest(target, known_targets)}")
    method = target if target not in BACKBONES else None
    if target is None:
        method = kind.method or known.origin.get("method")
    aside: tuple[str, ...] = ()
    if kind.whole and method is not None:
        count = classes or class_count(known, method)
        net = expected_network(method, kind.backbone, count)
        words = f"{method} on {kind.backbone}, {count} classes"
    else:
        if method is not None:  # says whether the method takes this backbone
            expected_network(method, kind.backbone, classes or 2)
        if kind.whole:
            aside = tuple(k for k in known.state if not k.startswith("backbone."))
        known, net = backbone_of(known), build_empty(kind.backbone)
        words = f"backbone {kind.backbone}" + (f" of {method}" if method else "")
    return Examined(known, words, compare(known.state, net.state_dict()), aside)


def convert(path: Path, out: Path, force: bool = False) -> Known:
    """Write a weight file's tensors under our names, all of them, as safetensors.

    A classifier beside a backbone (ImageNet's) and second names of the same tensor are left out.
    The new file notes what it was made of (``Known.origin``) and appears whole or not at all.

    Args:
        path: any weight file that is known.
        out: the new file, ``*.safetensors``.
        force: replace a file that is there.

    Raises:
        InputError: as ``examine``; a tensor is missing, unknown or of another shape; ``out`` is
            there, or is no ``.safetensors``.
    """
    if out.suffix != ".safetensors":
        raise InputError(f"{out}: the new file's name must end with .safetensors")
    if out.exists() and not force:
        raise InputError(f"{out}: is there; --force replaces it")
    if not out.parent.is_dir():
        raise InputError(f"{out.parent}: no such folder; make it first")
    known = examine_weights(path, str(path))
    kind, origin = known.kind, known.origin
    method = kind.method or origin.get("method", "")
    if kind.whole and method:
        refuse(expected_network(method, kind.backbone, class_count(known, method)), known)
    else:
        refuse(build_empty(kind.backbone), backbone_of(known))
    note = {
        "title": known.title,
        "source": origin.get("source", path.name),
        "source_sha256": origin.get("source_sha256", file_sha256(path)),
        **({"method": method} if method else {}),
        **({"prcm_layout": known.prcm_layout} if known.prcm_layout else {}),
    }
    # Copies, because safetensors refuses tensors that share memory.
    tensors = {k: v.clone(memory_format=torch.contiguous_format) for k, v in known.state.items()}
    partial = out.with_name(f".{out.name}.partial-{os.getpid()}")
    try:
        # By our own hand, so that the file has the rights that the umask gives.
        partial.write_bytes(save(tensors, {NOTE: json.dumps(note, sort_keys=True)}))
        partial.replace(out)
    except OSError as error:
        raise InputError(f"{out}: can't be written ({error.strerror})") from error
    finally:
        partial.unlink(missing_ok=True)
    return known
