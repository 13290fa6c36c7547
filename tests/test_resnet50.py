from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from golden_data import Golden
from torch import Tensor, nn

from camsweep.methods.backbones import build_backbone, freeze_affine, freeze_batch_norm
from camsweep.methods.weights import load_into
from camsweep.shards.errors import InputError


def reference(name: str) -> Any:
    """torchvision's network with random weights and moved statistics."""
    torch.manual_seed(0)
    net = getattr(torchvision.models, name)(weights=None)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.8, 1.2)
    return net.eval()


def load(net: nn.Module, state: dict[str, Tensor]) -> None:
    """Load a backbone's weights as a method's network does."""
    assert load_into(nn.ModuleDict({"backbone": net}), state, "r50.pth") == "backbone"


@pytest.fixture(scope="module")
def pretrained() -> dict[str, Tensor]:
    return reference("resnet50").state_dict()


@pytest.mark.parametrize("name", ["resnet50", "resnet101"])
def test_it_equals_torchvision_with_its_weights(name: str) -> None:
    theirs, net = reference(name), build_backbone(name)
    load(net, theirs.state_dict())
    images = torch.randn(2, 3, 48, 64)
    with torch.no_grad():
        found = net.train()(images)  # batch norm stays in eval even in training mode
        # Stride 2 in the reference only leaves places out of the first block's output.
        theirs.layer4[0].conv2.stride = theirs.layer4[0].downsample[0].stride = (1, 1)
        x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(images))))
        for index, level in enumerate(found.levels):
            x = getattr(theirs, f"layer{index + 1}")(x)
            torch.testing.assert_close(level, x)
    assert [level.shape[1] for level in found.levels] == list(net.level_channels)
    assert [tuple(level.shape[2:]) for level in found.levels] == [(12, 16), (6, 8), (3, 4), (3, 4)]
    assert found.side[0] is found.levels[1]
    assert found.side[1] is found.levels[2]


@pytest.mark.parametrize("name", ["resnet50", "resnet101"])
def test_only_layer3_and_layer4_learn_with_their_batch_norm(name: str) -> None:
    net = build_backbone(name).train()
    images = torch.randn(1, 3, 32, 32, requires_grad=True)
    net(images).last.sum().backward()
    learning = {name for name, p in net.named_parameters() if p.grad is not None}
    assert learning == {n for n, _ in net.named_parameters() if n.startswith(("layer3", "layer4"))}
    assert {"layer3.0.bn1.weight", "layer4.0.downsample.1.bias"} <= learning
    before = net.state_dict()["layer3.0.bn1.running_mean"].clone()
    net(images)
    assert torch.equal(before, net.state_dict()["layer3.0.bn1.running_mean"])


def test_random_weights_keep_the_size_of_features() -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        last = build_backbone("resnet50")(torch.randn(2, 3, 64, 64)).last
    assert 0.05 < last.std() < 20


def test_features_of_the_released_network(shared: Path) -> None:
    golden = Golden(shared / "golden" / "sipe.seed0.npz")
    state = {
        key.removeprefix("resnet50."): value
        for key, value in golden.state().items()
        if key.startswith("resnet50.")
    }
    net = build_backbone("resnet50").eval()
    load(net, state)
    images = golden.tensor("in/image")
    with torch.no_grad():
        stem, found = net.advance(images, 0, 1), net(images)
    for index, ours in enumerate((stem, *found.levels)):
        values, key = ours.numpy(), f"out/x{index}"
        if key in golden:
            wanted = golden.array(key)
        else:
            assert values.shape == tuple(golden.array(f"{key}#shape"))
            values, wanted = (
                values.reshape(-1)[golden.array(f"{key}#idx")],
                golden.array(f"{key}#val"),
            )
        assert np.abs(values - wanted).max() <= 1e-5 * np.abs(wanted).max()
    frozen = {f"resnet50.{n}" for n, p in net.named_parameters() if not p.requires_grad}
    assert frozen == set(json.loads(str(golden.array("params_without_grad"))))


def test_weights_that_do_not_fit_are_refused(pretrained: dict[str, Tensor]) -> None:
    net = build_backbone("resnet50")
    lacking = {k: v for k, v in pretrained.items() if k != "layer1.0.conv1.weight"}
    with pytest.raises(InputError, match=r"r50\.pth: lacks layer1\.0\.conv1\.weight"):
        load(net, lacking)
    with pytest.raises(InputError, match=r"unknown blocks\.0\.weight"):
        load(net, {**pretrained, "blocks.0.weight": torch.ones(1)})
    wrong = {**pretrained, "conv1.weight": torch.zeros(64, 3, 3, 3)}
    with pytest.raises(
        InputError, match=r"conv1\.weight is \[64, 3, 3, 3\], it must be \[64, 3, 7"
    ):
        load(net, wrong)
    # Old files have no num_batches_tracked.
    old = {k: v for k, v in pretrained.items() if not k.endswith("num_batches_tracked")}
    load(net, old)
    assert torch.equal(net.state_dict()["conv1.weight"], old["conv1.weight"])


def test_unknown_backbones_are_refused() -> None:
    with pytest.raises(InputError, match="there is no 'resnet5'; did you mean 'resnet50'"):
        build_backbone("resnet5")


def test_freezing_covers_every_batch_norm() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    freeze_batch_norm(net)
    assert not net[1].training
    assert all(p.requires_grad for p in net.parameters())
    freeze_affine(net)
    assert [p.requires_grad for p in net.parameters()] == [True, True, False, False]
