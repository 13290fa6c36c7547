from __future__ import annotations

import math

import pytest
import torch

from camsweep.methods import losses


def test_classification_averages_first() -> None:
    scores = torch.tensor([[[[0.0, 2.0]], [[-1.0, -1.0]]]])
    labels = torch.tensor([[1.0, 0.0]])
    wanted = -(math.log(1 / (1 + math.exp(-1))) + math.log(1 - 1 / (1 + math.exp(1)))) / 2
    assert losses.classification(scores, labels).item() == pytest.approx(wanted)


def test_min_pooling_takes_the_lowest_quarter_of_the_best() -> None:
    maps = torch.tensor([[[[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]]])
    maps = torch.cat([maps, maps - 10], 1)
    assert losses.min_pooling(maps).item() == pytest.approx(1.5)
    assert losses.min_pooling(-maps - 20).item() == 0


def test_tcp_is_zero_for_maps_that_agree() -> None:
    whole = torch.rand(2, 3, 4, 4)
    assert losses.tcp(whole, 0.3 * whole, 0.7 * whole).item() == pytest.approx(0, abs=1e-7)
    assert losses.tcp(whole, 0.3 * whole, 0 * whole).item() == pytest.approx(
        0.7 * whole.mean().item(), rel=1e-5
    )


def test_renormalised_tcp_forgives_weak_pairs() -> None:
    whole = torch.rand(2, 3, 4, 4)
    whole = whole / whole.amax((2, 3), keepdim=True)
    weak = losses.tcp(whole, 0.2 * whole, 0 * whole, renormalise=True)
    assert weak.item() == pytest.approx(0, abs=1e-4)


def test_one_hot_rules() -> None:
    maps = torch.tensor([0.5, 0.3, 0.4]).view(1, 3, 1, 1)
    assert losses.one_hot(maps, "code").flatten().tolist() == pytest.approx([0.5, 0, 0])
    assert losses.one_hot(maps, "seam").flatten().tolist() == pytest.approx([0.5, 0, 0.4])
    assert losses.one_hot(maps, "none") is maps


def test_the_hardest_share_is_of_elements_of_each_sample() -> None:
    error = torch.stack([torch.arange(10.0), torch.arange(10.0) * 10]).view(2, 1, 2, 5)
    assert losses.mean_hardest(error).item() == pytest.approx((8 + 9 + 80 + 90) / 4)
    assert losses.mean_hardest(torch.ones(1, 1, 1, 1)).item() == 1


@pytest.mark.parametrize("ohem", [False, True])
@pytest.mark.parametrize("rule", ["code", "seam", "none"])
def test_cpcr_by_hand(rule: str, ohem: bool) -> None:
    torch.manual_seed(0)
    whole, a, b, c, d = (torch.rand(2, 4, 5, 5) for _ in range(5))

    def term(target: torch.Tensor, other: torch.Tensor) -> float:
        error = (losses.one_hot(whole - target, rule) - other).abs().flatten(1)
        if ohem:
            error = error.sort(1, descending=True).values[:, : int(100 * 0.2)]
        return error.mean().item()

    found = losses.cpcr(whole, (a, b), (c, d), rule=rule, ohem=ohem)
    assert found.item() == pytest.approx(term(a, d) + term(b, c), rel=1e-5)


def test_background_is_what_the_best_class_leaves() -> None:
    maps = torch.rand(2, 3, 4, 4)
    whole = losses.with_background(maps)
    torch.testing.assert_close(whole[:, 0], 1 - maps.max(1).values)
    torch.testing.assert_close(whole[:, 1:], maps)
