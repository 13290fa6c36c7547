"""IRN: ways and affinities, the network, its losses, and masks of images at the edges."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from camsweep.methods.backbones import build_backbone
from camsweep.methods.refine.irn import IrnNet, from_released, set_mean_shift
from camsweep.methods.refine.irn_losses import irn_losses, pair_displacement
from camsweep.methods.refine.irn_masks import (
    edge_displacement,
    enlarged,
    propagate,
    with_constant,
)
from camsweep.methods.refine.pairs import half_disc, sources, targets
from camsweep.methods.refine.paths import (
    edge_affinity,
    edge_bands,
    path_offsets,
    search_paths,
)
from camsweep.shards.errors import InputError


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def net() -> IrnNet:
    torch.manual_seed(0)
    return IrnNet(build_backbone("small")).eval()


@pytest.mark.parametrize("radius", [2, 5, 10])
def test_ways_are_near_the_line_and_run_from_end_to_end(radius: int) -> None:
    groups = search_paths(radius)
    assert sorted(path_offsets(radius)) == sorted(half_disc(radius))
    lengths = [[len(path) for path in group] for group in groups]
    assert all(len(set(group)) == 1 for group in lengths)
    assert [group[0] for group in lengths] == sorted({n for group in lengths for n in group})
    for path in (path for group in groups for path in group):
        dy, dx = path[0]
        assert path[-1] == (0, 0)
        for y, x in path:
            assert abs(dy * x - dx * y) / math.hypot(dy, dx) < 1
            assert min(0, dx) <= x <= max(0, dx)
            assert 0 <= y <= dy


def test_affinity_is_one_less_the_strongest_boundary_on_the_way() -> None:
    edge = drawn(2, 9, 12)
    found = edge_affinity(edge, 5)
    begins = sources((9, 12), 5)
    paths = [path for group in search_paths(5) for path in group]
    for p in (0, 7, 20, 33):
        for s in (0, len(begins) - 1):
            y, x = divmod(int(begins[s]), 12)
            strongest = torch.stack([edge[:, y + dy, x + dx] for dy, dx in paths[p]]).amax(0)
            torch.testing.assert_close(found[:, p, s], 1 - strongest)
    assert targets((9, 12), path_offsets(5), 5).shape == found.shape[1:]


def test_the_gradient_goes_to_the_strongest_pixel() -> None:
    edge = torch.full((1, 9, 12), 0.1)
    edge[0, 3, 6] = 0.9
    edge.requires_grad_(True)
    found = edge_affinity(edge, 5)
    crossed = (found < 0.5).sum()
    assert crossed > 0
    found[found < 0.5].sum().backward()
    assert edge.grad is not None
    assert edge.grad[0, 3, 6] == -crossed
    assert (edge.grad != 0).sum() == 1


def test_bands_are_those_of_a_wide_grid_and_0_beyond_the_image() -> None:
    edge = drawn(8, 9)
    bands, offsets = edge_bands(edge, 5)
    wide = F.pad(edge, (7, 7, 0, 7), value=1.0)
    pairs = edge_affinity(wide[None], 5)[0]
    begins = sources((15, 23), 5)
    inside = ((begins // 23 < 8) & (begins % 23 >= 7) & (begins % 23 < 16)).nonzero()[:, 0]
    assert torch.equal(bands.flatten(1), pairs[:, inside])
    for band, (dy, dx) in zip(bands, offsets, strict=True):
        assert (band > 0).sum() == (8 - dy) * (9 - abs(dx))


def test_shapes_modes_and_what_learns(net: IrnNet) -> None:
    assert net.stride == 2
    edge, field = net(torch.randn(2, 3, 33, 50))
    assert edge.shape == (2, 1, 17, 25)
    assert field.shape == (2, 2, 17, 25)
    net.train()
    assert not any(module.training for module in net.backbone.modules())
    assert net.mean_shift.training
    learning = {id(p) for p in net.parameters() if p.requires_grad}
    groups = net.groups()
    assert {id(p) for group in groups for p in group} == learning
    assert len(groups[0]) == 5 * 3 + 2
    assert len(groups[1]) == 7 * 3 + 1
    net.eval()
    with pytest.raises(InputError, match="resnet50"):
        IrnNet(build_backbone("resnet38"))


def test_the_mean_shift_makes_the_mean_displacement_0(net: IrnNet) -> None:
    images = [torch.randn(2, 3, 32, 32) for _ in range(3)]
    set_mean_shift(net, iter(images))
    with torch.no_grad():
        mean = torch.stack([net(batch)[1].mean((0, 2, 3)) for batch in images]).mean(0)
        torch.testing.assert_close(mean, torch.zeros(2), rtol=0, atol=1e-5)
        moved = net.train()(images[0])[1] - net.eval()(images[0])[1]
    torch.testing.assert_close(moved.mean((0, 2, 3)), net.mean_shift.running_mean)
    set_mean_shift(net, [])
    assert (net.mean_shift.running_mean == 0).all()


def test_a_released_checkpoint_has_tensors_under_several_names(net: IrnNet) -> None:
    own = net.state_dict()
    state = {k.replace("backbone.", "resnet50.", 1): v for k, v in own.items()}
    more = {
        "stage2.0.conv1.weight": torch.zeros(1),
        "backbone.1.0.0.conv1.weight": torch.zeros(1),
        "edge_layers.0.0.weight": torch.zeros(1),
        "fc_dp7.4.running_mean": torch.zeros(2),
        "path_indices0": torch.zeros(1),
        "disp_target": torch.zeros(1),
    }
    assert from_released(state | more).keys() == own.keys()


def test_losses_are_those_of_the_definition() -> None:
    edge, field = torch.randn(2, 1, 12, 13), torch.randn(2, 2, 12, 13)
    labels = torch.tensor([0, 1, 2, 255])[torch.randint(0, 4, (2, 12, 13))]
    found = irn_losses(edge, field, labels, 5)
    flat, moves = labels.flatten(1), field.flatten(2)
    begins, ends = sources((12, 13), 5), targets((12, 13), path_offsets(5), 5)
    here, there = flat[:, begins][:, None], flat[:, ends]
    one = (here == there) & (here > 0) & (here < 255)
    gaps = moves[..., begins][:, :, None] - moves[..., ends]
    way = torch.tensor(path_offsets(5)).T[None, :, :, None]
    wrong = (gaps - way).abs().sum(1)[one].mean() / 2
    torch.testing.assert_close(found.centroid, wrong, rtol=1e-4, atol=1e-4)
    affinity = edge_affinity(edge.sigmoid()[:, 0], 5)
    torch.testing.assert_close(found.foreground, -affinity[one].log().mean(), rtol=1e-3, atol=1e-3)
    total = (found.background + found.foreground) / 4 + found.different / 2
    torch.testing.assert_close(found.total, total + (found.centroid + found.still) / 2)


def test_displacements_to_one_centroid_cost_nothing() -> None:
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(13.0), indexing="ij")
    to_centre = torch.stack([6 - y, 6 - x])[None]
    assert pair_displacement(to_centre, [(0, 1)], 5)[0, :, 0, 0].tolist() == [0, 1]
    found = irn_losses(torch.zeros(1, 1, 12, 13), to_centre, torch.ones(1, 12, 13).long(), 5)
    assert found.centroid == 0
    assert found.still == found.background == found.different == 0
    undecided = irn_losses(
        torch.zeros(1, 1, 12, 13), to_centre, torch.full((1, 12, 13), 255).long(), 5
    )
    assert undecided.total == 0


def test_an_image_and_its_mirror_image_have_mirrored_boundaries(net: IrnNet) -> None:
    image = torch.randn(3, 32, 48)
    edge, field = edge_displacement(net, image, crop=48)
    assert edge.shape == (1, 16, 24)
    assert field.shape == (2, 16, 24)
    mirrored, _ = edge_displacement(net, image.flip(-1), crop=48)
    torch.testing.assert_close(mirrored, edge.flip(-1), rtol=1e-4, atol=1e-5)


def test_images_larger_than_the_crop(net: IrnNet) -> None:
    image = torch.randn(3, 40, 70)
    edge, _ = edge_displacement(net, image, crop=32)
    assert edge.shape == (1, 20, 35)
    cut, _ = edge_displacement(net, image, crop=32, cut=True)
    assert cut.shape == (1, 16, 16)


@pytest.mark.parametrize("size", [(37, 50), (1, 60), (60, 1), (1, 1)])
@pytest.mark.parametrize("classes", [0, 1, 80])
def test_masks_of_images_at_the_edges(net: IrnNet, size: tuple[int, int], classes: int) -> None:
    edge, _ = edge_displacement(net, torch.randn(3, *size), crop=32)
    maps = drawn(classes, *edge.shape[-2:])
    found = enlarged(propagate(maps, edge), size, net.stride)
    assert found.shape == (classes, *size)
    assert torch.isfinite(found).all()
    if classes:
        assert found.max() == 1
    scores = with_constant(found)
    assert scores.shape == (classes + 1, *size)
    zero = with_constant(enlarged(propagate(torch.zeros_like(maps), edge), size, net.stride))
    assert (zero.argmax(0) == 0).all()


def test_where_a_boundary_is_sure_nothing_starts() -> None:
    maps, edge = torch.ones(1, 5, 6), torch.zeros(1, 5, 6)
    torch.testing.assert_close(propagate(maps, edge), maps)
    assert (propagate(maps, torch.ones_like(edge)) == 0).all()
