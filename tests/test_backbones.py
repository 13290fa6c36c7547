from __future__ import annotations

import pytest
import torch

from camsweep.methods.backbones import (
    BACKBONES,
    Backbone,
    backbone_name,
    build_backbone,
    without_storage,
)
from camsweep.methods.pretrained.names import backbone_shapes, nearest_backbone


@pytest.fixture(scope="module", params=["small", "resnet50", "resnet38", "resnet101"])
def net(request: pytest.FixtureRequest) -> Backbone:
    torch.manual_seed(0)
    return build_backbone(request.param).eval()


def test_stages_one_after_the_other_give_the_last_features(net: Backbone) -> None:
    images = torch.randn(2, 3, 40, 32)
    with torch.no_grad():
        found = net(images)
        assert torch.equal(net.advance(images), found.last)
        x = images
        for index in range(len(net.stages)):
            x = net.advance(x, index, index + 1)
        assert torch.equal(x, found.last)
        assert torch.equal(net.advance(images, 0, 0), images)
    assert found.levels[-1] is found.last
    assert tuple(level.shape[1] for level in found.levels) == net.level_channels
    assert tuple(side.shape[1] for side in found.side) == net.side_channels
    cells = [-(-size // net.stride) for size in images.shape[2:]]
    assert found.last.shape == (2, net.channels, *cells)


def test_training_mode_leaves_batch_norm_in_eval(net: Backbone) -> None:
    net.train()
    norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)
    assert net.training
    net.eval()


def test_a_backbone_is_known_by_its_tensors(net: Backbone) -> None:
    name = backbone_name(net)
    assert name in BACKBONES
    state = net.state_dict()
    assert nearest_backbone(state) == name
    assert backbone_shapes(name).keys() == {k for k in state if "num_batches" not in k}
    few = dict(list(state.items())[: len(state) // 6])
    assert nearest_backbone(few) is None
    turned = {k: v.unsqueeze(0) for k, v in state.items()}
    assert nearest_backbone(turned) is None


def test_networks_without_storage_draw_nothing() -> None:
    before = torch.get_rng_state()
    with without_storage():
        net = build_backbone("small")
    assert torch.equal(before, torch.get_rng_state())
    assert all(p.is_meta for p in net.parameters())
    real = build_backbone("small")
    assert not torch.equal(before, torch.get_rng_state())
    assert real.stem.conv.weight.std() > 0  # type: ignore[union-attr,operator]


def test_the_small_network_keeps_its_affine_parameters() -> None:
    net = build_backbone("small").train()
    net(torch.randn(1, 3, 32, 32)).last.sum().backward()
    learning = {name for name, p in net.named_parameters() if p.grad is not None}
    assert learning == {name for name, _ in net.named_parameters() if ".norm." not in name}
