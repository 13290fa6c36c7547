"""SIPE: its recipe, and that it trains."""

from __future__ import annotations

from typing import Any

import torch

from camsweep.methods import compose
from camsweep.methods.backbones import freeze_batch_norm
from camsweep.methods.base import Batch, load_method, make_config
from camsweep.methods.optimise import make_optimiser
from camsweep.methods.sipe import SipeConfig

SMALL: dict[str, Any] = {"backbone": "small", "pretrain": "none"}


def config(**values: Any) -> SipeConfig:
    made = make_config({"method": "sipe", **values})
    assert isinstance(made, SipeConfig)
    return made


def test_defaults_are_the_published_settings() -> None:
    made = config()
    assert (made.ipe, made.gsc, made.w_gsc, made.bpm) == (True, True, 1.0, True)
    assert (made.seeds, made.attenuation, made.background_weight) == ("structure", 1.0, 0.5)
    assert (made.proto_features, made.seed_features) == ("hierarchical", "hierarchical")
    assert (made.backbone, made.crop, made.resize_min, made.resize_max) == (
        "resnet50",
        512,
        320,
        640,
    )
    assert (made.batch, made.epochs, made.lr, made.lr_new_factor) == (16, 5, 0.1, 10.0)
    assert (made.weight_decay, made.momentum, made.poly_power) == (1e-4, 1e-4, 0.9)
    assert (made.clip_norm, made.jitter, made.flip) == (1.0, (0.0, 0.0, 0.0, 0.0), True)
    assert (made.bias_lr_factor, made.bias_decay) == (1.0, True)
    assert (sorted(made.scales), made.flip_test) == ([0.5, 1.0, 1.5, 2.0], True)
    assert (made.normalise, made.headline, made.pseudo_labels) == ("max", "is_cam", "estimated")


def test_the_rest_is_the_baselines_recipe() -> None:
    """Table 4's rows differ by IPE and GSC, and by the clipping that came with SIPE."""
    base = make_config({"method": "cam", "form": "resnet50"}).model_dump()
    ours = config().model_dump()
    differs = {name for name in base.keys() & ours.keys() if base[name] != ours[name]}
    assert differs == {"method", "ipe", "gsc", "clip_norm", "proto_features", "seed_features"}


def test_without_gsc_it_is_the_classification_network() -> None:
    torch.manual_seed(0)
    data = torch.randn(2, 3, 32, 32), torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    values = []
    for made in (config(gsc=False, **SMALL), make_config({"method": "cam", **SMALL})):
        method = load_method(made.method)
        torch.manual_seed(1)
        net = compose.build(method, made, 4).eval()  # type: ignore[arg-type]
        batch = Batch(*data, None, torch.Generator())
        values.append(compose.losses(method, net, batch, made, 0.0))  # type: ignore[arg-type]
    assert set(values[0]) == {"loss", "cls"}
    assert values[0]["loss"].item() == values[1]["loss"].item()


def test_both_losses_fall_on_one_batch() -> None:
    settings = config(lr=0.02, **SMALL)
    method = load_method("sipe")
    torch.manual_seed(0)
    net = freeze_batch_norm(compose.build(method, settings, 4).train())
    images, labels = torch.randn(4, 3, 48, 48), torch.eye(4)[:, :3]
    images += labels.sum(1)[:, None, None, None] * torch.randn(4, 3, 6, 6).repeat_interleave(
        8, 2
    ).repeat_interleave(8, 3)
    optimiser = make_optimiser(net, settings)
    history = []
    for _ in range(25):
        terms = compose.losses(
            method, net, Batch(images, labels, None, torch.Generator()), settings, 0.0
        )
        history.append({name: value.item() for name, value in terms.items()})
        optimiser.zero_grad()
        terms["loss"].backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), settings.clip_norm)
        optimiser.step()
    assert history[-1]["loss"] < 0.9 * history[0]["loss"]
    assert history[-1]["gsc"] < history[0]["gsc"]
