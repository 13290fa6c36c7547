from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from camsweep.methods import cam, ppl
from camsweep.methods.base import Batch, make_config
from camsweep.shards.errors import InputError

VALUES: dict[str, Any] = {"method": "ppl", "backbone": "small", "pretrain": "none", "crop": 32}
SIDES = [(32, 32), (36, 28), (33, 39)]


def config(**values: Any) -> ppl.PplConfig:
    made = make_config({**VALUES, **values})
    assert isinstance(made, ppl.PplConfig)
    return made


def batch(height: int = 32, width: int = 32) -> Batch:
    images = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    return Batch(images, labels, None, torch.Generator())


def network(settings: ppl.PplConfig) -> ppl.PplNet:
    torch.manual_seed(1)
    net = ppl.build(settings, 4)
    assert isinstance(net, ppl.PplNet)
    return net.eval()


def plain_scores(net: ppl.PplNet, images: Tensor) -> Tensor:
    """The scores of an ordinary network with the same weights."""
    return net.classifier(net.backbone(images).last)


def reached(net: torch.nn.Module) -> set[str]:
    """The parts of the network that have a gradient."""
    found = {n for n, p in net.named_parameters() if p.grad is not None and p.grad.any()}
    return {".".join(name.split(".")[:2]).removesuffix(".weight") for name in found}


def test_defaults_are_the_recipe_of_seam() -> None:
    made = make_config({"method": "ppl"})
    assert isinstance(made, ppl.PplConfig)
    assert (made.backbone, made.crop, made.batch, made.epochs) == ("resnet38", 448, 8, 8)
    assert (made.lr, made.momentum, made.weight_decay) == (0.01, 5e-4, 5e-4)
    assert (made.mode, made.cuts, made.grid, made.global_path) == (
        "implicit",
        (3, 2, 1),
        (2,),
        True,
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"cuts": [2, 2]}, "names a cut twice"),
        ({"cuts": [5]}, "less than or equal to 4"),
        ({"cuts": []}, "cuts"),
        ({"grid": 0}, "greater than or equal to 1"),
        ({"grid": [4, 2]}, "grid must be one number, or 3"),
        ({"mode": "both"}, "mode"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        config(**values)


def test_ids_know_what_matters() -> None:
    assert config(grid=2).active() == config(grid=[2, 2, 2]).active() == config().active()
    plain = config(mode="none").active()
    assert config(mode="none", cuts=[1], grid=4, global_path=False).active() == plain
    for values in ({"grid": 4}, {"cuts": [2, 1]}, {"cuts": [1, 2, 3]}, {"global_path": False}):
        assert config(**values).active() != config().active()


def test_one_schedule_a_stage() -> None:
    assert config().cycles == 3
    assert config(cuts=[1]).cycles == 1
    assert config(mode="explicit").cycles == config(mode="none").cycles == 1
    # The stage changes with the very step at which the schedule starts anew.
    for total in (7, 10, 600):
        for stages in (2, 3, 4):
            for step in range(total):
                assert ppl.stage_at(step / total, stages) == step * stages // total


@pytest.mark.parametrize("size", [(8, 8), (9, 7), (5, 11)])
@pytest.mark.parametrize("grid", [1, 2, 3])
def test_merging_undoes_splitting(size: tuple[int, int], grid: int) -> None:
    x = torch.randn(2, 5, *size)
    patches = ppl.split_patches(x, grid)
    assert len(patches) == 2 * grid * grid
    torch.testing.assert_close(ppl.merge_patches(patches, grid, size), x, rtol=0, atol=0)


def test_patches_lie_row_by_row_and_are_padded_with_zeros() -> None:
    x = torch.arange(1.0, 7).view(1, 1, 2, 3)
    patches = ppl.split_patches(x, 2)
    assert patches[:, 0].tolist() == [[[1, 2]], [[3, 0]], [[4, 5]], [[6, 0]]]
    assert ppl.split_patches(x, 2, step=2).shape == (4, 1, 2, 2)


@pytest.mark.parametrize("mode", ["implicit", "explicit", "none"])
@pytest.mark.parametrize("size", SIDES)
def test_one_patch_without_global_path_is_the_plain_network(
    mode: str, size: tuple[int, int]
) -> None:
    net = network(config(mode=mode, cuts=[2], grid=1, global_path=False))
    images = batch(*size).images
    with torch.no_grad():
        torch.testing.assert_close(net(images).scores, plain_scores(net, images))


def test_without_cuts_it_is_the_baseline() -> None:
    settings = config(mode="none")
    net = network(settings)
    base = cam.CamNet("small", 4).eval()
    base.load_state_dict(net.state_dict())
    images = batch().images
    with torch.no_grad():
        torch.testing.assert_close(net(images).scores, base(images).scores, rtol=0, atol=0)


@pytest.mark.parametrize("size", SIDES)
@pytest.mark.parametrize("mode", ["implicit", "explicit"])
def test_the_classifier_reads_merged_and_global_features(mode: str, size: tuple[int, int]) -> None:
    """Against a computation that cuts and pastes patch by patch, at sizes that do not divide."""
    settings = config(mode=mode, cuts=[3, 1], grid=[2, 3])
    net, images = network(settings), batch(*size).images
    backbone = net.backbone
    count = len(backbone.stages)
    with torch.no_grad():
        last = backbone(images).last
        joined = []
        for left, grid in [(3, 2), (1, 3)] if mode == "explicit" else [(1, 3)]:
            x = backbone.advance(images, 0, count - left)
            step = 2 if left == 3 else 1  # stage2 halves the resolution, and comes after cut 3
            high = -(-x.shape[2] // (grid * step)) * step
            wide = -(-x.shape[3] // (grid * step)) * step
            canvas = x.new_zeros(*x.shape[:2], grid * high, grid * wide)
            canvas[..., : x.shape[2], : x.shape[3]] = x
            rows = [
                torch.cat(
                    [backbone.advance(part, count - left) for part in row.split(wide, 3)],
                    3,
                )
                for row in canvas.split(high, 2)
            ]
            joined.append(torch.cat(rows, 2)[..., : last.shape[2], : last.shape[3]])
        wanted = net.classifier(torch.cat([*joined, last], 1))
        found = net(images)
    torch.testing.assert_close(found.scores, wanted)
    torch.testing.assert_close(found.features.last, last)


def test_a_patch_sees_nothing_of_the_others() -> None:
    net = network(config(cuts=[4], global_path=False))
    images = batch().images
    other = images.clone()
    other[..., 20:, 20:] += 1  # far enough from the other patches for the stem's 3 x 3
    with torch.no_grad():
        before, after = net(images).scores, net(other).scores
        uncut = plain_scores(net, images), plain_scores(net, other)
    assert (before[..., 4:, 4:] != after[..., 4:, 4:]).any()
    assert torch.equal(before[..., :4, :], after[..., :4, :])
    assert torch.equal(before[..., :4], after[..., :4])
    assert not torch.equal(uncut[0][..., :4, :], uncut[1][..., :4, :])


def test_stages_cut_deeper_and_the_last_one_is_for_tests() -> None:
    settings = config(global_path=False)
    net, images = network(settings), batch().images
    with torch.no_grad():
        by_stage = []
        for progress in (0.0, 0.4, 0.99):
            ppl.losses(net, batch(), settings, progress)
            by_stage.append(net(images).scores)
        fresh = network(settings)(images).scores
        for left, scores in zip((3, 2, 1), by_stage, strict=True):
            alone = network(config(cuts=[left], global_path=False))
            alone.load_state_dict(net.state_dict())
            torch.testing.assert_close(scores, alone(images).scores)
    assert not torch.equal(by_stage[0], by_stage[1])
    torch.testing.assert_close(fresh, by_stage[2])


def test_explicit_blocks_the_gradient_before_each_cut() -> None:
    settings = config(mode="explicit", cuts=[2], global_path=False)
    net = network(settings)
    ppl.losses(net, batch(), settings, 0.0)["loss"].backward()
    assert reached(net) == {"backbone.stage3", "backbone.stage4", "classifier"}
    whole = config(mode="explicit", cuts=[2])
    net = network(whole)
    ppl.losses(net, batch(), whole, 0.0)["loss"].backward()
    assert {"backbone.stem", "backbone.stage1", "backbone.stage4"} <= reached(net)
    implicit = config(cuts=[2], global_path=False)
    net = network(implicit)
    ppl.losses(net, batch(), implicit, 0.0)["loss"].backward()
    assert {"backbone.stem", "backbone.stage1", "backbone.stage4"} <= reached(net)


def test_all_patches_pass_as_one_batch() -> None:
    net = network(config(mode="explicit", cuts=[2, 1], grid=[2, 4]))
    seen: list[int] = []
    net.backbone.stage4.register_forward_hook(lambda module, given, out: seen.append(len(out)))
    net(batch().images)
    assert sorted(seen) == [2, 2 * 4, 2 * 16]


@pytest.mark.parametrize("backbone", ["resnet38", "resnet50"])
def test_every_backbone_can_be_cut(backbone: str) -> None:
    settings = config(mode="explicit", backbone=backbone)
    with torch.device("meta"):
        net = ppl.PplNet(settings, 4)
        scores = net.eval()(torch.zeros(1, 3, 80, 48)).scores
    stride = net.backbone.stride
    assert scores.shape == (1, 3, 80 // stride, 48 // stride)
    assert net.classifier.weight.shape[1] == 4 * net.backbone.channels


def test_a_few_steps_lower_the_loss() -> None:
    settings = config()
    net = network(settings)
    optimiser = torch.optim.SGD(net.parameters(), 0.05, 0.9)
    values = []
    for step in range(12):
        loss = ppl.losses(net, batch(), settings, step / 12)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        values.append(loss.item())
    assert values[-1] < values[0] - 0.03
