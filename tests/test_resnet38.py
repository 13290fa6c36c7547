from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_data import Golden

from camsweep.methods.backbones import Backbone, build_backbone
from camsweep.methods.backbones.resnet38 import Bottleneck
from camsweep.methods.weights import load_into


@pytest.fixture(scope="module")
def net() -> Backbone:
    torch.manual_seed(0)
    return build_backbone("resnet38").eval()


def test_shapes_and_size_of_random_features(net: Backbone) -> None:
    with torch.no_grad():
        found = net(torch.randn(1, 3, 33, 48))
    shapes = [tuple(level.shape[1:]) for level in found.levels]
    # conv3 has stride 4, the others 8; odd sizes round up.
    assert shapes == [(256, 9, 12), (512, 5, 6), (1024, 5, 6), (4096, 5, 6)]
    assert all(level.min() >= 0 for level in found.levels)
    assert 0.05 < found.last.std() < 20


def test_what_is_frozen(net: Backbone) -> None:
    learning = {name for name, p in net.named_parameters() if p.requires_grad}
    assert len(learning) == 35  # as counted in the released CPN
    assert all(".conv_branch" in name for name in learning)
    assert not any(name.startswith("b2") for name in learning)
    images = torch.randn(1, 3, 16, 16, requires_grad=True)
    net(images).last.sum().backward()
    assert {name for name, p in net.named_parameters() if p.grad is not None} == learning
    net.zero_grad(set_to_none=True)


def test_dropout_of_whole_channels_in_training_only(net: Backbone) -> None:
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        still = net(images)
        torch.manual_seed(3)
        moved = net.train()(images)
        torch.manual_seed(3)
        again = net.advance(images)
        net.eval()
        assert torch.equal(net.advance(images), still.last)
    assert torch.equal(moved.last, again)  # the same draws
    for index in range(3):  # conv3, conv4 and conv5 lie before all dropouts
        assert torch.equal(moved.levels[index], still.levels[index])
    share = (moved.last.amax((0, 2, 3)) == 0).float().mean()
    quiet = (still.last.amax((0, 2, 3)) == 0).float().mean()
    assert 0.45 < (share - quiet) / (1 - quiet) < 0.55


def test_both_dropouts_of_a_bottleneck() -> None:
    block = Bottleneck(8, 16, 1.0).eval()
    x = torch.randn(1, 8, 4, 4)
    shortcut = block.conv_branch1(block.rectified(x))
    assert not torch.equal(block(x), shortcut)
    block.conv_branch2b1.weight.data.zero_()
    block.bn_branch2b2.bias.data.fill_(1.0)  # what the second dropout alone can silence
    assert not torch.equal(block(x), shortcut)
    block.train()
    torch.testing.assert_close(block(x), block.conv_branch1(block.rectified(x)))


def test_features_of_the_released_network(shared: Path, net: Backbone) -> None:
    golden = Golden(shared / "golden" / "seam.seed0.npz")
    state = {k: v for k, v in golden.state().items() if not k.startswith("f")}
    assert load_into(torch.nn.ModuleDict({"backbone": net}), state) == "backbone"
    second = np.random.RandomState(golden.seed + 101).standard_normal((2, 3, 72, 101))
    pairs = ((golden.tensor("in/image"), "out"), (torch.from_numpy(second).float(), "out/image2"))
    for images, prefix in pairs:
        with torch.no_grad():
            found = net(images)
        for name, level in zip(("conv3", "conv4", "conv5", "conv6"), found.levels, strict=True):
            key = f"{prefix}/{name}"
            assert tuple(level.shape) == tuple(golden.array(f"{key}#shape"))
            values = level.numpy().reshape(-1)[golden.array(f"{key}#idx")]
            wanted = golden.array(f"{key}#val")
            assert np.abs(values - wanted).max() <= 1e-5 * np.abs(wanted).max()
    frozen = {n for n, p in net.named_parameters() if not p.requires_grad}
    assert frozen == set(json.loads(str(golden.array("params_without_grad"))))
