"""IPE and GSC as components: settings, what they attach, the loss term and the IS-CAMs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from camsweep.methods import compose
from camsweep.methods.base import Batch, Output, load_method, make_config
from camsweep.methods.compose import ComposedConfig
from camsweep.methods.ipe import gsc_term, own_background, prototype_cams, prototype_localize
from camsweep.methods.normalize import normalise_test
from camsweep.methods.prototypes import class_maps, class_mask
from camsweep.shards.errors import InputError

LABELS = torch.tensor([[1.0, 0, 1], [0, 1, 0]])


def config(method: str = "sipe", **values: Any) -> ComposedConfig:
    made = make_config({"method": method, "backbone": "small", "pretrain": "none", **values})
    assert isinstance(made, ComposedConfig)
    return made


def network(settings: ComposedConfig) -> nn.Module:
    torch.manual_seed(1)
    return compose.build(load_method(settings.method), settings, 4).eval()


def pictures(side: int) -> Tensor:
    """Flat coloured blocks, so that a random network's features differ by place."""
    torch.manual_seed(0)
    blocks = torch.nn.functional.interpolate(8 * torch.randn(2, 3, 4, 4), (side, side))
    return blocks + torch.randn(2, 3, side, side)


def batch(valid: Tensor | None = None) -> Batch:
    return Batch(pictures(32), LABELS, None, torch.Generator(), valid)


def losses(settings: ComposedConfig, net: nn.Module | None = None) -> dict[str, Tensor]:
    net = network(settings) if net is None else net
    return compose.losses(load_method(settings.method), net, batch(), settings, 0.5)


def learned(net: nn.Module) -> set[str]:
    """First parts of the names of parameters with a gradient other than 0."""
    return {
        name.split(".")[0]
        for name, p in net.named_parameters()
        if p.grad is not None and p.grad.abs().max() > 0
    }


def test_features_follow_what_trains_them() -> None:
    both = config()
    assert (both.proto_features, both.seed_features) == ("hierarchical", "hierarchical")
    plain = config("cam", ipe=True)
    assert (plain.proto_features, plain.seed_features) == ("semantic", "semantic")
    assert config(gsc=False).proto_features == "semantic"
    assert config(proto_features="semantic").seed_features == "semantic"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"gsc": False, "proto_features": "hierarchical"}, "needs gsc: true"),
        (
            {"proto_features": "semantic", "seed_features": "hierarchical"},
            "needs proto_features: hierarchical",
        ),
        ({"seeds": "kmeans"}, "seeds"),
        ({"attenuation": 0.0}, "attenuation"),
    ],
)
def test_infeasible_settings_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        config(**values)


def stage_values(settings: ComposedConfig, stages: set[str]) -> dict[str, Any]:
    found = settings.stages_now()
    return {name: v for name, v in settings.active().items() if found[name] in stages}


def test_ipe_alone_leaves_the_training_as_it_is() -> None:
    base = config("cam", form="resnet50")
    early = {"pretrain", "train"}
    for values in ({}, {"seeds": "argmax"}, {"bpm": False}, {"background_weight": 0.3}):
        other = config("cam", form="resnet50", ipe=True, **values)
        assert stage_values(other, early) == stage_values(base, early)
        assert stage_values(other, {"localize"}) != stage_values(base, {"localize"})
    changed = config(seeds="argmax")
    assert stage_values(changed, early) != stage_values(config(), early)
    assert set(network(config("cam", ipe=True)).state_dict()) == set(
        network(config("cam")).state_dict()
    )


@pytest.mark.parametrize(
    ("values", "same"),
    [
        ({"method": "cam", "seeds": "argmax", "bpm": False, "attenuation": 0.5}, {"method": "cam"}),
        ({"seed_threshold": 0.5}, {}),
        ({"seeds": "argmax", "background_weight": 0.1}, {"seeds": "argmax"}),
        (
            {"method": "cam", "ipe": True, "seeds": "threshold", "attenuation": 0.5},
            {"method": "cam", "ipe": True, "seeds": "threshold"},
        ),
        (
            {"proto_features": "semantic", "train_seed_features": "prototypes"},
            {"proto_features": "semantic"},
        ),
        ({"method": "cam", "train_seed_features": "prototypes"}, {"method": "cam"}),
        ({"ipe": False, "pseudo_labels": "threshold"}, {"ipe": False}),
    ],
)
def test_fields_without_effect_do_not_count(values: dict[str, Any], same: dict[str, Any]) -> None:
    assert config(**values).active() == config(**same).active()


@pytest.mark.parametrize(
    "values",
    [
        {"seeds": "argmax"},
        {"attenuation": 0.5},
        {"background_weight": 0.7},
        {"bpm": False},
        {"seeds": "threshold", "seed_threshold": 0.1},
        {"proto_features": "semantic"},
        {"proto_features": "levels"},
        {"train_seed_features": "prototypes", "background_weight": 0.7},
        {"w_gsc": 0.5},
    ],
)
def test_fields_with_an_effect_count_and_have_it(values: dict[str, Any]) -> None:
    base = {"seeds": "threshold"} if "seed_threshold" in values else {}
    if "train_seed_features" in values:
        base = {"background_weight": values["background_weight"]}
    assert config(**values).active() != config(**base).active()
    ours, other = (losses(config(**v))["loss"] for v in (values, base))
    assert ours.item() != other.item()


def test_seed_features_count_at_test_time() -> None:
    found = []
    for kind in ("hierarchical", "semantic", "levels"):
        settings = config(seed_features=kind, background_weight=0.7, flip_test=False)
        net = network(settings)
        cams = prototype_localize(net, net(pictures(64)), LABELS, settings)
        found.append(cams["is_cam"])
    assert not any(torch.equal(found[i], found[i - 1]) for i in range(3))


def test_attach_adds_the_hierarchy_only_where_it_is_used() -> None:
    with_gsc, without = network(config()), network(config(gsc=False))
    extra = set(with_gsc.state_dict()) - set(without.state_dict())
    assert extra == {f"hierarchy.side.{i}.weight" for i in range(4)}
    assert all(torch.equal(with_gsc.state_dict()[k], v) for k, v in without.state_dict().items())
    semantic = network(config(proto_features="semantic")).state_dict()
    assert set(semantic) == set(without.state_dict())


def test_gsc_is_the_mean_distance_of_both_maps() -> None:
    settings, data = config(), batch()
    net = network(settings)
    with torch.no_grad():
        out: Output = data.output(net)
        maps = class_maps(out.scores, LABELS)
        features = net.hierarchy(out.features.levels)  # type: ignore[operator]
        found = prototype_cams(maps, out.features.last, features, class_mask(LABELS), settings)
        cams = normalise_test(found.maps, "max")
        wanted = (maps - cams).abs().sum() / (2 * 4 * cams[0, 0].numel())
        value = gsc_term(net, out, data, settings)
    assert value.item() == pytest.approx(wanted.item(), rel=1e-5)
    terms = losses(settings, net)
    assert terms["gsc"].item() == pytest.approx(value.item(), rel=1e-5)
    assert terms["loss"].item() == pytest.approx((terms["cls"] + value).item(), rel=1e-5)


def test_gradients_of_gsc() -> None:
    """Class maps carry it to the classifier and backbone, IS-CAMs to the hierarchy alone."""
    settings = config()
    net = network(settings)
    gsc_term(net, batch().output(net), batch(), settings).backward()
    assert learned(net) == {"backbone", "classifier", "hierarchy"}

    net.zero_grad(set_to_none=True)
    out: Output = batch().output(net)
    gsc_term(net, out._replace(scores=out.scores.detach()), batch(), settings).backward()
    assert learned(net) == {"hierarchy"}

    semantic = config(proto_features="semantic")
    net = network(semantic)
    out = batch().output(net)
    gsc_term(net, out._replace(scores=out.scores.detach()), batch(), semantic).backward()
    assert learned(net) == {"backbone"}

    levels = config(proto_features="levels")
    net = network(levels)
    gsc_term(net, batch().output(net), batch(), levels).backward()
    assert learned(net) == {"backbone", "classifier"}
    out = batch().output(net)
    value = gsc_term(net, out._replace(scores=out.scores.detach()), batch(), levels)
    assert not value.requires_grad


def test_padding_has_no_class_map_and_gives_no_seeds() -> None:
    settings = config()
    net = network(settings)
    valid = torch.ones(2, 32, 32, dtype=torch.bool)
    valid[:, :, 16:] = False
    data = batch(valid)
    with torch.no_grad():
        out: Output = data.output(net)
        value = gsc_term(net, out, data, settings)
        size = (out.scores.shape[-2], out.scores.shape[-1])
        maps = class_maps(out.scores, LABELS, valid)
        features = net.hierarchy(out.features.levels)  # type: ignore[operator]
        mask = class_mask(LABELS, valid, size)
        found = prototype_cams(maps, out.features.last, features, mask, settings)
    half = size[1] // 2
    assert maps[..., half:].sum() == 0
    assert found.seeds[..., half:].sum() == 0
    assert found.seeds[..., :half].sum() > 0
    cams = normalise_test(found.maps, "max")
    assert cams[..., half:].sum() > 0  # compared with 0 there, as released
    assert value.item() == pytest.approx((maps - cams).abs().mean().item(), rel=1e-5)


def test_without_bpm_the_background_is_what_is_left_over() -> None:
    settings = config(bpm=False)
    torch.manual_seed(0)
    maps, features = class_maps(torch.randn(2, 3, 5, 6), LABELS), torch.randn(2, 8, 5, 6)
    found = prototype_cams(maps, features, features, class_mask(LABELS), settings)
    assert found.seeds[:, 0].sum() == 0
    assert found.seeds[:, 1:].sum() > 0
    assert (found.prototypes[:, 0] == 0).all()
    full = own_background(found.maps, settings)
    best = normalise_test(found.maps[:, 1:], "max").amax(1)
    torch.testing.assert_close(full[:, 0], 1 - best)
    assert torch.equal(full[:, 1:], found.maps[:, 1:])
    assert own_background(found.maps, config()) is found.maps


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"method": "cam", "ipe": True},
        {"method": "cam", "ipe": True, "proto_features": "levels"},
        {"seed_features": "semantic"},
        {"bpm": False},
    ],
)
def test_is_cams(values: dict[str, Any]) -> None:
    settings = config(flip_test=True, **values)
    net, data = network(settings), batch()
    with torch.no_grad():
        output, mirrored = (
            net(compose.views(images, settings)) for images in (data.images, data.images.flip(-1))
        )
        method = load_method(settings.method)
        found = compose.joint_maps(method, net, data.images, output, LABELS, settings)
        other = prototype_localize(net, mirrored, LABELS, settings)["is_cam"]
    assert list(found) == ["is_cam"]
    assert settings.map_names()[-1] == "is_cam"
    cams = found["is_cam"]
    assert cams.shape == (2, 4, 8, 8)
    assert cams.min() >= 0
    assert cams.max() <= 1 + 1e-5
    assert (cams[0, 2].sum(), cams[1, 1].sum(), cams[1, 3].sum()) == (0, 0, 0)
    # Both twins are added before the seeds, so the mirrored image has the mirrored maps.
    torch.testing.assert_close(other.flip(-1), cams, rtol=1e-4, atol=1e-5)


def test_nothing_is_made_where_ipe_is_off() -> None:
    settings = config(ipe=False)
    net = network(settings)
    images = batch().images
    output = net(compose.views(images, settings))
    assert compose.joint_maps(load_method("sipe"), net, images, output, LABELS, settings) == {}
    assert "is_cam" not in settings.map_names()


@pytest.mark.parametrize("method", ["cam", "cpn", "seam", "ppl"])
def test_any_method_takes_gsc_and_ipe(method: str) -> None:
    settings = config(method, gsc=True, ipe=True, pair=False, crop=32)
    net = network(settings)
    terms = losses(settings, net)
    assert torch.isfinite(terms["loss"])
    assert terms["gsc"] > 0
    terms["loss"].backward()
    assert "hierarchy" in learned(net)
    output = net(compose.views(batch().images, settings))
    cams = prototype_localize(net, output, LABELS, settings)["is_cam"]
    assert cams.shape[:2] == (2, 4)
