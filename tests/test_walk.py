"""The random walk: against the dense matrix, and on grids and maps at the edges."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from camsweep.methods.refine.affinity import affinity_bands
from camsweep.methods.refine.pairs import Offset, half_disc
from camsweep.methods.refine.paths import edge_bands
from camsweep.methods.refine.walk import neighbours, transition, walk


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def dense(bands: Tensor, offsets: list[Offset]) -> Tensor:
    """The matrix of affinities, pair by pair, in double precision."""
    height, width = bands.shape[-2:]
    found = torch.eye(height * width, dtype=torch.float64)
    for band, (dy, dx) in zip(bands, offsets, strict=True):
        for y in range(height):
            for x in range(width):
                if y + dy < height and 0 <= x + dx < width:
                    one, other = y * width + x, (y + dy) * width + x + dx
                    found[one, other] = found[other, one] = band[y, x].double()
    return found


def released(maps: Tensor, matrix: Tensor, beta: float, doublings: int) -> Tensor:
    """The walk as the released codes compute it: columns that sum to 1, squared again and again."""
    step = matrix**beta
    step = step / step.sum(0, keepdim=True)
    for _ in range(doublings):
        step = step @ step
    return (maps.double().flatten(1) @ step).view(maps.shape)


@pytest.mark.parametrize("size", [(9, 11), (1, 12), (12, 1), (2, 3), (1, 1), (6, 3)])
@pytest.mark.parametrize(("beta", "doublings"), [(10, 8), (8, 6), (8, 0), (1.5, 3)])
def test_sparse_steps_are_the_dense_powers(
    size: tuple[int, int], beta: float, doublings: int
) -> None:
    # No boundary is 1, and some ways are open: else every pixel stays alone.
    bands, offsets = edge_bands(0.3 * drawn(*size), 5)
    maps = drawn(3, *size, seed=1)
    matrix = dense(bands, offsets)
    torch.testing.assert_close(neighbours(bands, offsets).to_dense().double(), matrix)
    found = walk(maps, transition(bands, offsets, beta), doublings)
    want = released(maps, matrix, beta, doublings)
    torch.testing.assert_close(found.double(), want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("everywhere", [False, True])
def test_sparse_steps_are_the_dense_powers_of_feature_affinities(everywhere: bool) -> None:
    bands, offsets = affinity_bands(drawn(7, 12, 14), 5, everywhere=everywhere)
    maps = drawn(21, 12, 14, seed=1)
    found = walk(maps, transition(bands, offsets, 8), 6)
    want = released(maps, dense(bands, offsets), 8, 6)
    torch.testing.assert_close(found.double(), want, rtol=1e-5, atol=1e-6)


def test_columns_of_the_released_matrix_sum_to_one() -> None:
    bands, offsets = edge_bands(drawn(10, 9), 5)
    step = transition(bands, offsets, 10).to_dense()
    # Ours is its transpose: one step takes a weighted mean.
    torch.testing.assert_close(step.sum(1), torch.ones(90).double())
    matrix = neighbours(bands, offsets, 10).to_dense()
    torch.testing.assert_close(matrix, matrix.T)
    ones = walk(torch.ones(1, 10, 9), transition(bands, offsets, 10), 8)
    torch.testing.assert_close(ones, torch.ones(1, 10, 9))


def test_a_boundary_stops_the_walk_and_within_it_maps_become_even() -> None:
    edge = torch.zeros(8, 21)
    edge[:, 10] = 1
    maps = torch.zeros(1, 8, 21)
    maps[0, 4, 3] = 1
    bands, offsets = edge_bands(edge, 5)
    found = walk(maps, transition(bands, offsets, 10), 8)[0]
    assert (found[:, 10:] == 0).all()
    inside = found[:, :10]
    assert inside.min() > 0.3 / 80
    assert inside.max() < 3 / 80


def test_walks_of_all_classes_are_those_of_each() -> None:
    bands, offsets = edge_bands(0.2 * drawn(6, 7), 5)
    step = transition(bands, offsets, 10)
    maps = drawn(81, 6, 7, seed=1)
    together = walk(maps, step, 5)
    assert together.shape == maps.shape
    for i in (0, 40, 80):
        torch.testing.assert_close(together[i : i + 1], walk(maps[i : i + 1], step, 5))


def test_no_class_and_maps_of_zero() -> None:
    bands, offsets = edge_bands(drawn(4, 5), 5)
    step = transition(bands, offsets, 10)
    assert walk(torch.zeros(0, 4, 5), step, 8).shape == (0, 4, 5)
    assert (walk(torch.zeros(2, 4, 5), step, 8) == 0).all()


def test_without_pairs_nothing_moves() -> None:
    maps = drawn(2, 1, 9)
    bands, offsets = affinity_bands(drawn(3, 1, 9), 5)
    assert bands.shape[0] == len(offsets) == 0  # SEAM's radius for a grid of one row is 0
    assert torch.equal(walk(maps, transition(bands, offsets, 8), 6), maps)
    bands, offsets = affinity_bands(torch.zeros(3, 1, 9), 5, everywhere=True)
    assert len(offsets) == len(half_disc(5))
    spread = walk(maps, transition(bands, offsets, 8), 8)
    torch.testing.assert_close(spread.std(-1), torch.zeros(2, 1), rtol=0, atol=1e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_same() -> None:
    edge, maps = 0.3 * drawn(20, 24), drawn(3, 20, 24, seed=1)
    bands, offsets = edge_bands(edge, 5)
    here = walk(maps, transition(bands, offsets, 10), 8)
    bands, offsets = edge_bands(edge.cuda(), 5)
    there = walk(maps.cuda(), transition(bands, offsets, 10), 8)
    torch.testing.assert_close(there.cpu(), here, rtol=1e-4, atol=1e-5)
