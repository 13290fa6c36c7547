"""Seeds, prototypes and IS-CAMs as pure functions (golden values: tests/golden_sipe.py)."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from camsweep.methods import correlation
from camsweep.methods.context import spread
from camsweep.methods.correlation import pcm
from camsweep.methods.prototypes import (
    HierarchicalFeature,
    argmax_seeds,
    class_maps,
    class_mask,
    class_prototypes,
    joined_levels,
    prototype_maps,
    structure_seeds,
    structure_similarity,
    threshold_seeds,
)

LABELS = torch.tensor([[1.0, 0, 1], [0, 1, 0]])


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def maps(height: int = 5, width: int = 6) -> Tensor:
    """M of random scores, two images, three classes and background."""
    return class_maps(torch.randn(2, 3, height, width), LABELS)


class PeakMemory(TorchDispatchMode):
    """Bytes of all tensors made inside that are alive at once, at most."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.seen: set[int] = set()

    def _gone(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.now -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs = {a.untyped_storage()._cdata for a in tree_leaves(args) if isinstance(a, Tensor)}
        found = func(*args, **(kwargs or {}))
        for value in tree_leaves(found):
            if not isinstance(value, Tensor):
                continue
            storage = value.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key in inputs or key in self.seen:
                continue
            self.seen.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._gone, key, size)
        return found


def soft_iou(features: Tensor, weights: Tensor) -> Tensor:
    """SIPE equations 3 and 4 written out for one image: [D, P] and [C, P] -> [C, P]."""
    affinity = F.relu(F.cosine_similarity(features[:, :, None], features[:, None], dim=0))
    inside = torch.stack([(affinity * one).sum(1) for one in weights])
    return inside / (affinity.sum(1) + weights.sum(1, keepdim=True) - inside)


@pytest.mark.parametrize("block", [correlation.BLOCK, 7 * 60, 1])
def test_structure_similarity_is_the_soft_iou(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlation, "BLOCK", block)
    features, weights = torch.randn(2, 8, 5, 6), maps()
    found = structure_similarity(features, weights)
    for i in range(2):
        wanted = soft_iou(features[i].flatten(1), weights[i].flatten(1)).view(4, 5, 6)
        torch.testing.assert_close(found[i], wanted, rtol=1e-4, atol=1e-5)
    assert ((found >= 0) & (found <= 1 + 1e-6)).all()


def test_structure_similarity_ignores_the_length_of_features() -> None:
    features, weights = torch.randn(2, 8, 5, 6), maps()
    longer = features * torch.rand(2, 1, 5, 6).add(0.5)
    wanted = structure_similarity(features, weights)
    torch.testing.assert_close(structure_similarity(longer, weights), wanted, rtol=1e-4, atol=1e-5)


def test_a_place_without_features_gives_numbers() -> None:
    features = torch.zeros(1, 4, 3, 3)
    found = structure_similarity(features, torch.zeros(1, 2, 3, 3))
    assert torch.equal(found, torch.zeros(1, 2, 3, 3))
    leaf = features.requires_grad_()
    prototype_maps(leaf, class_prototypes(leaf, torch.ones(1, 2, 3, 3))).sum().backward()
    assert leaf.grad is not None
    assert torch.isfinite(leaf.grad).all()


def test_memory_of_the_seeds_at_the_published_size() -> None:
    features, weights = torch.randn(16, 64, 32, 32), torch.rand(16, 21, 32, 32)
    mask = torch.ones(16, 21, 1, 1)
    with PeakMemory() as memory:
        structure_seeds(features, weights, mask)
    assert 8e6 < memory.peak < 100e6  # the affinity alone is 67 MB, the released form 1.4 GB


@pytest.mark.parametrize(
    "refine",
    [
        lambda features, maps: pcm(maps, features),
        lambda features, maps: spread(maps, features, 0.8),
        structure_similarity,
    ],
)
def test_memory_of_every_affinity_at_test_time(
    refine: Callable[[Tensor, Tensor], Tensor],
) -> None:
    features, weights = torch.randn(2, 16, 72, 72), torch.rand(2, 21, 72, 72)
    with torch.inference_mode(), PeakMemory() as memory:
        refine(features, weights)
    assert 30e6 < memory.peak < 100e6  # a whole affinity is 215 MB


def test_seeds_are_one_hot_and_masked() -> None:
    valid = torch.zeros(2, 10, 12, dtype=torch.bool)
    valid[0, 2:, :8], valid[1] = True, True
    mask, weights = class_mask(LABELS, valid, (5, 6)), maps()
    features = torch.randn(2, 8, 5, 6)
    for seeds in (
        structure_seeds(features, weights, mask),
        argmax_seeds(weights, mask),
        threshold_seeds(weights, mask, 0.3),
    ):
        assert set(seeds.unique().tolist()) == {0.0, 1.0}
        assert seeds.sum(1).max() == 1
        assert (seeds * (1 - mask)).sum() == 0
        assert not seeds.requires_grad
    # One winner at every place of a picture whose classes are all allowed.
    everywhere = argmax_seeds(weights, torch.ones(2, 4, 1, 1))
    assert torch.equal(everywhere.sum(1), torch.ones(2, 5, 6))


def test_a_place_whose_winner_is_masked_has_no_seed() -> None:
    weights = torch.tensor([0.1, 0.9, 0.5]).view(1, 3, 1, 1)
    mask = torch.tensor([1.0, 0.0, 1.0]).view(1, 3, 1, 1)
    assert argmax_seeds(weights, mask).sum() == 0


def test_background_weight_and_ties() -> None:
    weights = torch.tensor([0.6, 0.4, 0.4]).view(1, 3, 1, 1)
    mask = torch.ones(1, 3, 1, 1)
    assert argmax_seeds(weights, mask).flatten().tolist() == [1, 0, 0]
    assert argmax_seeds(weights, mask, 0.5).flatten().tolist() == [0, 1, 0]
    features, weights = torch.randn(2, 8, 5, 6), maps()
    shares = [
        structure_seeds(features, weights, class_mask(LABELS), weight)[:, 0].mean().item()
        for weight in (0.0, 0.5, 1.0)
    ]
    assert shares[0] == 0
    assert shares[0] < shares[2]
    assert shares == sorted(shares)


def test_threshold_seeds_are_the_thresholded_map() -> None:
    weights = maps()
    seeds = threshold_seeds(weights, torch.ones(2, 4, 1, 1), 0.4)
    assert torch.equal(seeds[:, 0], (weights[:, 1:].amax(1) <= 0.4).float())
    assert 0 < seeds[:, 0].mean() < 1


def test_structure_seeds_repair_a_hole_in_the_map() -> None:
    """A place whose features are the object's gets its class though its class map is 0 there."""
    object_, rest = torch.eye(4)[0], torch.eye(4)[1]
    features = rest.view(1, 4, 1, 1).repeat(1, 1, 4, 4)
    features[0, :, :, :2] = object_.view(4, 1, 1)
    scores = torch.zeros(1, 1, 4, 4)
    scores[0, 0, :, :2] = 1.0
    scores[0, 0, 0, 0] = 0.0
    weights, mask = class_maps(scores), torch.ones(1, 2, 1, 1)
    assert argmax_seeds(weights, mask)[0, 1, 0, 0] == 0
    wanted = torch.tensor([1.0, 1, 0, 0]).repeat(4, 1)
    assert torch.equal(structure_seeds(features, weights, mask)[0, 1], wanted)


def test_class_maps_and_their_background() -> None:
    scores = torch.randn(2, 3, 5, 6)
    unmasked = class_maps(scores)
    torch.testing.assert_close(unmasked[:, 0], 1 - unmasked[:, 1:].amax(1))
    torch.testing.assert_close(unmasked[:, 1:].amax((2, 3)), torch.ones(2, 3), rtol=0, atol=1e-4)
    torch.testing.assert_close(class_maps(scores, attenuation=0.3)[:, 0], 0.3 * unmasked[:, 0])
    masked = class_maps(scores, LABELS)
    assert (masked[0, 2] == 0).all()
    assert torch.equal(masked[:, 0], unmasked[:, 0])
    assert class_maps(scores, LABELS, size=(3, 3)).shape == (2, 4, 3, 3)


def test_padding_is_masked_for_every_class() -> None:
    valid = torch.ones(2, 20, 24, dtype=torch.bool)
    valid[0, :, 12:] = False
    found = class_maps(torch.randn(2, 3, 5, 6), LABELS, valid)
    assert (found[0, :, :, 3:] == 0).all()
    assert found[0, 0, :, :3].sum() > 0
    assert found[1, 0, :, 3:].sum() > 0


def test_prototypes_average_their_seeds() -> None:
    features = torch.randn(2, 8, 5, 6)
    seeds = argmax_seeds(maps(), class_mask(LABELS))
    found = class_prototypes(features, seeds)
    count = seeds.sum((2, 3))
    for i, c in ((0, 0), (0, 3), (1, 2)):
        mean = features[i][:, seeds[i, c] == 1].mean(1)
        torch.testing.assert_close(found[i, c] * 30 / count[i, c], mean, rtol=1e-4, atol=1e-5)
    assert (found[0, 2] == 0).all()
    assert (found[1, 1] == 0).all()


def test_prototype_maps_are_rectified_cosines() -> None:
    features, given = torch.randn(2, 8, 5, 6), torch.randn(2, 4, 8)
    given[0, 2] = 0
    found = prototype_maps(features, given)
    wanted = F.relu(F.cosine_similarity(features[:, None], given[..., None, None], dim=2))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    assert (found[0, 2] == 0).all()
    torch.testing.assert_close(prototype_maps(3 * features, 0.1 * given), found)


def test_gradients_of_the_maps_reach_features_through_both_ways() -> None:
    features = torch.randn(1, 4, 3, 3, requires_grad=True)
    seeds = argmax_seeds(torch.rand(1, 3, 3, 3), torch.tensor([1.0, 1, 0]).view(1, 3, 1, 1))
    prototype_maps(features, class_prototypes(features, seeds)).sum().backward()
    assert features.grad is not None
    both = features.grad.clone()
    features.grad = None
    prototype_maps(features, class_prototypes(features.detach(), seeds)).sum().backward()
    assert features.grad is not None
    assert torch.isfinite(both).all()
    assert not torch.allclose(both, features.grad)


def test_hierarchical_feature() -> None:
    widths, sizes = (256, 512, 1024, 2048), (8, 4, 2, 2)
    levels = tuple(
        torch.randn(1, width, size, size, requires_grad=True)
        for width, size in zip(widths, sizes, strict=True)
    )
    module = HierarchicalFeature(widths)
    found = module(levels)
    assert found.shape == (1, 768, 2, 2)
    assert [(c.in_channels, c.out_channels, c.bias) for c in module.side] == [
        (256, 128, None),
        (512, 128, None),
        (1024, 256, None),
        (2048, 256, None),
    ]
    lengths = [part.norm(dim=1) for part in found.split([128, 128, 256, 256], 1)]
    torch.testing.assert_close(torch.stack(lengths[2:]), torch.ones(2, 1, 2, 2), rtol=0, atol=1e-4)
    assert (torch.stack(lengths[:2]) < 1).all()  # shorter between places that differ
    found.square().sum().backward()
    assert all(level.grad is None for level in levels)
    assert all(conv.weight.grad is not None for conv in module.side)


def test_joined_levels_need_no_weights() -> None:
    levels = [torch.randn(2, c, size, size) for c, size in ((3, 8), (4, 4), (5, 4), (6, 4))]
    found = joined_levels(levels)
    assert found.shape == (2, 18, 4, 4)
    wanted = levels[3] / levels[3].norm(dim=1, keepdim=True)
    torch.testing.assert_close(found[:, 12:], wanted, rtol=1e-4, atol=1e-4)


def test_narrow_levels_keep_their_width() -> None:
    module = HierarchicalFeature((16, 24, 32, 48))
    assert module(tuple(torch.randn(1, c, 4, 4) for c in (16, 24, 32, 48))).shape[1] == 120


def test_bfloat16_changes_only_the_features() -> None:
    features, weights = torch.randn(2, 8, 5, 6), maps()
    seeds = argmax_seeds(weights, class_mask(LABELS))
    plain = prototype_maps(features, class_prototypes(features, seeds))
    similarity = structure_similarity(features, weights)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(structure_similarity(features, weights), similarity)
        assert torch.equal(prototype_maps(features, class_prototypes(features, seeds)), plain)
