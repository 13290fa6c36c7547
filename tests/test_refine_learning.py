"""AffinityNet and IRN as tasks: their settings, their losses in parts, and a training of each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from refine_world import Squares, config_of, overlap
from torch import Tensor

from camsweep.methods.base import Batch
from camsweep.methods.inference import ClassMaps, to_input
from camsweep.methods.optimise import make_optimiser
from camsweep.methods.parts import Part, divide, drawing_for
from camsweep.methods.refine.affinity import AffinityNet
from camsweep.methods.refine.affinity_masks import spread_by_affinity
from camsweep.methods.refine.grids import CELLS, Learning, fitting_radius
from camsweep.methods.refine.irn import IrnNet
from camsweep.methods.refine.learning import cell_of, settings_of, task_of
from camsweep.methods.refine.pairs import half_disc, pair_counts, pair_labels
from camsweep.methods.refine.paths import path_offsets
from camsweep.methods.refine.pseudo import pseudo_mask
from camsweep.methods.sampling import step_generator
from camsweep.methods.task import TaskSettings
from camsweep.methods.training import EpochLog, build_net, load_net, train
from camsweep.shards.errors import DamagedSample, InputError

KINDS = ("affinity", "irn")


def test_settings_are_the_published_ones() -> None:
    shared: dict[str, Any] = {"seed": 3, "backbone": "resnet38"}
    for recipe, rate in (("psa", 0.1), ("seam", 0.01)):
        config = config_of(refine="affinity", affinity_recipe=recipe, **shared)
        assert settings_of(config) == TaskSettings(
            seed=3,
            epochs=8,
            batch=8,
            crop=448,
            lr=rate,
            jitter=(0.3, 0.3, 0.3, 0.1),
            lr_new_factor=10,
            momentum=5e-4,
            weight_decay=5e-4,
            extra=Learning("resnet38", 8, 5),
        )
    for recipe in ("irn", "sipe"):
        own = {"ipe": True, "pseudo_labels": "estimated", "normalise": "max"}
        config = config_of(refine="irn", irn_recipe=recipe, seed=3, backbone="resnet50", **own)
        assert settings_of(config) == TaskSettings(
            seed=3,
            epochs=3,
            batch=32,
            crop=512,
            lr=0.1,
            rescale=(0.5, 1.5),
            lr_factors=(("fc_edge", 1.0), ("fc_dp", 10.0)),
            momentum=1e-4,
            weight_decay=1e-4,
            bias_lr_factor=1,
            bias_decay=True,
            extra=Learning("resnet50", 4, 10),
        )


@pytest.mark.parametrize("kind", KINDS)
def test_a_config_may_set_its_own_numbers(kind: str) -> None:
    config = config_of(
        refine=kind,
        affinity_epochs=2,
        affinity_batch=4,
        affinity_crop=96,
        affinity_lr=0.5,
        precision="bf16",
    )
    found = settings_of(config)
    assert (found.epochs, found.batch, found.crop, found.lr) == (2, 4, 96, 0.5)
    assert found.precision == "bf16"
    assert found.extra.network == "small"
    net = build_net(task_of(config), found, 3, None)
    rates = {group["lr"] for group in make_optimiser(net, found).param_groups}
    assert rates == {0.5, 5.0}


@pytest.mark.parametrize(("kind", "network"), [(k, n) for k in KINDS for n in CELLS[k]])
def test_grids_are_those_of_the_networks(kind: str, network: str) -> None:
    if network in ("resnet38", "resnet101"):
        return  # as large as they are slow; test_affinity.py has ResNet-38's
    config = config_of(refine=kind, affinity_backbone=network, affinity_crop=64)
    net = build_net(task_of(config), settings_of(config), 3, None).eval()
    with torch.no_grad():
        found = net(torch.zeros(1, 3, 61, 64))
    grid = (found if kind == "affinity" else found[0]).shape[-2:]
    assert grid == (-(-61 // cell_of(config)), 64 // cell_of(config))
    assert net.stride == cell_of(config)
    if isinstance(net, AffinityNet):
        image, maps = torch.zeros(3, 61, 50), torch.ones(1, 61, 50)
        spread = spread_by_affinity(net, image, maps, alpha=6, beta=8, doublings=2)
        assert spread.shape == (2, 61, 50)


def test_what_cannot_be_trained_is_refused() -> None:
    with pytest.raises(ValueError, match="refine: crf trains no network"):
        task_of(config_of(refine="crf"))
    with pytest.raises(InputError, match=r"irn reads five stages; set affinity_backbone: resnet50"):
        config_of(refine="irn", affinity_backbone="resnet38")
    unchecked = config_of(refine="irn").model_copy(update={"affinity_backbone": "resnet38"})
    with pytest.raises(InputError, match=r"affinity_backbone: .* one of: resnet50, resnet101, sm"):
        settings_of(unchecked)
    for kind, crop in (("affinity", 20), ("irn", 16)):
        settings_of(config_of(refine=kind, affinity_crop=crop))
    with pytest.raises(InputError, match=r"affinity_crop: 16 pixels .* make it at least 20"):
        settings_of(config_of(refine="affinity", affinity_crop=16))
    assert fitting_radius(5, 24, 96) == 5
    assert fitting_radius(10, 24, 96) == 10
    assert fitting_radius(10, 12, 48) == 5


def step(kind: str) -> tuple[Any, Any, Tensor, Tensor]:
    config = config_of(refine=kind, affinity_batch=6, affinity_crop=48)
    net = build_net(task_of(config), settings_of(config), 3, None).train()
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(6, 3, 48, 48, generator=generator)
    side = 48 // cell_of(config)
    ids = torch.randint(0, 4, (6, 3, 3), generator=generator).int()
    ids = ids.repeat_interleave(side // 3, 1).repeat_interleave(side // 3, 2)
    ids[3] = 0  # no pair is sure
    ids[4] = 81  # of one class
    return config, net, images, ids


def gradient(kind: str, parts: list[Part]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    config, net, images, ids = step(kind)
    settings, totals = settings_of(config), dict[str, Tensor]()
    count = task_of(config).counts
    assert count is not None
    for part in parts:
        whole = len(parts) == 1
        batch = Batch(
            part.of(images),
            torch.zeros(part.count, 2),
            part.of(ids),
            step_generator(0, 0, 0),
            part=None if whole else part,
            counts=None if whole else count(ids, settings),
        )
        with drawing_for(None if whole else part, torch.device("cpu")):
            terms = task_of(config).losses(net, batch, settings, 0.5)
        (terms["loss"] * part.share).backward()
        for name, value in terms.items():
            totals[name] = totals.get(name, torch.zeros(())) + value.detach() * part.share
    return totals, {n: p.grad for n, p in net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", KINDS)
def test_parts_of_a_batch_add_up(kind: str) -> None:
    whole, wanted = gradient(kind, divide(6))
    found, grads = gradient(kind, divide(6, accumulation=3))
    assert found.keys() == whole.keys()
    assert min(whole.values()) > 0
    for name, value in whole.items():
        assert float(found[name]) == pytest.approx(float(value), rel=1e-5), name
    assert grads.keys() == wanted.keys()
    for name, value in wanted.items():
        scale = float(value.abs().max()) + 1e-6
        assert float((grads[name] - value).abs().max()) < 1e-3 * scale, name


def test_pairs_are_counted_as_they_are_labelled() -> None:
    labels = torch.tensor([0, 0, 1, 80, 255])[torch.randint(0, 5, (3, 11, 12))]
    labels[2] = 255
    offsets = half_disc(4)
    found = pair_labels(labels, offsets, 4)
    wanted = torch.stack([kind.sum((1, 2)) for kind in found], 1)
    assert torch.equal(pair_counts(labels, offsets, 4), wanted)
    assert (wanted[:2] > 0).all()
    assert sorted(half_disc(10)) == sorted(path_offsets(10))  # so that IRN's pairs are these too


def test_parts_need_the_counts_of_the_whole() -> None:
    config, net, images, ids = step("affinity")
    part = Part(0, 2, 6)
    batch = Batch(part.of(images), images, part.of(ids), step_generator(0, 0, 0), part=part)
    with pytest.raises(ValueError, match="counts of the whole"):
        task_of(config).losses(net, batch, settings_of(config), 0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_without_a_sure_pair_costs_nothing(kind: str) -> None:
    config, net, images, ids = step(kind)
    task, settings = task_of(config), settings_of(config)
    batch = Batch(images, torch.zeros(6, 2), torch.zeros_like(ids), step_generator(0, 0, 0))
    terms = task.losses(net, batch, settings, 0.0)
    assert all(value == 0 for value in terms.values())
    terms["loss"].backward()
    assert all(bool((p.grad == 0).all()) for p in net.parameters() if p.grad is not None)
    nothing = Batch(images, torch.zeros(6, 2), None, step_generator(0, 0, 0))
    with pytest.raises(ValueError, match="none were given"):
        task.losses(net, nothing, settings, 0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_trainings_with_accumulation_are_those_of_whole_batches(kind: str) -> None:
    data = Squares(4, 48)
    config = config_of(
        refine=kind, affinity_epochs=2, affinity_batch=4, affinity_crop=48, affinity_lr=0.02
    )
    task, settings = task_of(config), settings_of(config)
    labels = data.moved_labels(config, cell_of(config))
    whole, parts = list[EpochLog](), list[EpochLog]()
    wanted = train(task, settings, data, labels, None, on_epoch=whole.append)
    found = train(task, settings, data, labels, None, on_epoch=parts.append, accumulation=2)
    for a, b in zip(whole, parts, strict=True):
        assert b.losses == pytest.approx(a.losses, rel=1e-3)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize(("kind", "lr", "epochs"), [("affinity", 0.05, 8), ("irn", 0.2, 10)])
def test_trained_networks_spread_a_blob_over_its_square(kind: str, lr: float, epochs: int) -> None:
    data, logs = Squares(8, 48), list[EpochLog]()
    config = config_of(
        refine=kind,
        seed=2,
        affinity_epochs=epochs,
        affinity_batch=4,
        affinity_crop=48,
        affinity_lr=lr,
        walk_doublings=6,
    )
    task, settings = task_of(config), settings_of(config)
    labels = data.moved_labels(config, cell_of(config))
    state = train(task, settings, data, labels, None, on_epoch=logs.append)
    losses = [log.losses["loss"] for log in logs]
    assert np.mean(losses[-3:]) < 0.85 * losses[0]
    net = load_net(task, settings, 3, state)
    plain = config_of(refine="crf", crf="none", mask_background="best")
    before, after = [], []
    for index, truth in enumerate(data.masks):
        maps = ClassMaps(tuple(data.classes(index)), data.blobs[index])
        image = data.image(index)
        raw = [overlap(pseudo_mask(plain, None, image, maps, t), truth) for t in (0.2, 0.3, 0.4)]
        found = pseudo_mask(config, net, image, maps, 0.3)
        assert set(np.unique(found)) <= {0, *maps.classes}
        before.append(raw)
        after.append(overlap(found, truth))
    assert np.mean(after) > np.mean(before, 0).max() + 0.02


def test_the_mean_displacement_is_measured_on_whole_batches_of_readable_images() -> None:
    class Damaged(Squares):
        def image(self, index: int) -> Any:
            if index == 2:
                raise DamagedSample("2")
            return super().image(index)

    config = config_of(refine="irn", affinity_batch=4, affinity_crop=48)
    task, settings, data = task_of(config), settings_of(config), Damaged()
    net = build_net(task, settings, 3, None)
    assert isinstance(net, IrnNet)
    assert task.finish is not None
    task.finish(net, data, settings, "cpu")
    mean = net.mean_shift.running_mean.clone()
    assert not net.training
    assert (mean != 0).all()
    used = [i for i in range(len(data)) if i != 2][:8]
    crops = torch.stack([to_input(data.images[i][:48, :48]) for i in used])
    with torch.no_grad():
        moved = net(crops)[1].mean((0, 2, 3))
    torch.testing.assert_close(moved, torch.zeros(2), rtol=0, atol=1e-5)
    assert task_of(config_of(refine="affinity")).finish is None
