"""DeepLab-v1 and -v2: shapes, sizes, what learns and how fast, batch norm, tiny images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from camsweep.methods.backbones import (
    MEAN,
    STD,
    batch_norms,
    build_backbone,
    freeze_batch_norm,
    without_storage,
)
from camsweep.methods.backbones.resnet101 import ResNet101
from camsweep.methods.base import make_config
from camsweep.methods.optimise import make_optimiser
from camsweep.methods.segment import tasks
from camsweep.methods.segment.backbone import dense_backbone
from camsweep.methods.segment.deeplab_v2 import CAFFE_MEAN, to_caffe
from camsweep.methods.segment.losses import map_sizes
from camsweep.methods.segment.networks import Network, build_network
from camsweep.methods.training import build_net
from camsweep.methods.weights import load_into

SMALL: dict[str, Any] = {
    "method": "cam",
    "backbone": "small",
    "pretrain": "none",
    "refine": "crf",
}
NAMES = ["deeplab_v1", "deeplab_v2"]
PUBLISHED = {"deeplab_v1": "resnet38", "deeplab_v2": "resnet101"}


def small(name: str, classes: int = 4) -> Any:
    torch.manual_seed(0)
    return build_network(Network(name, "small", norm_momentum=0.1), classes)  # type: ignore[arg-type]


@contextmanager
def on_meta(name: str) -> Iterator[Any]:
    with without_storage():
        yield build_network(Network(name, PUBLISHED[name]), 21)  # type: ignore[arg-type]


def count(parameters: Any) -> int:
    return sum(p.numel() for p in parameters)


def test_the_published_head_of_v1() -> None:
    with on_meta("deeplab_v1") as net:
        head = {n: p for n, p in net.named_parameters() if not n.startswith("backbone.")}
    learns = {n: p for n, p in head.items() if p.requires_grad}
    assert count(learns.values()) == 4096 * 512 * 9 + 512 * 512 + 512 * 21 + 21
    assert count(head.values()) - count(learns.values()) == 4 * 512
    assert net.conv_fov.dilation == net.conv_fov.padding == (12, 12)
    assert {norm.momentum for norm in batch_norms(net)} == {3e-4}
    assert map_sizes(Network("deeplab_v1", "resnet38"), 448, 448) == ((448, 448),)
    assert net.backbone.stride == 8


def test_the_published_head_of_v2() -> None:
    with on_meta("deeplab_v2") as net:
        head = [p for n, p in net.named_parameters() if not n.startswith("backbone.")]
    assert count(head) == 4 * (2048 * 21 * 9 + 21)
    assert [conv.dilation[0] for conv in net.aspp] == [6, 12, 18, 24]
    # 321 pixels give 41 cells; its copies of 160 and 240 pixels 21 and 31, by the ceiling pool.
    sizes = map_sizes(Network("deeplab_v2", "resnet101"), 321, 321)
    assert sizes == ((41, 41), (21, 21), (31, 31), (41, 41))


@pytest.mark.parametrize("name", NAMES)
def test_all_convolutions_learn_and_no_affine(name: str) -> None:
    with on_meta(name) as net:
        convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
        norms = batch_norms(net)
    assert all(p.requires_grad for conv in convs for p in conv.parameters())
    assert not any(p.requires_grad for norm in norms for p in norm.parameters())
    learning = sum(p.requires_grad for p in net.parameters())
    assert learning == sum(len(list(conv.parameters())) for conv in convs)


def test_resnet101_at_stride_8_keeps_names_and_its_own_default() -> None:
    with without_storage():
        dense, usual = dense_backbone("resnet101"), build_backbone("resnet101")
    assert dense.state_dict().keys() == usual.state_dict().keys()
    assert (dense.stride, usual.stride, ResNet101.stride) == (8, 16, 16)
    wanted = {"layer1": 1, "layer2": 1, "layer3": 2, "layer4": 4}
    for stage, dilation in wanted.items():
        for block in dense.get_submodule(stage).children():
            assert block.conv2.dilation == block.conv2.padding == (dilation, dilation)  # type: ignore[union-attr]
    strides = [dense.get_submodule(f"layer{i}.0.conv2").stride for i in (1, 2, 3, 4)]
    assert strides == [(1, 1), (2, 2), (1, 1), (1, 1)]


def test_a_dilated_stage_computes_what_a_strided_one_does_in_between() -> None:
    """At every second cell, layer3's first convolution sees what the strided one sees."""
    torch.manual_seed(0)
    usual, dense = build_backbone("resnet50"), dense_backbone("resnet50")
    dense.load_state_dict(usual.state_dict())
    x = torch.randn(1, 3, 33, 33)
    with torch.no_grad():
        one, two = usual.advance(x, 0, 3), dense.advance(x, 0, 3)
        assert torch.equal(one, two)
        dense.get_submodule("layer3")[0].conv2.dilation = (1, 1)  # type: ignore[index]
        dense.get_submodule("layer3")[0].conv2.padding = (1, 1)  # type: ignore[index]
        first = usual.get_submodule("layer3")[0](one)  # type: ignore[index]
        found = dense.get_submodule("layer3")[0](two)  # type: ignore[index]
    torch.testing.assert_close(found[..., ::2, ::2], first)


@pytest.mark.parametrize("name", NAMES)
def test_rates_by_group(name: str) -> None:
    """Backbone x1, new weights x10, new biases x20 without decay; affine in no group."""
    config = make_config({**SMALL, "segment": name})
    settings = tasks.settings_of(config, 100)
    net = build_net(tasks.task_of(config), settings, 4, None)
    optimiser = make_optimiser(net, settings)  # type: ignore[arg-type]
    groups = {(g["lr"], g["weight_decay"]): g["params"] for g in optimiser.param_groups}
    lr = settings.lr
    assert set(groups) == {(lr, 5e-4), (lr * 10, 5e-4), (lr * 20, 0.0)}
    by_name = dict(net.named_parameters())
    back = [p for n, p in by_name.items() if n.startswith("backbone.") and p.requires_grad]
    assert {id(p) for p in groups[lr, 5e-4]} == {id(p) for p in back}
    biases = {n for n, p in by_name.items() if p.requires_grad and n.endswith("bias")}
    assert {id(p) for p in groups[lr * 20, 0.0]} == {id(by_name[n]) for n in biases}
    assert optimiser.defaults["momentum"] == 0.9


@pytest.mark.parametrize("backbone", ["small", "resnet38"])
def test_v1_trains_with_the_statistics_of_the_batch(backbone: str) -> None:
    with without_storage():
        net: Any = build_network(Network("deeplab_v1", backbone), 4)
    freeze_batch_norm(net)
    net.train()
    assert net.batch_statistics
    assert all(norm.training for norm in batch_norms(net))
    assert not net.backbone.training  # the classifiers' dropout at its end
    net.eval()
    assert not any(m.training for m in net.modules())


def test_v1_moves_the_statistics_of_the_whole_network() -> None:
    net = small("deeplab_v1").train()
    before = {n: v.clone() for n, v in net.state_dict().items()}
    net(torch.randn(2, 3, 32, 32) * 2)
    for name, value in net.state_dict().items():
        moved = not torch.equal(value, before[name])
        assert moved == name.endswith(("running_mean", "running_var", "num_batches_tracked")), name


def test_v1_normalises_by_the_batch() -> None:
    """A batch's features have mean 0 and deviation 1 whatever the stored statistics are."""
    net = small("deeplab_v1").train()
    seen: list[Tensor] = []
    net.bn_fov.register_forward_hook(lambda _, __, out: seen.append(out.detach().clone()))
    net(torch.randn(4, 3, 32, 32) * 3 + 1)
    torch.testing.assert_close(seen[0].mean((0, 2, 3)), torch.zeros(48), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        seen[0].std((0, 2, 3), correction=0), torch.ones(48), atol=5e-3, rtol=0
    )


@pytest.mark.parametrize("backbone", ["small", "resnet38"])
def test_v2_keeps_the_statistics(backbone: str) -> None:
    with without_storage():
        net: Any = build_network(Network("deeplab_v2", backbone), 4).train()
    assert not net.batch_statistics
    assert net.training
    assert not any(norm.training for norm in batch_norms(net))
    assert not net.backbone.training


def test_v2_moves_nothing_but_by_its_gradient() -> None:
    net = small("deeplab_v2").train()
    before = {n: v.clone() for n, v in net.state_dict().items()}
    net(torch.randn(2, 3, 32, 32))
    assert all(torch.equal(v, before[n]) for n, v in net.state_dict().items())


def test_v2_is_what_its_parts_are() -> None:
    net = small("deeplab_v2").eval()
    for conv in net.aspp:
        nn.init.normal_(conv.bias)
    images = torch.randn(2, 3, 50, 38)
    with torch.no_grad():
        whole, half, most, largest = net(images)
        found = net.backbone(images).last
        summed = sum(
            functional.conv2d(found, c.weight, c.bias, padding=r, dilation=r)
            for c, r in zip(net.aspp, (3, 6, 9, 12), strict=True)
        )
        assert isinstance(summed, Tensor)
        torch.testing.assert_close(whole, summed)
        small_copy = functional.interpolate(images, (25, 19), mode="bilinear", align_corners=False)
        torch.testing.assert_close(half, net.aspp(net.backbone(small_copy).last))
    assert most.shape[-2:] == (10, 7)  # of 37 x 28 pixels at stride 4
    back = [functional.interpolate(m, (13, 10), mode="bilinear") for m in (whole, half, most)]
    torch.testing.assert_close(largest, torch.stack(back).amax(0))


def test_caffe_networks_see_bgr_without_a_deviation() -> None:
    pixels = torch.randint(0, 256, (1, 3, 4, 5)).float()
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    wanted = pixels.flip(1) - torch.tensor(CAFFE_MEAN).view(3, 1, 1)
    torch.testing.assert_close(to_caffe((pixels / 255 - mean) / std), wanted, atol=1e-4, rtol=0)
    net = build_network(Network("deeplab_v2", "small", caffe_input=True), 3).eval()
    plain = build_network(Network("deeplab_v2", "small"), 3).eval()
    plain.load_state_dict(net.state_dict())
    with torch.no_grad():
        assert torch.equal(net(pixels)[0], plain(to_caffe(pixels))[0])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (17, 1), (3, 2)])
def test_tiny_images_and_81_classes(name: str, size: tuple[int, int]) -> None:
    net = small(name, 81).eval()
    with torch.no_grad():
        maps = net(torch.randn(1, 3, *size))
    assert all(bool(torch.isfinite(m).all()) for m in maps)
    wanted = size if name == "deeplab_v1" else tuple(-(-side // 4) for side in size)
    assert maps[-1].shape == (1, 81, *wanted)


def test_a_pixel_in_resnet101() -> None:
    net = build_network(Network("deeplab_v2", "resnet101"), 3).eval()
    with torch.no_grad():
        maps = net(torch.randn(1, 3, 1, 9))
    assert [tuple(m.shape[-2:]) for m in maps] == [(1, 2), (1, 1), (1, 1), (1, 2)]
    assert all(bool(torch.isfinite(m).all()) for m in maps)


@pytest.mark.parametrize("name", NAMES)
def test_a_backbone_s_weights_fit(name: str) -> None:
    source = build_backbone("small")
    net = small(name)
    assert load_into(net, source.state_dict()) == "backbone"
    for key, value in source.state_dict().items():
        assert torch.equal(net.backbone.state_dict()[key], value)


def test_backbones_of_the_family_are_named_as_usual() -> None:
    with without_storage():
        for name in ("small", "resnet38", "resnet50", "resnet101"):
            usual, dense = build_backbone(name), dense_backbone(name)
            assert usual.state_dict().keys() == dense.state_dict().keys()
    assert np.isclose(sum(p.numel() for p in dense.parameters()), 42_500_160)
