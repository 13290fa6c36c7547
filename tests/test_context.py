"""Context refinement, and the regions where two maps disagree (methods.context)."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from camsweep.methods import context, correlation


def test_spreading_is_a_weighted_mean_over_like_places(monkeypatch: pytest.MonkeyPatch) -> None:
    features, maps = torch.randn(2, 6, 4, 5), torch.rand(2, 3, 4, 5)
    unit = F.normalize(features.flatten(2), dim=1)
    for tau in (0.0, 0.5):
        wanted = torch.zeros(2, 3, 20)
        for n in range(2):
            for j in range(20):
                cosines = [float(unit[n, :, i] @ unit[n, :, j]) for i in range(20)]
                weights = torch.tensor([c if c > tau else 0.0 for c in cosines])
                wanted[n, :, j] = (maps[n].flatten(1) * weights).sum(1) / weights.sum()
        torch.testing.assert_close(
            context.spread(maps, features, tau).flatten(2), wanted, atol=1e-4, rtol=1e-4
        )
    whole = context.spread(maps, features)
    monkeypatch.setattr(correlation, "BLOCK", 7)  # a place at a time
    torch.testing.assert_close(context.spread(maps, features), whole)
    # Where only equal places count nobody listens to others.
    torch.testing.assert_close(context.spread(maps, features, 0.9999), maps, atol=1e-4, rtol=0)


def test_refinement_is_repeated_spreading() -> None:
    maps, features = torch.rand(2, 3, 4, 5), torch.randn(2, 6, 4, 5)
    assert torch.equal(context.refine(maps, features, 0), maps)
    once = context.refine(maps, features, 1, 0.1)
    again = context.refine(once, features, 2, 0.1)
    torch.testing.assert_close(again, context.refine(maps, features, 3, 0.1))
    spread = context.spread(maps, features, 0.1)
    torch.testing.assert_close(once, spread / (spread.amax((2, 3), keepdim=True) + 1e-5))


def test_like_places_share_their_values() -> None:
    """Two groups of places with orthogonal features: each takes its own mean."""
    features = torch.zeros(1, 2, 1, 4)
    features[0, 0, 0, :2] = features[0, 1, 0, 2:] = 1
    maps = torch.tensor([0.0, 1.0, 0.2, 0.0]).view(1, 1, 1, 4)
    found = context.refine(maps, features, 1)[0, 0, 0]
    torch.testing.assert_close(found, torch.tensor([1, 1, 0.2, 0.2]), atol=1e-4, rtol=0)


def disputed(prototype: list[list[float]], classifier: list[list[float]]) -> context.Disputed:
    """Of maps [background, class 1, class 2] along a row of places; class 2 is absent."""
    mask = torch.tensor([1.0, 1, 0])[None, :, None, None]
    maps = (torch.tensor(one)[None, :, None] for one in (classifier, prototype))
    return context.disputed_regions(*maps, mask, 0.5, 0.25)


def test_disputed_regions() -> None:
    #                      missed  agreed  leaked  weak    low
    classifier = [[0.9, 0.1, 0.8, 0.6, 0.9], [0.1, 0.9, 0.2, 0.4, 0.1], [0.0] * 5]
    prototype = [[0.2, 0.1, 0.6, 0.9, 0.9], [0.8, 0.9, 0.4, 0.6, 0.1], [0.9] * 5]
    prototype[2] = [0.0] * 5
    found = disputed(prototype, classifier)
    assert found.false_negatives[0, 1, 0].tolist() == [True, False, False, False, False]
    assert found.false_positives[0, 1, 0].tolist() == [True, False, True, True, False]
    assert not found.false_negatives[0, [0, 2]].any()
    assert not found.false_positives[0, [0, 2]].any()


def test_local_maps_need_enough_places() -> None:
    features = torch.randn(1, 6, 3, 4)
    regions = torch.zeros(1, 2, 3, 4, dtype=torch.bool)
    regions[0, 1, 0, :3] = True
    assert not context.local_maps(features, regions, 4).any()
    found = context.local_maps(features, regions, 3)
    mean = features[0, :, 0, :3].mean(1)
    wanted = F.relu(F.cosine_similarity(features[0], mean[:, None, None], dim=0))
    torch.testing.assert_close(found[0, 1], wanted)
    assert not found[0, 0].any()
