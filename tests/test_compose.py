"""Components that any method can switch on: complementary pairs, prototypes, consistency."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from camsweep.methods import compose
from camsweep.methods.base import Batch, load_method, make_config, method_names
from camsweep.methods.training import build_net
from camsweep.sweeps.identity import stage_ids

VALUES: dict[str, Any] = {
    "backbone": "small",
    "pretrain": "none",
    "loss_size": "map",
    "patches": "grid",
}
COMPONENTS: dict[str, dict[str, Any]] = {
    "pair": {"pair": True},
    "gsc": {"gsc": True, "ipe": True},
}
PAIRED = [name for name in method_names() if "pair" not in load_method(name).owns]


def batch(n: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(n, 3, 48, 48, generator=generator)
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0]])[:n]
    valid = torch.ones(n, 48, 48, dtype=torch.bool)
    return Batch(images, labels, None, generator, valid)


def terms(name: str, given: Batch, **values: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    config: Any = make_config({"method": name, **VALUES, **values})
    method = load_method(name)
    net = build_net(method, config, 4, None)
    return net, compose.losses(method, net, given, config, 0.9)


@pytest.mark.parametrize("name", PAIRED)
def test_any_method_takes_complementary_pairs(name: str) -> None:
    net, plain = terms(name, batch())
    _, paired = terms(name, batch(), pair=True)
    assert set(paired) - set(plain) == {"pair_cls", "tcp"}
    assert set(terms(name, batch(), pair=True, tcp=False)[1]) - set(plain) == {"pair_cls"}
    added = paired["pair_cls"] + paired["tcp"]
    torch.testing.assert_close(paired["loss"], plain["loss"] + added, rtol=1e-5, atol=1e-6)
    paired["loss"].backward()
    del net


@pytest.mark.parametrize("name", ["cam", "seam", "cpn", "ppl"])
def test_any_method_takes_sipes_consistency(name: str) -> None:
    _, plain = terms(name, batch())
    net, found = terms(name, batch(), gsc=True)
    assert set(found) - set(plain) == {"gsc"}
    found["loss"].backward()
    assert all(conv.weight.grad is not None for conv in net.hierarchy.side)


def test_a_pair_of_an_image_that_hides_nothing_asks_for_nothing() -> None:
    """Two images whose pair shows everything in one half: TCP compares a map with itself."""
    given = batch(1)
    config: Any = make_config({"method": "cam", **VALUES, "pair": True, "grid_sizes": [448]})
    net = build_net(load_method("cam"), config, 4, None)
    for seed in range(8):  # one cell: the pair is (image, nothing) or (nothing, image)
        given.generator.manual_seed(seed)
        values = compose.losses(load_method("cam"), net, given, config, 0.9)
        # lambda is 1 or 0, so the weighted pair is the whole map and nothing else.
        assert values["tcp"].item() == pytest.approx(0, abs=1e-5)


def test_the_output_is_computed_once() -> None:
    config: Any = make_config({"method": "cam", **VALUES, "pair": True, "gsc": True})
    net = build_net(load_method("cam"), config, 4, None)
    calls = []
    net.register_forward_hook(lambda module, inputs, output: calls.append(len(inputs[0])))
    compose.losses(load_method("cam"), net, batch(), config, 0.5)
    assert calls == [2, 4]  # the batch, and both halves of its pairs


def test_components_that_are_off_leave_the_ids_alone() -> None:
    def train_id(**values: Any) -> str:
        config = make_config({"method": "cam", **VALUES, **values})
        return stage_ids(config, "d")["train"]

    plain = train_id()
    assert train_id(p_h=0.1, w_tcp=3, w_gsc=2) == plain
    assert train_id(ipe=True) == plain, "the baseline's weights, localized another way"
    assert train_id(pair=True) != plain
    assert train_id(gsc=True) != plain
    assert train_id(pair=True, p_h=0.1) != train_id(pair=True)


def test_the_resnet50_form_is_a_recipe_that_a_profile_overrules() -> None:
    published = make_config({"method": "cam", "form": "resnet50"})
    assert (published.backbone, published.crop, published.lr) == ("resnet50", 512, 0.1)
    assert (published.bias_lr_factor, published.bias_decay) == (1.0, True)
    one, two = (
        make_config({"method": "cam", **VALUES, "crop": 96, "lr": 0.01, **form})
        for form in ({}, {"form": "resnet50"})
    )
    assert (two.backbone, two.crop, two.lr) == ("small", 96, 0.01)
    assert (one.batch, two.batch) == (8, 16)


def test_both_forms_share_their_training_where_a_profile_sets_all_of_it() -> None:
    values = VALUES | dict.fromkeys(("crop", "resize_max"), 96) | {
        "resize_min": 96, "epochs": 2, "batch": 4, "lr": 0.01, "momentum": 0.9, "jitter": [0] * 4,
        "weight_decay": 0.0,
    }  # fmt: skip
    one, two = (
        stage_ids(make_config({"method": "cam", **values, **form}), "d")
        for form in ({}, {"form": "resnet50"})
    )
    assert one["train"] == two["train"], "no bias of the small network learns"
    assert one["localize"] != two["localize"]


def test_naming_the_final_map_changes_nothing() -> None:
    def trial_id(**values: Any) -> str:
        return stage_ids(make_config({"method": "seam", **VALUES, **values}), "d")["evaluate"]

    assert trial_id(map="refined") == trial_id()
    assert trial_id(map="is_cam") == trial_id(), "SEAM makes none, so its final map it is"
    assert trial_id(map="raw") != trial_id()


@pytest.mark.parametrize("on", [True, 1, "true"])
@pytest.mark.parametrize("off", [False, 0, "false"])
def test_parts_follow_however_a_switch_is_written(on: Any, off: Any) -> None:
    config: Any = make_config({"method": "sipe", **VALUES, "gsc": on})
    assert (config.gsc, config.proto_features) == (True, "hierarchical")
    config = make_config({"method": "sipe", **VALUES, "gsc": off})
    assert (config.gsc, config.proto_features) == (False, "semantic")
    config = make_config({"method": "cpn", **VALUES, "pair": off})
    assert (config.pair, config.tcp, config.cpcr) == (False, False, False)


def test_no_superpixels_are_asked_for_where_nothing_is_trained() -> None:
    values = {"method": "cpn", "backbone": "small", "pretrain": "none"}
    assert make_config(values).superpixels() is not None
    assert make_config({**values, "epochs": 0}).superpixels() is None


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"tcp": True}, "tcp: true needs pair: true"),
        ({"method": "seam", "ecr": True, "pcm": False}, "ecr: true needs pcm: true"),
    ],
)
def test_infeasible_combinations_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(Exception, match=said):
        make_config({"method": "cam", **VALUES, **values})
