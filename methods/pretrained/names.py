"""What the tensors of a weight file are, and what they are called here.

Known are the networks of SEAM (YudeWang/SEAM), CPN (Ferenas/CPN), AffinityNet's CAM
(jiwoon-ahn/psa), SIPE (chenqi1126/SIPE) and IRN's CAM (jiwoon-ahn/irn), AffinityNet and IRN
themselves, ImageNet weights of torchvision's ResNet-50 and -101 and of ResNet-38 (the MXNet
original, or converted to the names of the released PyTorch code), and our own networks and
backbones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache

import torch
from torch import Tensor

from camsweep.methods.backbones import BACKBONES, build_backbone, without_storage
from camsweep.methods.pretrained.known import HEADS, Kind, Known
from camsweep.methods.refine import affinity
from camsweep.shards.errors import InputError

Shapes = Mapping[str, tuple[int, ...]]

FULL_CLASSIFIER = ("fc.", "linear1000.")
MXNET_NORM = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_var": "running_var",
}
# Layers that only AffinityNet has, and only IRN.
AFFINITY_SIGN, IRN_SIGN = "f8_5.weight", "fc_edge6.weight"
# SIPE's and IRN's networks register their layers under these names a second time.
ALIAS = re.compile(r"(stage\d+|backbone|newly_added|(edge|dp)_layers|fc_dp7\.4)\.")
# What IRN's training class keeps beside its weights.
INDICES = re.compile(r"path_indices\d+|disp_target|ind_from|ind_to")
# A backbone is recognised when this share of its tensors and the file's agree.
ENOUGH = 0.7


def recognise(state: Mapping[str, Tensor], source: str) -> Known:
    """Tell what a state dict is, and rename its tensors.

    Args:
        state: tensors by the file's names.
        source: the file, for the error line.

    Raises:
        InputError: empty, of no known network, or a second name does not hold the same tensor.
    """
    if any(key.startswith(("arg:", "aux:")) for key in state):
        named = {key: _from_mxnet(key) for key in state}
        style = "mxnet"
    elif any(key.startswith("resnet50.") for key in state):
        state = {key: value for key, value in state.items() if not INDICES.fullmatch(key)}
        aliases = [key for key in state if ALIAS.match(key)]
        first = {key: value for key, value in state.items() if key not in set(aliases)}
        _check_aliases(first, {key: state[key] for key in aliases}, source)
        named = {key: HEADS.get(key, key.replace("resnet50.", "backbone.", 1)) for key in first}
        style = "irn" if IRN_SIGN in state else "resnet50."
    elif any(key.startswith("backbone.") for key in state):
        named, style = {key: key for key in state}, "camsweep"
    elif AFFINITY_SIGN in state:
        named, style = {key: affinity.our_name(key) for key in state}, "affinity"
    elif any(key in state for key in HEADS):
        named, style = {key: HEADS.get(key, f"backbone.{key}") for key in state}, "released"
    else:
        named, style = {key: key for key in state}, "bare"

    renamed = {ours: state[theirs] for theirs, ours in named.items()}
    official = {ours: theirs for theirs, ours in named.items()}
    left_out: dict[str, tuple[int, ...]] = {}
    if style in ("mxnet", "bare"):
        unused = {k: v for k, v in renamed.items() if k.startswith(FULL_CLASSIFIER)}
        left_out = {official[k]: tuple(v.shape) for k, v in unused.items()}
        renamed = {k: v for k, v in renamed.items() if k not in unused}
    parts = {k.removeprefix("backbone."): v for k, v in renamed.items() if k not in HEADS.values()}
    kind = _kind(style, nearest_backbone(parts), renamed.keys())
    if kind is None:
        example = next(iter(state), "none")
        raise InputError(
            f"{source}: no known network (the first of {len(state)} tensors is {example}); "
            "known are SEAM, CPN, SIPE, IRN's and AffinityNet's CAM, IRN, AffinityNet, ResNet-38, "
            "torchvision's ResNet-50 and ResNet-101, and camsweep's own"
        )
    official = {ours: official[ours] for ours in renamed}
    return Known(kind, renamed, official, source, left_out, len(state) - len(named))


def nearest_backbone(state: Mapping[str, Tensor]) -> str | None:
    """The backbone whose tensors are most like these in name and shape, if any is alike enough."""
    given = {(k, tuple(v.shape)) for k, v in state.items() if not k.endswith("num_batches_tracked")}
    shares: dict[str, float] = {}
    for name in BACKBONES:
        own = set(backbone_shapes(name).items())
        shares[name] = len(own & given) / len(own | given)
        if shares[name] == 1:
            return name
    best = max(shares, key=lambda name: shares[name])
    return best if shares[best] >= ENOUGH else None


@cache
def backbone_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Shapes of a backbone's tensors by name, without the counters of batch norm."""
    with without_storage():
        state = build_backbone(name).state_dict()
    return shapes(state)


def shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Shapes by name, without the counters of batch norm, which frozen ones never use."""
    return {k: tuple(v.shape) for k, v in state.items() if not k.endswith("num_batches_tracked")}


def _kind(style: str, backbone: str | None, names: Iterable[str]) -> Kind | None:
    """The kind of file by how its names look, its backbone and its other tensors."""
    if backbone is None:
        return None
    names = set(names)
    heads = names & set(HEADS.values())
    title = {"resnet38": "ResNet-38", "resnet50": "ResNet-50", "resnet101": "ResNet-101"}
    where = title.get(backbone, backbone)
    if style == "camsweep":
        return Kind("camsweep", f"a network of camsweep, {where}", backbone, None, True)
    if style == "irn":
        return Kind("irn", f"IRN (released code), {where}", backbone, None, True)
    if style == "affinity" and backbone == "resnet38":
        return Kind("affinity", f"AffinityNet (released code), {where}", backbone, None, True)
    if style == "resnet50." and "hierarchy.side.0.weight" in heads:
        return Kind("sipe", f"SIPE's network (released code), {where}", backbone, "sipe", True)
    if style == "resnet50.":
        return Kind("irn-cam", f"IRN's CAM network (released code), {where}", backbone, "cam", True)
    if style == "released" and backbone == "resnet38":
        for sign, method, text in (
            ("correlation.phi.weight", "cpn", "CPN's network"),
            ("correlation.g.weight", "seam", "SEAM's network"),
            ("correlation.low.weight", "seam", "SEAM's network"),
            ("classifier.weight", "cam", "AffinityNet's CAM network"),
        ):
            if sign in heads:
                name = "psa-cam" if method == "cam" else method
                return Kind(name, f"{text} (released code), {where}", backbone, method, True)
    if style in ("released", "affinity"):
        return None
    if style == "mxnet":
        return Kind("mxnet-resnet38", f"{where}, ImageNet, MXNet's names", backbone)
    if backbone == "small":
        return Kind("small", "camsweep's small backbone", backbone)
    if backbone == "resnet38":
        return Kind("resnet38", f"{where}, ImageNet, names of the released PyTorch code", backbone)
    return Kind(f"torchvision-{backbone}", f"{where}, torchvision's names", backbone)


def _from_mxnet(key: str) -> str:
    """``aux:bn2b1_branch2a_moving_mean`` -> ``b2_1.bn_branch2a.running_mean``.

    Unknown names stay as they are and are reported as unknown.
    """
    name = key.removeprefix("arg:").removeprefix("aux:")
    norms = "|".join(MXNET_NORM)
    found = re.fullmatch(rf"(res|bn)(\d)(a|b(\d+))_(branch\w+?)_(weight|{norms})", name)
    if found:
        sort, stage, _, index, branch, leaf = found.groups()
        block = f"b{stage}" + (f"_{index}" if index else "")
        layer = "conv" if sort == "res" else "bn"
        return f"{block}.{layer}_{branch}.{MXNET_NORM.get(leaf, leaf)}"
    found = re.fullmatch(rf"(conv1a|bn7|linear1000)_(weight|bias|{norms})", name)
    if found:
        return f"{found[1]}.{MXNET_NORM.get(found[2], found[2])}"
    return key


def _check_aliases(state: Mapping[str, Tensor], aliases: Mapping[str, Tensor], source: str) -> None:
    """Every second name must hold a tensor that is there under its first name too."""
    by_shape: dict[torch.Size, list[Tensor]] = {}
    for value in state.values():
        by_shape.setdefault(value.shape, []).append(value)
    for key, value in aliases.items():
        twins = by_shape.get(value.shape, [])
        same = any(value.data_ptr() == twin.data_ptr() for twin in twins)
        if not same and not any(torch.equal(value, twin) for twin in twins):
            raise InputError(
                f"{source}: {key} must be a second name of a tensor under resnet50., side, "
                "classifier or fc, but holds another one"
            )
