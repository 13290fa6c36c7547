from __future__ import annotations

from typing import Any

import pytest
import torch

from camsweep.methods import cam, compose, losses, seam
from camsweep.methods.base import Batch, make_config
from camsweep.methods.correlation import resize
from camsweep.methods.correlation_net import CorrelationNet
from camsweep.methods.normalize import max_norm
from camsweep.shards.errors import InputError

VALUES: dict[str, Any] = {"method": "seam", "backbone": "small", "pretrain": "none", "crop": 40}
PARTS = ("er", "ecr", "ohem", "pcm", "min_pool", "siamese")


def config(**values: Any) -> seam.SeamConfig:
    made = make_config({**VALUES, **values})
    assert isinstance(made, seam.SeamConfig)
    return made


def batch() -> Batch:
    torch.manual_seed(0)
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 1, 0]])
    return Batch(torch.randn(3, 3, 40, 40), labels, None, torch.Generator().manual_seed(0))


def network(settings: seam.SeamConfig) -> CorrelationNet:
    torch.manual_seed(1)
    net = compose.build(seam.METHOD, settings, 4)
    assert isinstance(net, CorrelationNet)
    return net.eval()


def terms(progress: float = 1.0, **values: Any) -> dict[str, float]:
    settings = config(**values)
    found = seam.losses(network(settings), batch(), settings, progress)
    return {name: value.item() for name, value in found.items()}


def reached(term: str, **values: Any) -> set[str]:
    """Names of the parameters that a term alone trains."""
    settings = config(**values)
    net = network(settings)
    seam.losses(net, batch(), settings, 1.0)[term].backward()
    return {n for n, p in net.named_parameters() if p.grad is not None and p.grad.any()}


def test_defaults_are_the_released_recipe() -> None:
    made = make_config({"method": "seam"})
    assert isinstance(made, seam.SeamConfig)
    assert (made.batch, made.epochs, made.lr, made.crop, made.backbone) == (
        8,
        8,
        0.01,
        448,
        "resnet38",
    )
    assert (made.resize_min, made.resize_max, made.jitter) == (448, 768, (0.3, 0.3, 0.3, 0.1))
    assert (made.scale, made.normalise, made.headline) == (0.3, "minmax", "refined")
    assert all(getattr(made, part) for part in PARTS)
    assert not any((made.prcm, made.pair, made.ipe, made.gsc))
    images = torch.randn(1, 3, 448, 448)
    assert seam.smaller(images, made.scale).shape == (1, 3, 134, 134)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"siamese": False, "er": True}, "er: true needs siamese: true"),
        ({"siamese": False, "ecr": True}, "ecr: true needs siamese: true"),
        ({"pcm": False, "ecr": True}, "ecr: true needs pcm: true"),
        ({"pcm": False, "prcm": True}, "prcm: true needs pcm: true"),
        ({"ecr": False, "ohem": True}, "ohem: true needs ecr: true"),
        ({"min_pool": False, "ecr": False, "pcm": True}, "pcm: true needs .*min_pool.*ecr"),
        ({"min_pool": False, "siamese": False, "pcm": True}, "pcm: true needs .*min_pool.*ecr"),
    ],
)
def test_infeasible_combinations_are_refused(values: dict[str, bool], said: str) -> None:
    with pytest.raises(InputError, match=said):
        config(**values)


def test_parts_go_off_with_what_they_need() -> None:
    alone = config(siamese=False)
    assert (alone.er, alone.ecr, alone.ohem) == (False, False, False)
    assert alone.pcm
    plain = config(pcm=False)
    assert (plain.prcm, plain.ecr, plain.ohem, plain.er) == (False, False, False, True)


def test_an_untrained_head_gives_no_headline() -> None:
    for untrained in (config(min_pool=False, ecr=False), config(min_pool=False, siamese=False)):
        assert (untrained.pcm, untrained.prcm, untrained.headline) == (False, False, "raw")
    # A composed pair compares raw maps only.
    assert not config(min_pool=False, ecr=False, pair=True).pcm
    assert config(min_pool=False).headline == config(ecr=False).headline == "refined"


SAME = [
    ({"siamese": False}, {"siamese": False, "scale": 0.5, "w_er": 2.0, "onehot": "none"}),
    ({"er": False}, {"er": False, "w_er": 2.0}),
    ({"ecr": False}, {"ecr": False, "w_ecr": 2.0, "onehot": "code"}),
    ({"pcm": False}, {"pcm": False, "min_pool": False, "pcm_stride": 2, "centre_features": True}),
    ({}, {"prcm_layout": "code", "lam": "cells", "p_h": 0.1}),
    ({"er": False, "ecr": False}, {"er": False, "ecr": False, "ramp": 0.9}),
    ({"ecr": False, "min_pool": False}, {"ecr": False, "pcm": False}),
]


@pytest.mark.parametrize(("one", "two"), SAME)
def test_settings_that_cannot_matter_are_not_part_of_the_id(
    one: dict[str, Any], two: dict[str, Any]
) -> None:
    assert config(**one).active() == config(**two).active()
    assert terms(0.3, **one) == terms(0.3, **two)


DIFFERENT = [
    *({part: False} for part in PARTS),
    {"prcm": True},
    {"scale": 0.5},
    {"onehot": "code"},
    {"onehot": "none"},
    {"w_er": 0.5},
    {"w_ecr": 0.5},
    {"ramp": 0.9},
    {"loss_size": "map"},
    {"centre_features": True},
    {"pcm_stride": 2},
]


@pytest.mark.parametrize("values", DIFFERENT)
def test_every_switch_changes_the_loss_and_the_id(values: dict[str, Any]) -> None:
    assert config(**values).active() != config().active()
    assert terms(0.5, **values)["loss"] != terms(0.5)["loss"]


def test_the_total_is_the_weighted_sum_of_the_terms_that_are_on() -> None:
    found = terms(0.25, w_er=2.0, w_ecr=0.5, ramp=0.5)
    wanted = found["cls"] + found["min_pool"] + 0.5 * (2 * found["er"] + 0.5 * found["ecr"])
    assert found["loss"] == pytest.approx(wanted, rel=1e-5)
    assert set(found) == {"loss", "cls", "min_pool", "er", "ecr"}
    assert set(terms(pcm=False)) == {"loss", "cls", "er"}
    assert set(terms(siamese=False, min_pool=False)) == {"loss", "cls"}


def test_two_equal_images_are_equivariant() -> None:
    found = terms(scale=1.0)
    assert found["er"] == 0
    assert found["ecr"] > 0
    assert found["cls"] == pytest.approx(terms(siamese=False)["cls"], rel=1e-6)


def test_the_branch_is_masked_normalised_and_at_the_smaller_size() -> None:
    settings, data = config(), batch()
    with torch.no_grad():
        found = network(settings)(data.images)
        maps = seam.branch(found, data.labels, (40, 40), (12, 12))
    assert maps.refined is not None
    assert maps.raw.shape == (3, 3, 12, 12)
    assert maps.refined.shape == (3, 4, 12, 12)
    absent = data.labels == 0
    assert not maps.raw[absent].any()
    assert not maps.refined[:, 1:][absent].any()
    assert maps.refined[:, 0].any()  # the background map is no label's
    for part in (maps.raw, maps.refined):
        assert part.min() >= 0
        assert part.max() <= 1
    # Normalised first, at the image's size, then made smaller.
    wanted = resize(max_norm(resize(found.scores, (40, 40))), (12, 12))[~absent]
    torch.testing.assert_close(maps.raw[~absent], wanted)


def test_ecr_by_hand() -> None:
    torch.manual_seed(0)
    targets, refined = torch.rand(2, 2, 4, 5, 5).unbind(), torch.rand(2, 2, 4, 5, 5).unbind()
    wanted = 0.0
    for target, other in zip(targets, refined, strict=True):
        foreground = target[:, 1:]
        kept = torch.where(foreground == foreground.amax(1, keepdim=True), foreground, 0)
        error = (torch.cat([target[:, :1], kept], 1) - other).abs().flatten(1)
        wanted += error.sort(1, descending=True).values[:, :20].mean().item()
    found = losses.cross(targets, refined, rule="seam", ohem=True)  # type: ignore[arg-type]
    assert found.item() == pytest.approx(wanted, rel=1e-5)


def test_gradients_flow_where_the_paper_says() -> None:
    head = {"correlation.low.weight", "correlation.high.weight", "correlation.g.weight"}
    # The refined maps train the correlation head alone: PCM's inputs and ECR's targets are cut.
    assert reached("ecr") == head
    assert reached("min_pool") == head
    assert reached("ecr", prcm=True) == head | {"correlation.phi.weight"}
    # The raw maps train everything else.
    for term in ("cls", "er"):
        found = reached(term)
        assert not found & head
        assert "classifier.weight" in found
        assert any(name.startswith("backbone.") for name in found)


def test_both_images_train_the_raw_maps() -> None:
    settings, data = config(), batch()
    net = network(settings)
    small = seam.smaller(data.images, settings.scale)
    first, second = (
        seam.branch(net(view), data.labels, (s, s), (12, 12))
        for view, s in ((data.images, 40), (small, 12))
    )
    one, other = (
        torch.autograd.grad(maps.raw.sum(), net.classifier.weight)[0] for maps in (first, second)
    )
    assert one.any()
    assert other.any()


def test_nothing_supervises_the_background_score() -> None:
    settings = config()
    net = network(settings)
    seam.losses(net, batch(), settings, 1.0)["loss"].backward()
    grad = net.classifier.weight.grad
    assert grad is not None
    assert grad[1:].any()
    assert not grad[0].any()


def test_without_its_parts_it_is_the_baseline() -> None:
    settings = config(siamese=False, pcm=False, loss_size="map")
    net = network(settings)
    base = cam.CamNet("small", 4).eval()
    state = net.state_dict()
    base.load_state_dict({**state, "classifier.weight": state["classifier.weight"][1:]})
    baseline = make_config({**VALUES, "method": "cam"})
    assert isinstance(baseline, cam.CamConfig)
    torch.testing.assert_close(
        seam.losses(net, batch(), settings, 0)["loss"],
        cam.losses(base, batch(), baseline, 0)["loss"],
    )


def test_pairs_and_gsc_can_be_added() -> None:
    settings = config(pair=True, patches="grid", gsc=True)
    net = network(settings)
    found = compose.losses(seam.METHOD, net, batch(), settings, 1.0)
    assert {"er", "ecr", "pair_cls", "tcp", "gsc"} <= set(found)
    plain = compose.losses(seam.METHOD, net, batch(), config(gsc=True), 1.0)
    assert found["loss"].item() != pytest.approx(plain["loss"].item())


def test_a_few_steps_make_the_loss_fall() -> None:
    settings = config()
    net = network(settings)
    optimiser = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 0.1, 0.9)
    seen = []
    for _ in range(8):
        value = seam.losses(net, batch(), settings, 1.0)["loss"]
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        seen.append(value.item())
    assert seen[-1] < 0.95 * seen[0]
