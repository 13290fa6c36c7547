from __future__ import annotations

from typing import Any

import pytest
import torch

from camsweep.methods import cam, compose, cpn, pair
from camsweep.methods.base import Batch, Output, make_config
from camsweep.methods.correlation_net import CorrelationNet
from camsweep.shards.errors import InputError

VALUES: dict[str, Any] = {"method": "cpn", "backbone": "small", "pretrain": "none", "crop": 32}


def config(**values: Any) -> cpn.CpnConfig:
    made = make_config({**VALUES, **values})
    assert isinstance(made, cpn.CpnConfig)
    return made


def batch(seed: int = 0, n: int = 3) -> Batch:
    torch.manual_seed(0)
    ids = torch.arange(1, 17).view(4, 4).repeat_interleave(8, 0).repeat_interleave(8, 1)
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 1, 0]])[:n]
    generator = torch.Generator().manual_seed(seed)
    return Batch(torch.randn(n, 3, 32, 32), labels, ids.expand(n, -1, -1), generator)


def network(settings: cpn.CpnConfig) -> CorrelationNet:
    torch.manual_seed(1)
    net = compose.build(cpn.METHOD, settings, 4)
    assert isinstance(net, CorrelationNet)
    return net.eval()


def losses(progress: float = 1.0, seed: int = 0, **values: Any) -> dict[str, float]:
    settings = config(**values)
    found = cpn.losses(network(settings), batch(seed), settings, progress)
    return {name: value.item() for name, value in found.items()}


def test_defaults_are_the_published_settings() -> None:
    made = make_config({"method": "cpn"})
    assert isinstance(made, cpn.CpnConfig)
    assert (made.patches, made.s_n, made.p_h, made.lam) == ("superpixel", 200, 0.5, "pixels")
    assert all((made.pair, made.tcp, made.cpcr, made.ohem, made.pcm, made.prcm, made.min_pool))
    assert not any((made.ramp, made.renormalise_pair, made.centre_features))
    assert (made.crop, made.batch, made.epochs, made.lr, made.momentum) == (448, 4, 8, 0.01, 5e-4)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"pcm": False, "prcm": True}, "prcm: true needs pcm: true"),
        ({"cpcr": False, "ohem": True}, "ohem: true needs cpcr: true"),
        ({"pair": False, "tcp": True}, "tcp: true needs pair: true"),
        ({"pair": False, "cpcr": True}, "cpcr: true needs pair: true"),
        ({"pcm": False, "cpcr": True}, "cpcr: true needs pcm: true"),
        ({"min_pool": False, "pair": False, "pcm": True}, "pcm: true needs .*tcp.*cpcr"),
        (
            {"min_pool": False, "tcp": False, "cpcr": False, "pcm": True},
            "pcm: true needs .*min_pool.*tcp.*cpcr",
        ),
        ({"min_pool": False, "pair": False, "prcm": True}, "prcm: true needs pcm: true"),
    ],
)
def test_infeasible_combinations_are_refused(values: dict[str, bool], said: str) -> None:
    with pytest.raises(InputError, match=said):
        config(**values)


def test_parts_go_off_with_what_they_need() -> None:
    alone = config(pair=False)
    assert (alone.tcp, alone.cpcr, alone.ohem) == (False, False, False)
    assert alone.pcm
    assert alone.prcm
    plain = config(pcm=False)
    assert (plain.prcm, plain.cpcr, plain.ohem) == (False, False, False)
    assert plain.tcp
    assert config(patches="grid").lam == "cells"
    assert config(patches="grid", lam="pixels").lam == "pixels"


def test_an_untrained_head_gives_no_headline() -> None:
    for untrained in (
        config(min_pool=False, tcp=False, cpcr=False),
        config(min_pool=False, pair=False),
    ):
        assert (untrained.pcm, untrained.prcm, untrained.headline) == (False, False, "raw")
    for trained in ({"tcp": False}, {"cpcr": False}, {"min_pool": True, "pair": False}):
        made = config(**{"min_pool": False, **trained})
        assert (made.pcm, made.prcm, made.headline) == (True, True, "refined")


SAME = [
    ({"patches": "grid"}, {"patches": "grid", "s_n": 7, "compactness": 1.0}),
    ({"patches": "grid"}, {"patches": "grid", "hiding": "with_replacement"}),
    ({"patches": "superpixel"}, {"grid_sizes": [4, 7]}),
    ({"grid_sizes": [112, 56], "patches": "grid"}, {"patches": "grid", "grid_sizes": [56, 112]}),
    ({"pair": False}, {"pair": False, "p_h": 0.1, "s_n": 9, "patches": "grid", "w_tcp": 3.0}),
    ({"tcp": False}, {"tcp": False, "w_tcp": 0.1, "renormalise_pair": True}),
    ({"cpcr": False}, {"cpcr": False, "w_cpcr": 0.1, "onehot": "seam", "detach_target": False}),
    ({"pcm": False}, {"pcm": False, "pcm_stride": 2, "min_pool": False, "centre_features": True}),
    ({"prcm": False}, {"prcm": False, "prcm_layout": "code"}),
    ({"pair": False, "min_pool": False}, {"pair": False, "pcm": False}),
    ({"tcp": False, "cpcr": False}, {"tcp": False, "cpcr": False, "ramp": 0.5, "lam": "cells"}),
]


@pytest.mark.parametrize(("one", "two"), SAME)
def test_settings_that_cannot_matter_are_not_part_of_the_id(
    one: dict[str, Any], two: dict[str, Any]
) -> None:
    assert config(**one).active() == config(**two).active()
    assert losses(0.3, **one) == losses(0.3, **two)  # and indeed they do not


DIFFERENT = [
    {"patches": "grid"},
    {"p_h": 0.2},
    {"hiding": "with_replacement"},
    {"pair": False},
    {"tcp": False},
    {"cpcr": False},
    {"ohem": False},
    {"pcm": False},
    {"prcm": False},
    {"min_pool": False},
    {"w_tcp": 0.5},
    {"w_cpcr": 0.5},
    {"prcm_layout": "code"},
    {"onehot": "none"},
    {"loss_size": "map"},
    {"ramp": 0.9},
    {"renormalise_pair": True},
    {"centre_features": True},
    {"pcm_stride": 2},
]


@pytest.mark.parametrize("values", DIFFERENT)
def test_every_switch_changes_the_loss_and_the_id(values: dict[str, Any]) -> None:
    assert config(**values).active() != config().active()
    assert losses(0.5, **values)["loss"] != losses(0.5)["loss"]


def test_the_total_is_the_weighted_sum_of_its_terms() -> None:
    found = losses(0.25, w_tcp=2.0, w_cpcr=0.5, ramp=0.5)
    wanted = found["cls"] + found["min_pool"] + 0.5 * (2 * found["tcp"] + 0.5 * found["cpcr"])
    assert found["loss"] == pytest.approx(wanted, rel=1e-5)
    assert losses(0.9, ramp=0.5)["loss"] == pytest.approx(losses(0.9)["loss"])


def test_terms_that_are_off_are_absent() -> None:
    assert set(losses()) == {"loss", "cls", "min_pool", "tcp", "cpcr"}
    assert set(losses(pcm=False)) == {"loss", "cls", "tcp"}
    assert set(losses(pair=False, pcm=False)) == {"loss", "cls"}
    assert set(losses(tcp=False, cpcr=False, min_pool=False)) == {"loss", "cls"}


def test_without_pair_and_pcm_it_is_the_baseline() -> None:
    # The published loss pools scores that were upsampled with aligned corners: another mean.
    settings = config(pair=False, pcm=False, loss_size="map")
    net = network(settings)
    base = cam.CamNet("small", 4).eval()
    state = net.state_dict()
    base.load_state_dict({**state, "classifier.weight": state["classifier.weight"][1:]})
    one = cpn.losses(net, batch(), settings, 0)["loss"]
    baseline = make_config({**VALUES, "method": "cam"})
    assert isinstance(baseline, cam.CamConfig)
    torch.testing.assert_close(one, cam.losses(base, batch(), baseline, 0)["loss"])


def test_the_same_generator_gives_the_same_loss_and_another_another() -> None:
    assert losses(seed=3) == losses(seed=3)
    assert losses(seed=3) != losses(seed=4)


def test_gradients_reach_what_the_paper_trains() -> None:
    settings = config(min_pool=False, tcp=False, w_cpcr=1.0)
    net = network(settings)
    found = cpn.losses(net, batch(), settings, 1.0)
    net.zero_grad()
    found["cpcr"].backward()
    # CPCR's raw maps are detached: it trains the correlation head alone.
    reached = {n for n, p in net.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached
    assert all(name.startswith("correlation.") for name in reached)
    loose = config(min_pool=False, tcp=False, detach_target=False)
    net = network(loose)
    cpn.losses(net, batch(), loose, 1.0)["cpcr"].backward()
    assert net.classifier.weight.grad is not None
    assert net.classifier.weight.grad.any()


def test_the_backbone_sees_one_batch_of_three() -> None:
    settings = config()
    net = network(settings)
    seen: list[int] = []
    net.backbone.register_forward_hook(lambda module, given, out: seen.append(len(given[0])))
    cpn.losses(net, batch(), settings, 1.0)
    assert seen == [9]


def test_the_output_of_the_network() -> None:
    images = batch().images
    with torch.no_grad():
        found: Output = network(config())(images)
        plain: Output = network(config(pcm=False))(images)
    assert found.refined is not None
    assert plain.refined is None
    assert found.scores.shape == plain.scores.shape == (3, 3, 8, 8)
    assert found.refined.shape == (3, 4, 8, 8)
    assert found.refined.min() >= 0
    assert set(compose.view_maps(found)) == {"raw", "refined"}
    assert config().map_names() == ("raw", "refined")
    assert config(pcm=False).map_names() == ("raw",)


def test_nothing_supervises_the_background_score() -> None:
    settings = config()
    net = network(settings)
    assert net.classifier.weight.shape[0] == 4
    cpn.losses(net, batch(), settings, 1.0)["loss"].backward()
    grad = net.classifier.weight.grad
    assert grad is not None
    assert grad[1:].any()
    assert not grad[0].any()


@pytest.mark.parametrize("method", ["cam", "seam"])
def test_the_pair_is_a_part_of_cpn_and_added_to_others(method: str) -> None:
    settings = config()
    net = network(settings)
    own = cpn.losses(net, batch(), settings, 1.0)
    composed = compose.losses(cpn.METHOD, net, batch(), settings, 1.0)
    assert {k: v.item() for k, v in own.items()} == {k: v.item() for k, v in composed.items()}
    assert not make_config({**VALUES, "method": method}).active().get("pair", False)


def test_superpixels_in_the_settings() -> None:
    wanted = config(s_n=50).superpixels()
    assert wanted is not None
    assert wanted.s_n == 50
    assert config(patches="grid").superpixels() is None
    assert config(pair=False).superpixels() is None
    with pytest.raises(ValueError, match="superpixels"):
        pair.draw_pair(
            Batch(torch.zeros(1, 3, 8, 8), torch.ones(1, 3), None, torch.Generator()), config()
        )
