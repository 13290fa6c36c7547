from __future__ import annotations

import pytest
import torch

from camsweep.methods import correlation
from camsweep.methods.backbones import Features
from camsweep.methods.correlation import Correlation, like_sums, pcm, prcm, resize, spatial_gather
from camsweep.methods.normalize import background, correlation_input, keep_max, max_norm


def features(n: int = 2, size: int = 6) -> Features:
    torch.manual_seed(0)
    side = (torch.rand(n, 24, 2 * size, 2 * size), torch.rand(n, 32, size, size))
    last = torch.rand(n, 48, size, size)
    return Features(side, last, (*side, last, last))


def test_pcm_is_the_normalised_affinity_product() -> None:
    torch.manual_seed(0)
    maps, embedded = torch.rand(2, 4, 3, 5), torch.randn(2, 8, 3, 5)
    unit = embedded.flatten(2) / (embedded.flatten(2).norm(dim=1, keepdim=True) + 1e-5)
    affinity = torch.einsum("ndi,ndj->nij", unit, unit).clamp(min=0)
    affinity = affinity / (affinity.sum(1, keepdim=True) + 1e-5)
    wanted = (maps.flatten(2) @ affinity).view(2, 4, 3, 5)
    torch.testing.assert_close(pcm(maps, embedded), wanted)


def test_pcm_of_equal_features_is_the_mean_and_of_orthogonal_ones_the_map() -> None:
    maps = torch.rand(1, 3, 2, 2)
    same = pcm(maps, torch.ones(1, 5, 2, 2))
    torch.testing.assert_close(
        same, maps.mean((2, 3), keepdim=True).expand_as(maps), atol=1e-4, rtol=0
    )
    apart = pcm(maps, torch.eye(4).view(1, 4, 2, 2))
    torch.testing.assert_close(apart, maps, atol=1e-4, rtol=0)


@pytest.mark.parametrize("block", [1, 7 * 30])
@pytest.mark.parametrize("tau", [0.0, 0.5])
def test_blocks_of_places_change_nothing(
    block: int, tau: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    values, points = torch.rand(2, 4, 15), torch.randn(2, 8, 15)
    products = torch.einsum("ndi,ndj->nij", points, points)
    wanted = values @ torch.where(products > tau, products, 0.0)
    maps = torch.rand(2, 3, 3, 5)
    embedded = points.view(2, 8, 3, 5)
    refined = pcm(maps, embedded)
    monkeypatch.setattr(correlation, "BLOCK", block)
    torch.testing.assert_close(like_sums(values, points, tau), wanted)
    torch.testing.assert_close(pcm(maps, embedded), refined)


@pytest.mark.parametrize("tau", [0.0, 0.5])
def test_the_gradient_of_blocks(tau: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlation, "BLOCK", 1)
    torch.manual_seed(0)
    values = torch.rand(2, 3, 6, dtype=torch.double, requires_grad=True)
    points = torch.randn(2, 4, 6, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v, p: like_sums(v, p, tau), (values, points))


def test_gathering_weighs_places_by_the_softmax_of_the_map() -> None:
    torch.manual_seed(1)
    values, maps = torch.randn(1, 6, 2, 3), torch.randn(1, 4, 2, 3)
    wanted = torch.einsum("ncp,ndp->ndc", maps.flatten(2).softmax(-1), values.flatten(2))
    torch.testing.assert_close(spatial_gather(values, maps), wanted)


def test_both_layouts_of_prcm() -> None:
    torch.manual_seed(2)
    classes, embedded = torch.rand(2, 8, 3), torch.rand(2, 8, 4, 4)
    paper = torch.einsum("ndc,ndhw->nchw", classes, embedded) / 3**0.5
    torch.testing.assert_close(
        prcm(classes, embedded, "paper"), paper.flatten(2).softmax(-1).view(2, 3, 4, 4)
    )
    mixed = torch.einsum("ncd,ndhw->nchw", classes.reshape(2, 3, 8), embedded) / 3**0.5
    torch.testing.assert_close(
        prcm(classes, embedded, "code"), mixed.flatten(2).softmax(-1).view(2, 3, 4, 4)
    )


def test_published_channel_counts() -> None:
    head = Correlation((512, 1024), use_prcm=True)
    shapes = {name: tuple(p.shape[:2]) for name, p in head.named_parameters()}
    assert shapes == {
        "low.weight": (64, 512),
        "high.weight": (128, 1024),
        "g.weight": (192, 195),
        "phi.weight": (192, 195),
    }


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("use_prcm", [False, True])
def test_the_head_keeps_the_size_and_trains_only_itself(
    stride: int, centre: bool, use_prcm: bool
) -> None:
    found = features()
    for part in found.side:
        part.requires_grad_()
    scores = torch.randn(2, 3, 6, 6, requires_grad=True)
    head = Correlation((24, 32), use_prcm=use_prcm, centre=centre, stride=stride)
    refined = head(correlation_input(scores), torch.randn(2, 3, 24, 24), found)
    assert refined.shape == (2, 4, 6, 6)
    assert refined.min() >= 0
    refined.square().sum().backward()
    assert scores.grad is None
    assert all(part.grad is None for part in found.side)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())


@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("use_prcm", [False, True])
def test_bfloat16_keeps_the_refined_map(use_prcm: bool, centre: bool) -> None:
    """Only convolutions round: 0.03 of the normalised map at most, 0.08 to 0.6 if products did."""
    found, images = features(size=28), torch.randn(2, 3, 112, 112)
    maps = correlation_input(torch.randn(2, 20, 28, 28))
    head = Correlation((24, 32), use_prcm=use_prcm, centre=centre)
    with torch.no_grad():
        exact = head(maps, images, found)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = head(maps, images, found)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(max_norm(rounded), max_norm(exact), atol=0.05, rtol=0)


def test_bfloat16_changes_no_product() -> None:
    torch.manual_seed(0)
    maps, embedded = torch.rand(2, 4, 6, 5), torch.rand(2, 8, 6, 5)
    classes = torch.rand(2, 8, 4)
    plain = (
        pcm(maps, embedded),
        spatial_gather(embedded, maps),
        prcm(classes, embedded, "paper"),
    )
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(pcm(maps, embedded), plain[0])
        assert torch.equal(spatial_gather(embedded, maps), plain[1])
        assert torch.equal(prcm(classes, embedded, "paper"), plain[2])


def test_prcm_adds_to_the_refined_map_where_the_map_is() -> None:
    torch.manual_seed(3)
    found, images = features(), torch.randn(2, 3, 24, 24)
    maps = correlation_input(torch.randn(2, 3, 6, 6))
    head = Correlation((24, 32), use_prcm=True)
    with torch.no_grad():
        both = head(maps, images, found)
        head.use_prcm = False
        only = head(maps, images, found)
    assert (both - only).min() >= -1e-6
    torch.testing.assert_close((both - only)[maps == 0], torch.zeros(int((maps == 0).sum())))
    assert (both - only)[:, 1:].sum() > 0


def test_the_correlation_input() -> None:
    scores = torch.tensor([[[[2.0, -1.0, 0.5]], [[1.0, 4.0, 3.0]]]])
    maps = correlation_input(scores)
    wanted = torch.tensor([[[[0.0, 0.0, 0.25]], [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.75]]]])
    torch.testing.assert_close(maps, wanted, atol=2e-5, rtol=0)


def test_normalisation_helpers() -> None:
    maps = torch.tensor([[[[-3.0, 1.0, 5.0]], [[7.0, 7.0, 7.0]]]])
    normed = max_norm(maps)
    torch.testing.assert_close(
        normed, torch.tensor([[[[0.0, 0.2, 1.0]], [[0.0, 0.0, 0.0]]]]), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(background(normed)[0, 0, 0, 2], torch.tensor(0.0), atol=1e-5, rtol=0)
    assert keep_max(maps)[0, :, 0, 0].tolist() == [0, 7]
    assert keep_max(maps, spare=1)[0, :, 0, 0].tolist() == [-3, 7]
    assert resize(maps, (1, 3)) is maps
