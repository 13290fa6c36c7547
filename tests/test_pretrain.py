from __future__ import annotations

import pytest
import torch

from camsweep.methods.backbones import build_backbone
from camsweep.methods.backbones.small import ConvNorm, SmallNet
from camsweep.methods.pretrain import PretrainLog, pretrain_embedded
from camsweep.methods.weights import load_into
from camsweep.shards.errors import InputError


@pytest.mark.parametrize(("side", "cells"), [(96, 24), (48, 12), (144, 36), (50, 13)])
def test_features_have_the_declared_shapes(side: int, cells: int) -> None:
    net = build_backbone("small")
    features = net(torch.randn(2, 3, side, side))
    assert features.last.shape == (2, net.channels, cells, cells)
    for part, channels in zip(features.side, net.side_channels, strict=True):
        assert part.shape == (2, channels, cells, cells)
    assert -(-side // net.stride) == cells


def test_folded_normalisation_is_normalisation() -> None:
    torch.manual_seed(0)
    layer = ConvNorm(4, 6, 3, stride=2).eval()
    torch.nn.init.uniform_(layer.norm.weight, 0.5, 2)
    torch.nn.init.normal_(layer.norm.bias)
    layer.norm.running_mean.normal_()  # type: ignore[operator, union-attr]
    layer.norm.running_var.uniform_(0.2, 3)  # type: ignore[operator, union-attr]
    x = torch.randn(2, 4, 9, 9)
    folded, plain = layer(x), layer.norm(layer.conv(x))
    torch.testing.assert_close(folded, plain)
    weight = layer.conv.weight
    (one,) = torch.autograd.grad(folded.square().sum(), weight, retain_graph=True)
    (two,) = torch.autograd.grad(plain.square().sum(), weight)
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


def test_statistics_are_frozen_in_trials_and_learn_in_pretraining() -> None:
    x = torch.randn(4, 3, 32, 32)
    for train_norm in (False, True):
        net = SmallNet(train_norm).train()
        before = {k: v.clone() for k, v in net.state_dict().items() if "running_mean" in k}
        net(x)
        moved = any(not torch.equal(net.state_dict()[k], v) for k, v in before.items())
        assert moved == train_norm
        learns = [p.requires_grad for n, p in net.named_parameters() if ".norm." in n]
        assert all(learns) == any(learns) == train_norm


def test_pretraining_is_deterministic_reports_and_fits_the_backbone() -> None:
    logs: list[PretrainLog] = []
    first = pretrain_embedded(0, images=64, epochs=2, on_epoch=logs.append)
    torch.rand(7)  # the global generator must not matter
    again = pretrain_embedded(0, images=64, epochs=2)
    other = pretrain_embedded(1, images=64, epochs=2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert [(log.epoch, log.epochs) for log in logs] == [(1, 2), (2, 2)]
    assert all(log.loss > 0 and 0 <= log.head_accuracy <= 1 for log in logs)
    net = SmallNet()
    assert load_into(torch.nn.ModuleDict({"backbone": net}), first) == "backbone"
    assert all(torch.equal(net.state_dict()[name], value) for name, value in first.items())
    assert all(value.is_contiguous() for value in first.values())


def test_pretraining_learns() -> None:
    logs: list[PretrainLog] = []
    pretrain_embedded(0, images=256, epochs=3, on_epoch=logs.append)
    assert logs[-1].loss < logs[0].loss - 0.2
    assert logs[-1].body_accuracy > 1.3 / 6


def test_pretraining_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    pretrain_embedded(0, images=16, epochs=1)
    assert torch.equal(torch.rand(3), expected)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(InputError, match="pretrain_images"):
        pretrain_embedded(0, images=8, epochs=1)


def test_wrong_weights_are_named() -> None:
    state = dict(SmallNet().state_dict())
    state.pop("stem.conv.weight")
    with pytest.raises(InputError, match=r"stem\.conv\.weight"):
        load_into(torch.nn.ModuleDict({"backbone": SmallNet()}), state)
