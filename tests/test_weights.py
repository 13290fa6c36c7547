"""Recognising and loading weights."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from golden_data import Golden
from torch import Tensor, nn

from camsweep.methods import compose
from camsweep.methods.backbones import build_backbone
from camsweep.methods.base import load_method, make_config
from camsweep.methods.pretrained.names import backbone_shapes, recognise
from camsweep.methods.weights import load_into
from camsweep.shards.errors import InputError

R38_HEADS = {
    "fc8.weight": (21, 4096, 1, 1),
    "f8_3.weight": (64, 512, 1, 1),
    "f8_4.weight": (128, 1024, 1, 1),
    "f9.weight": (192, 195, 1, 1),
    "f10.weight": (192, 195, 1, 1),
}
SIPE_HEADS = {
    "side1.weight": (128, 256, 1, 1),
    "side2.weight": (128, 512, 1, 1),
    "side3.weight": (256, 1024, 1, 1),
    "side4.weight": (256, 2048, 1, 1),
    "classifier.weight": (20, 2048, 1, 1),
}


def stamp(name: str) -> float:
    """A number that only tensors of this official name hold."""
    return 1 + zlib.crc32(name.encode()) % 2**20 / 2**21


def stamped(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Tensors that cost no memory, each filled with its name's stamp."""
    return {name: torch.tensor(stamp(name)).expand(shape) for name, shape in shapes.items()}


def released(kind: str) -> dict[str, Tensor]:
    """A state dict of a released network, by its official names."""
    if kind in ("sipe", "irn"):
        shapes = {f"resnet50.{k}": v for k, v in backbone_shapes("resnet50").items()}
        heads = SIPE_HEADS if kind == "sipe" else {"classifier.weight": (20, 2048, 1, 1)}
        return stamped(shapes | heads)
    names = {"psa": ["fc8"], "seam": ["fc8", "f8_3", "f8_4", "f9"]}
    chosen = {f"{n}.weight" for n in names[kind]} if kind in names else set(R38_HEADS)
    heads = {name: shape for name, shape in R38_HEADS.items() if name in chosen}
    if kind == "psa":
        heads = {"fc8.weight": (20, 4096, 1, 1)}
    return stamped(backbone_shapes("resnet38") | heads)


def network(method: str, classes: int = 21, **settings: Any) -> nn.Module:
    config: Any = make_config({"method": method, "pretrain": "none", **settings})
    return compose.build(load_method(method), config, classes)


def official_name(ours: str, kind: str) -> str:
    """The table of the renaming once more, the other way round."""
    table = {
        "classifier.weight": "classifier.weight" if kind in ("sipe", "irn") else "fc8.weight",
        "correlation.low.weight": "f8_3.weight",
        "correlation.high.weight": "f8_4.weight",
        "correlation.g.weight": "f9.weight",
        "correlation.phi.weight": "f10.weight",
        **{f"hierarchy.side.{i}.weight": f"side{i + 1}.weight" for i in range(4)},
    }
    if ours in table:
        return table[ours]
    return ours.replace("backbone.", "resnet50." if kind in ("sipe", "irn") else "", 1)


@pytest.mark.parametrize(
    ("kind", "method", "settings"),
    [
        ("cpn", "cpn", {}),
        ("seam", "seam", {}),
        ("sipe", "sipe", {}),
        ("psa", "cam", {"backbone": "resnet38"}),
        ("irn", "cam", {"backbone": "resnet50"}),
    ],
)
def test_released_networks_load_whole_by_their_own_names(
    kind: str, method: str, settings: dict[str, Any]
) -> None:
    net, state = network(method, **settings), released(kind)
    assert recognise(state, "file.pth").kind.method == method
    assert load_into(net, state, "file.pth") == "network"
    own = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert {official_name(name, kind) for name in own} == set(state)
    for name, value in own.items():
        assert value.flatten()[0] == value.flatten()[-1] == stamp(official_name(name, kind)), name


def test_nothing_is_dropped_or_loaded_by_half() -> None:
    net, state = network("cam", backbone="resnet50"), released("irn")
    before = {k: v.clone() for k, v in net.state_dict().items()}
    lacking = {k: v for k, v in state.items() if k != "resnet50.layer3.0.conv1.weight"}
    for wrong, message in (
        (lacking, r"f\.pth: lacks resnet50\.layer3\.0\.conv1\.weight; it holds IRN's CAM network"),
        ({**state, "extra.weight": torch.ones(2)}, "unknown extra.weight"),
        (
            {**state, "resnet50.bn1.bias": torch.ones(2)},
            r"resnet50\.bn1\.bias is \[2\], it must be",
        ),
        (released("sipe"), r"unknown side1\.weight \(and 3 more\); it holds SIPE's network"),
        (released("psa"), r"holds AffinityNet's CAM .*; the backbone here is resnet50"),
        (
            {k: v for k, v in state.items() if k.startswith("resnet50.layer1")},
            r"f\.pth: no known network",
        ),
        ({}, r"f\.pth: no known network \(the first of 0 tensors is none\)"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            load_into(net, wrong, "f.pth")
        assert "\n" not in str(caught.value)
        assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_another_class_count_is_said() -> None:
    net = network("cam", classes=4, backbone="resnet50")
    message = "class count differs: classifier.weight has 20 outputs, 3 are needed"
    with pytest.raises(InputError, match=message):
        load_into(net, released("irn"), "f.pth")


def test_a_backbone_alone_goes_into_the_backbone() -> None:
    net = network("cam", backbone="resnet50")
    classifier: Any = net.get_submodule("classifier")
    before = classifier.weight.clone()
    theirs = torchvision.models.resnet50(weights=None).state_dict()
    assert load_into(net, theirs, "r50.pth") == "backbone"
    assert torch.equal(
        net.state_dict()["backbone.layer4.2.conv3.weight"], theirs["layer4.2.conv3.weight"]
    )
    assert torch.equal(classifier.weight, before)
    assert load_into(net, net.state_dict(), "own.safetensors") == "network"
    with pytest.raises(
        InputError, match=r"r38: holds ResNet-38, ImageNet.*backbone here is resnet50"
    ):
        load_into(net, stamped(backbone_shapes("resnet38")), "r38")


def test_what_state_dicts_are() -> None:
    fc = {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}
    for kind, state in {
        "torchvision-resnet50": stamped(backbone_shapes("resnet50")) | fc,
        "torchvision-resnet101": stamped(backbone_shapes("resnet101")) | fc,
        "resnet38": stamped(backbone_shapes("resnet38")) | fc,
        "small": build_backbone("small").state_dict(),
        "camsweep": network("cam", backbone="small").state_dict(),
        "seam": released("seam"),
        "cpn": released("cpn"),
        "psa-cam": released("psa"),
        "sipe": released("sipe"),
        "irn-cam": released("irn"),
    }.items():
        assert recognise(state, "f").kind.name == kind
    for name in ("resnet18", "resnet34", "wide_resnet50_2", "vgg16"):
        with pytest.raises(InputError, match="no known network"):
            recognise(getattr(torchvision.models, name)(weights=None).state_dict(), "f")


def test_second_names_must_hold_the_same_tensor() -> None:
    state = released("sipe")
    aliases = {
        "stage1.0.0.conv1.weight": state["resnet50.layer1.0.conv1.weight"],
        "backbone.0.0.weight": state["resnet50.conv1.weight"].clone(),
        "newly_added.0.weight": state["classifier.weight"],
    }
    known = recognise({**state, **aliases}, "f")
    assert known.aliases == 3
    assert set(known.official.values()) == set(state)
    # 1e-3 off: neither the same memory nor the same numbers.
    moved = {**aliases, "backbone.0.0.weight": state["resnet50.conv1.weight"] + 1e-3}
    with pytest.raises(InputError, match=r"backbone\.0\.0\.weight must be a second name"):
        recognise({**state, **moved}, "f")


@pytest.mark.parametrize("outputs", [1000, 20])
def test_only_1000_outputs_are_imagenets_classifier(outputs: int) -> None:
    fc = {"fc.weight": torch.zeros(outputs, 2048), "fc.bias": torch.zeros(outputs)}
    known = recognise(stamped(backbone_shapes("resnet50")) | fc, "f")
    assert known.left_out == {"fc.weight": (outputs, 2048), "fc.bias": (outputs,)}
    said = "ImageNet's classifier" if outputs == 1000 else "a classifier of 20 outputs"
    assert known.left_out_title == said


def test_golden_weights_must_be_a_whole_network(tmp_path: Path) -> None:
    net = network("cam", backbone="small", classes=3)
    path = tmp_path / "cam.seed0.npz"

    def golden(state: dict[str, Tensor]) -> Golden:
        keys = [(name, list(value.shape)) for name, value in state.items()]
        np.savez(path, state_dict_keys=json.dumps(keys), gain="{}")
        return Golden(path)

    assert set(golden(net.state_dict()).load(net)) == {name for name, _ in net.named_parameters()}
    backbone: Any = net.backbone
    with pytest.raises(InputError, match="a backbone's, not a whole network's"):
        golden(backbone.state_dict()).load(net)
