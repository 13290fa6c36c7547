"""AffinityNet: pairs, affinities, labels, the loss, and masks of images at the edges."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from camsweep.methods.backbones import build_backbone
from camsweep.methods.refine.affinity import (
    AffinityNet,
    affinity_bands,
    affinity_loss,
    feature_affinity,
)
from camsweep.methods.refine.affinity_masks import spread_by_affinity
from camsweep.methods.refine.labels import (
    affinity_labels,
    alpha_scores,
    ir_labels,
    of_classes,
    with_background,
)
from camsweep.methods.refine.pairs import (
    PairLabels,
    half_disc,
    on_grid,
    pair_labels,
    pair_losses,
    shrunk,
    sources,
    targets,
)
from camsweep.methods.refine.published import AFFINITY, IRN


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def net() -> AffinityNet:
    torch.manual_seed(0)
    return AffinityNet(build_backbone("small"), (8, 8, 16)).eval()


@pytest.mark.parametrize("radius", [2, 3, 5, 10])
def test_every_pair_within_the_radius_is_counted_once(radius: int) -> None:
    offsets = half_disc(radius)
    both = set(offsets) | {(-dy, -dx) for dy, dx in offsets}
    assert len(both) == 2 * len(offsets)
    reach = range(1 - radius, radius)
    disc = {(y, x) for y in reach for x in reach if 0 < y * y + x * x < radius**2}
    assert both == disc


def test_sources_have_their_whole_half_disc_in_the_grid() -> None:
    offsets, size = half_disc(5), (9, 11)
    from_, to = sources(size, 5), targets(size, offsets, 5)
    assert to.shape == (34, len(from_)) == (34, 5 * 3)
    assert to.max() < 99
    for row, (dy, dx) in zip(to, offsets, strict=True):
        assert torch.equal(row // 11 - from_ // 11, torch.full_like(row, dy))
        assert torch.equal(row % 11 - from_ % 11, torch.full_like(row, dx))
    back = on_grid(torch.arange(1, 16).float(), size, 5)
    assert torch.equal(back.flatten()[from_], torch.arange(1, 16).float())
    assert (back > 0).sum() == 15


@pytest.mark.parametrize(
    ("size", "radius"), [((11, 40), 5), ((10, 40), 4), ((8, 8), 3), ((3, 9), 1), ((1, 9), 0)]
)
def test_the_radius_shrinks_on_small_grids(size: tuple[int, int], radius: int) -> None:
    assert shrunk(5, size) == radius


def test_affinities_are_those_of_the_definition() -> None:
    features = torch.randn(2, 6, 7, 10, generator=torch.Generator().manual_seed(1))
    offsets = half_disc(3)
    found = feature_affinity(features, offsets, 3)
    flat = features.flatten(2)
    here, there = flat[..., sources((7, 10), 3)], flat[..., targets((7, 10), offsets, 3)]
    want = torch.exp(-(there - here[:, :, None]).abs().mean(1))
    torch.testing.assert_close(found, want)
    assert found.min() > 0
    assert found.max() <= 1
    alike = feature_affinity(torch.ones(1, 6, 7, 10), offsets, 3)
    assert (alike == 1).all()


def test_bands_everywhere_hold_the_released_ones_and_reach_every_pixel() -> None:
    features = drawn(4, 12, 13)
    some, offsets = affinity_bands(features)
    every, same = affinity_bands(features, everywhere=True)
    assert same == offsets
    torch.testing.assert_close(every[some > 0], some[some > 0])
    assert (some[:, -4:] == 0).all()
    for band, (dy, dx) in zip(every, offsets, strict=True):
        assert (band > 0).sum() == (12 - dy) * (13 - abs(dx))


def test_labels_of_pairs_partition_the_decided_ones() -> None:
    labels = torch.tensor([0, 0, 1, 2, 80, 255])[torch.randint(0, 6, (2, 12, 12))]
    offsets = half_disc(5)
    found = pair_labels(labels.to(torch.uint8), offsets, 5)
    flat = labels.flatten(1)
    here, there = flat[:, sources((12, 12), 5)][:, None], flat[:, targets((12, 12), offsets, 5)]
    decided = (here != 255) & (there != 255)
    total = sum(part.int() for part in found)
    assert torch.equal(total.bool(), decided)
    assert total.max() == 1
    assert torch.equal(found.background, decided & (here == 0) & (there == 0))
    assert torch.equal(found.foreground, decided & (here == there) & (here != 0))


def test_the_loss_is_a_weighted_sum_of_means_and_0_without_pairs() -> None:
    affinity = torch.tensor([[[0.5, 0.25, 0.125, 0.75]]], requires_grad=True)
    mask = torch.tensor([[[True, False, False, False]]])
    labels = PairLabels(mask, mask.roll(1, -1), mask.roll(2, -1))
    found = pair_losses(affinity, labels)
    torch.testing.assert_close(
        torch.stack(list(found)), -torch.tensor([0.5, 0.25, 0.875]).log(), rtol=1e-4, atol=1e-4
    )
    loss = affinity_loss(found)
    want = found.background / 4 + found.foreground / 4 + found.different / 2
    torch.testing.assert_close(loss, want)
    loss.backward()
    assert affinity.grad is not None
    assert affinity.grad[0, 0].sign().tolist() == [-1, -1, 1, 0]
    none = pair_losses(affinity, PairLabels(*[torch.zeros_like(mask)] * 3))
    assert affinity_loss(none) == 0
    sure = pair_losses(torch.ones(1, 1, 4), labels)  # -log(1 - 1) stays finite
    assert torch.isfinite(affinity_loss(sure))


def test_pixels_are_sure_where_both_alphas_agree() -> None:
    low, high = torch.zeros(3, 8, 32), torch.zeros(3, 8, 32)
    low[1, :, :8] = 1  # class 1 even against much background
    high[1, :, :8] = 1
    low[0, :, 8:16] = 1  # background with much of it only
    high[2, :, 8:16] = 1
    low[0, :, 16:24] = 1  # background in both
    high[0, :, 16:24] = 1
    assert affinity_labels(low, high).tolist() == [[1, 255, 0, 255]]  # the last has no score
    assert affinity_labels(low[..., :9], high[..., :9]).tolist() == [[1, 255]]


def test_ir_labels_leave_open_what_only_one_background_claims() -> None:
    image = torch.zeros(12, 36, 3, dtype=torch.uint8)
    image[:, 12:24], image[:, 24:] = 120, 240
    maps = torch.zeros(1, 12, 36)
    maps[0, :, :12], maps[0, :, 12:24], maps[0, :, 24:] = 0.9, 0.2, 0.0
    scores = [torch.cat([torch.full((1, 12, 36), t), maps]) for t in (0.30, 0.05)]
    found = ir_labels(image, *scores)
    assert found[:, :12].unique().tolist() == [1]
    assert found[:, 12:24].unique().tolist() == [255]
    assert found[:, 24:].unique().tolist() == [0]
    assert of_classes(found, [15]).unique().tolist() == [0, 15, 255]
    # No class in the image: all is background.
    alone = torch.ones(1, 12, 36)
    assert (ir_labels(image, alone, alone) == 0).all()


def test_81_classes_keep_their_numbers() -> None:
    rows = torch.arange(81, dtype=torch.uint8)
    classes = list(range(80, 0, -1))
    assert of_classes(rows, classes).tolist() == [0, *classes]
    maps = drawn(80, 8, 8)
    scores = with_background(maps, 16)
    assert scores.shape == (81, 8, 8)
    found = affinity_labels(scores, scores)
    assert found.shape == (1, 1)


def test_alphas_and_maps_of_zero() -> None:
    maps = drawn(2, 6, 9)
    assert (with_background(maps, 4)[0] >= with_background(maps, 24)[0]).all()
    assert torch.equal(with_background(torch.zeros(2, 6, 9), 4)[0], torch.ones(6, 9))
    assert torch.equal(with_background(maps[:0], 4), torch.ones(1, 6, 9))
    image = torch.zeros(6, 9, 3, dtype=torch.uint8)
    found = alpha_scores(image, torch.zeros(2, 6, 9), 4)
    assert (found.argmax(0) == 0).all()


def test_training_moves_the_head_and_not_what_is_frozen(net: AffinityNet) -> None:
    net.train()
    offsets = half_disc(5)
    labels = torch.randint(0, 3, (2, 16, 16))
    affinity = feature_affinity(net(torch.randn(2, 3, 64, 64)), offsets, 5)
    affinity_loss(pair_losses(affinity, pair_labels(labels, offsets, 5))).backward()
    for name, parameter in net.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    net.zero_grad(set_to_none=True)
    net.eval()


def test_resnet38_ends_without_the_classifiers_dropout() -> None:
    torch.manual_seed(0)
    net = AffinityNet(build_backbone("resnet38")).train()
    seen: list[Tensor] = []
    net.f8_5.register_forward_pre_hook(lambda layer, given: seen.append(given[0]))
    with torch.no_grad():
        shape = net(torch.randn(1, 3, 64, 64)).shape
        again = net(torch.randn(1, 3, 64, 64))
    assert shape == again.shape == (1, 448, 8, 8)
    silent = (seen[0].amax((0, 2, 3)) == 0).float().mean()
    assert silent < 0.25  # 0.5 of the channels with it
    assert net.backbone.b7.training  # type: ignore[union-attr]
    assert not net.backbone.bn7.training  # type: ignore[union-attr]


@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("size", [(40, 53), (1, 60), (60, 1), (1, 1)])
@pytest.mark.parametrize("classes", [0, 1, 3, 80])
def test_masks_of_images_at_the_edges(
    net: AffinityNet, size: tuple[int, int], classes: int, everywhere: bool
) -> None:
    maps = drawn(classes, *size)
    found = spread_by_affinity(
        net, torch.randn(3, *size), maps, alpha=6, beta=8, doublings=6, everywhere=everywhere
    )
    assert found.shape == (classes + 1, *size)
    assert torch.isfinite(found).all()
    assert found.min() >= 0
    assert found.max() <= 1 + 1e-4
    zero = spread_by_affinity(
        net, torch.randn(3, *size), torch.zeros_like(maps), alpha=6, beta=8, doublings=6
    )
    assert (zero.argmax(0) == 0).all()


def test_published_recipes() -> None:
    assert set(AFFINITY) == {"psa", "seam"}
    assert set(IRN) == {"irn", "sipe"}
    assert AFFINITY["seam"].final_crf is not None
    assert AFFINITY["psa"].final_crf is None
    assert 2 ** AFFINITY["psa"].doublings == 4 * 2 ** AFFINITY["seam"].doublings
