"""Released checkpoints of AffinityNet and IRN are told apart from the others, and load whole."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from refine_world import config_of
from safetensors.torch import save_file
from torch import Tensor

from camsweep.methods.backbones import build_backbone, without_storage
from camsweep.methods.base import make_config
from camsweep.methods.pretrained.convert import convert, examine
from camsweep.methods.pretrained.match import refuse
from camsweep.methods.pretrained.names import backbone_shapes, recognise
from camsweep.methods.refine.affinity import AffinityNet
from camsweep.methods.refine.learning import settings_of, task_of
from camsweep.methods.training import build_net
from camsweep.methods.weights import check_known, examine_weights, load_into
from camsweep.shards.errors import InputError

AFFINITY_HEADS = {
    "f8_3.weight": (64, 512, 1, 1),
    "f8_4.weight": (128, 1024, 1, 1),
    "f8_5.weight": (256, 4096, 1, 1),
    "f9.weight": (448, 448, 1, 1),
}


def affinity_state() -> dict[str, Tensor]:
    shapes = backbone_shapes("resnet38") | AFFINITY_HEADS
    return {name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}


@cache
def irn_net() -> Any:
    config = config_of(refine="irn", affinity_backbone="resnet50")
    return build_net(task_of(config), settings_of(config), 21, None)


def irn_state() -> dict[str, Tensor]:
    """By the released names, with what the released training class keeps beside the weights."""
    own: dict[str, Tensor] = irn_net().state_dict()
    state = {k.replace("backbone.", "resnet50.", 1): 0.5 * v for k, v in own.items()}
    state["mean_shift.running_mean"] = torch.tensor([0.25, -3.0])
    return state | {
        "backbone.0.0.weight": state["resnet50.conv1.weight"],
        "stage1.0.weight": state["resnet50.conv1.weight"],
        "edge_layers.0.0.weight": state["fc_edge1.0.weight"],
        "dp_layers.6.4.running_mean": state["mean_shift.running_mean"],
        "fc_dp7.4.running_mean": state["mean_shift.running_mean"],
        "path_indices0": torch.zeros(3, 2, dtype=torch.int64),
        "disp_target": torch.zeros(1, 2, 3, 1),
    }


def test_affinitynet_is_told_from_seam() -> None:
    known = recognise(affinity_state(), "aff.pth")
    assert (known.kind.name, known.kind.backbone, known.kind.whole) == (
        "affinity",
        "resnet38",
        True,
    )
    assert known.title == "AffinityNet (released code), ResNet-38"
    with without_storage():
        net = AffinityNet(build_backbone("resnet38"))
    refuse(net, known)
    assert known.named("backbone.b4.conv_branch2a.weight") == "b4.conv_branch2a.weight"
    lacking = {k: v for k, v in affinity_state().items() if k != "b4.conv_branch2a.weight"}
    with pytest.raises(InputError, match=r"lacks b4\.conv_branch2a\.weight; it holds AffinityNet"):
        refuse(net, recognise(lacking, "aff.pth"))
    vgg = {"features.0.weight": torch.zeros(64, 3, 3, 3), "f8_5.weight": torch.zeros(1)}
    with pytest.raises(InputError, match="no known network"):
        recognise(vgg, "vgg.pth")


def test_irn_loads_whole_by_its_own_names() -> None:
    state = irn_state()
    known = recognise(state, "irn.pth")
    assert (known.kind.name, known.kind.backbone, known.kind.method) == ("irn", "resnet50", None)
    assert known.title == "IRN (released code), ResNet-50"
    assert known.aliases == 5
    net: Any = build_net(
        task_of(config_of(refine="irn")),
        settings_of(config_of(refine="irn", affinity_backbone="resnet50", seed=7)),
        21,
        None,
    )
    assert load_into(net, state, "irn.pth") == "network"
    assert net.mean_shift.running_mean.tolist() == [0.25, -3.0]
    assert torch.equal(net.fc_edge6.weight, state["fc_edge6.weight"])
    assert torch.equal(net.backbone.conv1.weight, state["resnet50.conv1.weight"])
    wrong = {**state, "fc_dp7.4.running_mean": torch.ones(2)}
    with pytest.raises(InputError, match=r"fc_dp7\.4\.running_mean must be a second name"):
        recognise(wrong, "irn.pth")


def test_methods_refuse_them_and_take_no_part() -> None:
    for state, backbone, title in (
        (affinity_state(), "resnet38", "AffinityNet"),
        (irn_state(), "resnet50", "IRN"),
    ):
        config = make_config({"method": "cam", "backbone": backbone, "pretrain": "weights"})
        with pytest.raises(InputError, match=rf"^f: (lacks|has the unknown) .*holds {title} \(rel"):
            check_known(recognise(state, "f"), config, 21)


def test_weights_are_examined_and_converted(tmp_path: Path) -> None:
    path, out = tmp_path / "irn.safetensors", tmp_path / "ours.safetensors"
    kept = {k: v.clone() for k, v in irn_state().items() if k != "path_indices0"}
    save_file(kept, path)
    found = examine(path)
    assert found.target == "backbone resnet50"
    assert found.match.fits
    assert "fc_edge6.weight" in found.aside
    assert convert(path, out).title == "IRN (released code), ResNet-50"
    again = examine_weights(out, "ours")
    assert again.title == "IRN (released code), ResNet-50"
    refuse(irn_net(), again)
