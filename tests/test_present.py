"""Losses on the classes that the labels name are those on all classes, and so are gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from camsweep.methods import cpn, present
from camsweep.methods.backbones.norm import BatchNorm2d, FrozenNorm
from camsweep.methods.base import Batch
from camsweep.methods.correlation import resize, resized_mean
from camsweep.methods.training import build_net

SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"ohem": False},
    {"onehot": "seam"},
    {"onehot": "none", "detach_target": False},
    {"renormalise_pair": True},
    {"loss_size": "map"},
    {"pcm": False, "prcm": False, "cpcr": False, "min_pool": False},
    {"pair": False},
)
LABELS = {
    "few of many": torch.tensor([[0, 1, 0, 0, 0, 0], [1, 0, 0, 1, 0, 0]]).float(),
    "all in one image": torch.tensor([[1, 1, 1], [0, 0, 1]]).float(),
    "none in any": torch.zeros(2, 4),
    "one class": torch.tensor([[1], [0]]).float(),
}


def test_each_image_has_its_classes_and_an_absent_one() -> None:
    """Ascending, as wide as the image with the most labels needs."""
    found = present.present(LABELS["few of many"])
    assert found.tolist() == [[0, 1, 2], [0, 1, 3]]
    assert present.present(LABELS["all in one image"]).tolist() == [[0, 1, 2], [0, 1, 2]]
    assert present.present(LABELS["none in any"]).tolist() == [[0], [0]]


def test_views_of_an_image_give_its_classes() -> None:
    """Three views of two images, one after the other."""
    maps = torch.arange(6.0)[:, None, None, None] * 10 + torch.arange(4.0)[:, None, None]
    found = present.pick(maps, torch.tensor([[0, 3], [1, 2]]))
    assert found.flatten(1).tolist() == [
        [0, 3], [11, 12], [20, 23], [31, 32], [40, 43], [51, 52]
    ]  # fmt: skip
    assert present.pick(maps, None) is maps


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_terms_and_gradients_are_those_of_all_classes(
    settings: dict[str, Any], labels: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU all classes are compared; what a GPU does instead gives the same."""
    given = {"backbone": "small", "pretrain": "none", "patches": "grid", **settings}
    config = cpn.CpnConfig.model_validate(given)
    torch.manual_seed(0)
    net = build_net(cpn.METHOD, config, labels.shape[1] + 1, None).train()
    images = torch.randn(2, 3, 32, 32)

    def found() -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:
        net.zero_grad(set_to_none=True)
        batch = Batch(images, labels, None, torch.Generator().manual_seed(0))
        terms = cpn.losses(net, batch, config, 1.0)
        terms["loss"].backward()
        return terms, [p.grad for p in net.parameters() if p.grad is not None]

    whole, gradients = found()
    monkeypatch.setattr(cpn, "compared", present.present)
    compact, others = found()
    assert whole.keys() == compact.keys()
    for name, value in whole.items():
        torch.testing.assert_close(compact[name], value, rtol=1e-5, atol=1e-7)
    largest = max(float(g.abs().max()) for g in gradients)
    for one, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 * largest)


def test_a_mean_needs_no_resized_maps() -> None:
    """Larger, smaller, the same, and a single place."""
    maps = torch.randn(2, 3, 5, 7, dtype=torch.float32)
    for size in ((40, 56), (3, 4), (5, 7), (1, 9)):
        want = resize(maps, size).mean((2, 3))
        torch.testing.assert_close(resized_mean(maps, size), want)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(resized_mean(maps, size), want)
    single = maps[:, :, :1, :1]
    torch.testing.assert_close(resized_mean(single, (4, 4)), single[:, :, 0, 0])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_frozen_gradient_is_torchs(layout: torch.memory_format) -> None:
    """Its layout is that of what comes in."""
    norm = BatchNorm2d(5).eval().requires_grad_(False)
    for value in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        assert value is not None
        value.uniform_(0.1, 2)
    x = torch.randn(2, 5, 4, 3).contiguous(memory_format=layout).requires_grad_()
    above = torch.randn(2, 5, 4, 3).contiguous(memory_format=layout)
    want = norm(x)
    (gradient,) = torch.autograd.grad(want, x, above)
    found = FrozenNorm.apply(
        x, norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.eps
    )
    assert torch.equal(found, want)
    (ours,) = torch.autograd.grad(found, x, above)
    torch.testing.assert_close(ours, gradient)
    assert ours.is_contiguous(memory_format=layout)


def test_a_norm_that_learns_or_is_on_a_cpu_is_torchs() -> None:
    """No gradient of ours is in their graphs."""
    for learns in (True, False):
        norm = BatchNorm2d(2).eval().requires_grad_(learns)
        made = norm(torch.randn(1, 2, 3, 3, requires_grad=True))
        assert "FrozenNorm" not in made.grad_fn.name()
