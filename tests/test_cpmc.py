from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from camsweep.methods import compose, context, cpmc
from camsweep.methods.base import Batch, make_config
from camsweep.methods.ipe import prototype_features
from camsweep.methods.prototypes import class_maps
from camsweep.shards.errors import InputError

VALUES: dict[str, Any] = {"method": "cpmc", "backbone": "small", "pretrain": "none", "crop": 32}


def config(**values: Any) -> cpmc.CpmcConfig:
    made = make_config({**VALUES, **values})
    assert isinstance(made, cpmc.CpmcConfig)
    return made


def batch(valid: Tensor | None = None) -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = 0.1 * torch.randn(3, 3, 32, 32, generator=generator)
    # Things to see, so that some places are unlike others.
    images[:, :, 8:20, 4:16] += 2 * torch.randn(3, 3, 1, 1, generator=generator)
    images[:, :, 16:28, 16:28] += 2 * torch.randn(3, 3, 1, 1, generator=generator)
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 1, 0]])
    return Batch(images, labels, None, torch.Generator(), valid)


def network(settings: cpmc.CpmcConfig) -> nn.Module:
    torch.manual_seed(1)
    return compose.build(cpmc.METHOD, settings, 4).eval()


def losses(valid: Tensor | None = None, **values: Any) -> dict[str, float]:
    settings = config(**values)
    found = compose.losses(cpmc.METHOD, network(settings), batch(valid), settings, 0.5)
    return {name: value.item() for name, value in found.items()}


def joint(net: Any, images: Tensor, labels: Tensor, settings: Any) -> dict[str, Tensor]:
    return cpmc.joint_maps(net, images, net(compose.views(images, settings)), labels, settings)


def refined(**values: Any) -> Tensor:
    settings = config(**values)
    with torch.no_grad():
        made = joint(network(settings), batch().images, batch().labels, settings)
    return made["refined"]


def calibrated(settings: cpmc.CpmcConfig, given: Batch | None = None) -> cpmc.Calibrated:
    net, given = network(settings), given or batch()
    out = given.output(net)
    parts = (out.scores, prototype_features(net, out, settings), out.features.last)
    return cpmc.calibrate(net, given.images, parts, given.labels, settings, given.valid)


def test_its_title_says_that_it_is_our_reading() -> None:
    assert "our reading" in cpmc.METHOD.title
    assert "our reading" in (cpmc.__doc__ or "")


def test_defaults_are_the_recipe_of_sipe() -> None:
    made = make_config({"method": "cpmc"})
    assert isinstance(made, cpmc.CpmcConfig)
    assert (made.backbone, made.crop, made.batch, made.epochs) == ("resnet50", 512, 16, 5)
    assert (made.lr, made.clip_norm, made.normalise) == (0.1, 1.0, "max")
    assert (made.refine_steps, made.t_high, made.t_low, made.gamma) == (2, 0.5, 0.25, 0.5)
    assert (made.gsc, made.proto_features, made.map_names()) == (
        True,
        "hierarchical",
        ("raw", "refined"),
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"ipe": True}, "ipe: true is not for cpmc"),
        ({"t_low": 0.6}, "t_low must be at most t_high"),
        ({"gsc": False, "context": "learned"}, "context: learned needs gsc: true"),
        ({"refine_steps": -1}, "greater than or equal to 0"),
        ({"global_prototype": False, "gsc": True}, "gsc: true needs global_prototype: true"),
        (
            {"global_prototype": False, "false_positives": True},
            "false_positives: true needs global_prototype: true",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        config(**values)


def test_parts_go_off_with_what_they_need() -> None:
    alone = config(global_prototype=False)
    assert (alone.false_negatives, alone.false_positives, alone.gsc) == (False, False, False)
    assert alone.refines
    assert not config(global_prototype=False, refine_steps=0).refines
    # Nothing trains the hierarchical feature without the mutual loss.
    assert config(gsc=False).proto_features == "semantic"


def test_settings_that_matter_to_nothing_are_not_refused() -> None:
    assert config(t_low=0.6, false_negatives=False).t_low == 0.6
    assert config(t_low=0.6, global_prototype=False).t_low == 0.6
    assert config(gsc=False, context="learned", refine_steps=0).context == "learned"


SAME: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {"refine_steps": 0},
        {"refine_steps": 0, "tau": 0.5, "context": "learned"},
    ),
    ({"false_negatives": False}, {"false_negatives": False, "t_high": 0.9}),
    ({"false_positives": False}, {"false_positives": False, "gamma": 2.0}),
    (
        {"false_negatives": False, "false_positives": False},
        {"false_negatives": False, "false_positives": False, "t_low": 0.1, "min_region": 1},
    ),
    (
        {"global_prototype": False},
        {"global_prototype": False, "gamma": 1.0, "background_weight": 0.9, "seeds": "structure"},
    ),
    ({"gsc": False}, {"gsc": False, "w_gsc": 3.0}),
    ({}, {"seed_threshold": 0.7, "seed_features": "semantic"}),
    ({"seeds": "threshold"}, {"seeds": "threshold", "background_weight": 0.9}),
    ({"global_prototype": False}, {"global_prototype": False, "w_prototype": 0.1}),
]


@pytest.mark.parametrize(("one", "two"), SAME)
def test_settings_that_cannot_matter_are_not_part_of_the_id(
    one: dict[str, Any], two: dict[str, Any]
) -> None:
    assert config(**one).active() == config(**two).active()
    assert losses(**one) == losses(**two)
    torch.testing.assert_close(refined(**one), refined(**two), rtol=0, atol=0)


# (what both have, what one has)
DIFFERENT: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"refine_steps": 0}),
    ({}, {"refine_steps": 1}),
    ({}, {"tau": 0.2}),
    ({}, {"context": "learned"}),
    ({"refine_steps": 0, "t_low": 0.5}, {"false_negatives": False}),
    ({}, {"false_positives": False}),
    ({}, {"gamma": 2.0}),
    ({"refine_steps": 0, "false_positives": False, "t_low": 0.45}, {"t_high": 0.999}),
    ({}, {"t_low": 0.5}),
    ({}, {"min_region": 60}),
    ({}, {"seeds": "structure"}),
    ({}, {"background_weight": 0.9}),
    ({}, {"bpm": False}),
    ({}, {"gsc": False}),
    ({}, {"w_gsc": 2.0}),
    ({"refine_steps": 0}, {"attenuation": 0.5}),
]


@pytest.mark.parametrize(("base", "change"), DIFFERENT)
def test_every_switch_changes_the_loss_and_the_id(
    base: dict[str, Any], change: dict[str, Any]
) -> None:
    assert config(**base, **change).active() != config(**base).active()
    assert losses(**base, **change)["loss"] != losses(**base)["loss"]


def test_the_context_is_made_of_the_prototypes_features_without_prototypes_too() -> None:
    values = {"global_prototype": False, "tau": 0.2}
    assert config(**values, proto_features="levels").active() != config(**values).active()
    assert not torch.allclose(refined(**values, proto_features="levels"), refined(**values))
    nothing = config(global_prototype=False, refine_steps=0)
    assert "proto_features" in nothing.inactive()


def test_no_step_of_refinement_leaves_the_classifiers_map() -> None:
    settings = config(refine_steps=0)
    given = batch()
    out = given.output(network(settings))
    found = calibrated(settings)
    torch.testing.assert_close(found.classifier, class_maps(out.scores, given.labels))


def test_calibrated_maps_complete_and_suppress() -> None:
    prototype = torch.tensor([0.2, 1.0, 0.6])[None, None, None]
    missed = torch.tensor([0.9, 0.1, 0.0])[None, None, None]
    leaked = torch.tensor([0.0, 0.0, 1.0])[None, None, None]
    plain = context.calibrated_maps(prototype, None, None, 0.5)
    torch.testing.assert_close(plain, prototype, atol=1e-4, rtol=0)
    both = context.calibrated_maps(prototype, missed, leaked, 0.5).flatten()
    torch.testing.assert_close(both, torch.tensor([0.9, 1.0, 0.1]), atol=1e-4, rtol=0)
    assert context.calibrated_maps(prototype, None, leaked, 4.0).min() == 0


def test_maps_lie_within_labels_and_picture() -> None:
    valid = torch.ones(3, 32, 32, dtype=torch.bool)
    valid[0, :, 16:] = False
    with torch.no_grad():
        found = calibrated(config(), batch(valid))
    assert found.prototype is not None
    for maps in found:
        assert maps.min() >= 0
        assert maps.max() <= 1
        assert not maps[0, :, :, 4:].any()
        assert maps[0, 1, :, :4].any()
        assert not maps[:, 1:][batch().labels == 0].any()


def test_the_gradient_is_that_of_both_one_sided_terms() -> None:
    settings = config()
    net, given = network(settings), batch()
    parameters = [p for p in net.parameters() if p.requires_grad]

    def gradients(value: Tensor) -> list[Tensor]:
        made = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
        return [
            torch.zeros_like(p) if g is None else g for p, g in zip(parameters, made, strict=True)
        ]

    out = given.output(net)
    parts = (out.scores, prototype_features(net, out, settings), out.features.last)
    one, two = cpmc.calibrate(net, given.images, parts, given.labels, settings)
    assert two is not None
    mutual = (one - two.detach()).abs().mean() + (one.detach() - two).abs().mean()
    ours = cpmc.losses(net, given, settings, 0.0)["mutual"]
    for found, wanted in zip(gradients(ours), gradients(mutual), strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(
    ("kind", "trained"),
    [
        ("features", {"backbone", "classifier"}),
        ("learned", {"backbone", "classifier", "context"}),
    ],
)
def test_gradients_reach_what_each_side_trains(kind: str, trained: set[str]) -> None:
    settings = config(context=kind)
    net = network(settings)
    found = calibrated_on(net, settings)
    assert found.prototype is not None
    found.prototype.sum().backward()
    assert reached(net) == {"hierarchy"}
    net.zero_grad()
    calibrated_on(net, settings).classifier.sum().backward()
    assert reached(net) == trained


def calibrated_on(net: nn.Module, settings: cpmc.CpmcConfig) -> cpmc.Calibrated:
    given = batch()
    out = given.output(net)
    parts = (out.scores, prototype_features(net, out, settings), out.features.last)
    return cpmc.calibrate(net, given.images, parts, given.labels, settings)


def reached(net: nn.Module) -> set[str]:
    return {
        name.split(".")[0]
        for name, p in net.named_parameters()
        if p.grad is not None and p.grad.any()
    }


def test_terms() -> None:
    found = losses(w_gsc=2.0)
    assert set(found) == {"loss", "cls", "mutual"}
    assert found["loss"] == pytest.approx(found["cls"] + 2 * found["mutual"], rel=1e-6)
    # SIPE's consistency is not added on top of it.
    assert set(losses(gsc=False)) == {"loss", "cls"}


def test_maps_at_test_time() -> None:
    assert refined().shape == (3, 4, 8, 8)
    alone = refined(w_prototype=0.0)
    torch.testing.assert_close(refined() - alone, 0.7 * (refined(w_prototype=1.0) - alone))
    nothing = config(global_prototype=False, refine_steps=0)
    assert joint(network(nothing), batch().images, batch().labels, nothing) == {}
    # A mirrored picture has the mirrored maps, as both views are looked at together.
    settings = config()
    net, given = network(settings), batch()
    with torch.no_grad():
        one = joint(net, given.images, given.labels, settings)["refined"]
        two = joint(net, given.images.flip(-1), given.labels, settings)["refined"]
    assert (one - two.flip(-1)).abs().mean() < (one - two).abs().mean()


def test_the_stage_of_its_parts_follows_the_mutual_loss() -> None:
    assert config().stages_now()["gamma"] == config().stages_now()["refine_steps"] == "train"
    assert config(gsc=False).stages_now()["gamma"] == "localize"
    assert config(gsc=False).stages_now()["refine_steps"] == "localize"
    # One network for all that are localized from one training.
    keys = [set(network(config(gsc=False, refine_steps=t)).state_dict()) for t in (0, 2)]
    assert keys[0] == keys[1]
