from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet50

from camsweep.methods.backbones import build_backbone, freeze_batch_norm
from camsweep.shards.errors import InputError


@pytest.fixture(scope="module")
def pretrained() -> dict[str, Tensor]:
    """torchvision's network with random weights and moved statistics."""
    torch.manual_seed(0)
    net = resnet50(weights=None)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.8, 1.2)
    return net.state_dict()


def test_shapes_and_strides() -> None:
    net = build_backbone("resnet50")
    with torch.no_grad():
        found = net(torch.randn(1, 3, 64, 96))
    assert found.last.shape == (1, net.channels, 4, 6)
    assert net.stride == 16
    assert [tuple(p.shape[1:]) for p in found.side] == [(512, 8, 12), (1024, 4, 6)]


def test_it_equals_torchvision_with_its_weights_up_to_layer3(
    pretrained: dict[str, Tensor],
) -> None:
    net = build_backbone("resnet50")
    net.load_pretrained(pretrained)
    reference = resnet50(weights=None)
    reference.load_state_dict(pretrained)
    reference.eval()
    images = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        x = reference.maxpool(reference.relu(reference.bn1(reference.conv1(images))))
        low = reference.layer2(reference.layer1(x))
        high = reference.layer3(low)
        found = net.train()(images)  # batch norm stays in eval even in training mode
        torch.testing.assert_close(found.side[0], low)
        torch.testing.assert_close(found.side[1], high)
        # Stride 2 in the reference only leaves places out of the first block's output.
        reference.layer4[0].conv2.stride = (1, 1)
        reference.layer4[0].downsample[0].stride = (1, 1)
        torch.testing.assert_close(found.last, reference.layer4(high))


def test_only_layer3_and_layer4_convolutions_learn() -> None:
    net = build_backbone("resnet50").train()
    net(torch.randn(1, 3, 32, 32)).last.sum().backward()
    learning = {name for name, p in net.named_parameters() if p.grad is not None}
    assert learning
    assert all(name.startswith(("layer3", "layer4")) for name in learning)
    assert not any("bn" in name or "downsample.1" in name for name in learning)
    assert {n for n, p in net.named_parameters() if p.requires_grad} == learning


def test_weights_that_do_not_fit_are_refused(pretrained: dict[str, Tensor]) -> None:
    net = build_backbone("resnet50")
    lacking = {k: v for k, v in pretrained.items() if k != "layer1.0.conv1.weight"}
    with pytest.raises(InputError, match=r"r50\.pth: lacks layer1\.0\.conv1\.weight"):
        net.load_pretrained(lacking, "r50.pth")
    with pytest.raises(InputError, match=r"unknown blocks\.0\.weight"):
        net.load_pretrained({**pretrained, "blocks.0.weight": torch.ones(1)}, "r50.pth")
    wrong = {**pretrained, "conv1.weight": torch.zeros(64, 3, 3, 3)}
    with pytest.raises(
        InputError, match=r"conv1\.weight is \[64, 3, 3, 3\], it must be \[64, 3, 7"
    ):
        net.load_pretrained(wrong, "r50.pth")
    # Old files have no num_batches_tracked.
    old = {k: v for k, v in pretrained.items() if not k.endswith("num_batches_tracked")}
    net.load_pretrained(old, "r50.pth")


def test_unknown_backbones_are_refused() -> None:
    with pytest.raises(InputError, match="there is no 'resnet5'; did you mean 'resnet50'"):
        build_backbone("resnet5")


def test_freezing_covers_every_batch_norm() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    freeze_batch_norm(net)
    assert not net[1].training
    assert [p.requires_grad for p in net.parameters()] == [True, True, False, False]
