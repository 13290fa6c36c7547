from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from camsweep.methods.patches import (
    bernoulli_hidden,
    cell_size,
    draw_sizes,
    grid_ids,
    grid_pair,
    make_pair,
    replacement_hidden,
    superpixel_pair,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("k", "crop", "side"), [(56, 448, 56), (56, 96, 12), (4, 96, 1), (1, 96, 1), (224, 96, 48)]
)
def test_cell_sizes_scale_with_the_crop(k: int, crop: int, side: int) -> None:
    assert cell_size(k, crop) == side


@settings(max_examples=30, deadline=None)
@given(side=st.integers(1, 12), height=st.integers(1, 14), width=st.integers(1, 14))
def test_grid_ids_number_the_cells_and_keep_border_cells(
    side: int, height: int, width: int
) -> None:
    ids = grid_ids([side, 1], height, width)
    rows, columns = -(-height // side), -(-width // side)
    assert ids[0].unique().tolist() == list(range(1, rows * columns + 1))
    assert ids[1].unique().numel() == height * width
    y, x = height - 1, width - 1
    assert ids[0, y, x] == (y // side) * columns + x // side + 1


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6), p_h=st.floats(0.05, 0.95), lam=st.sampled_from(["cells", "pixels"])
)
def test_the_pair_is_complementary(seed: int, p_h: float, lam: str) -> None:
    images = torch.randn(3, 3, 11, 13, generator=generator(1))
    pair = grid_pair(images, [1, 4, 6], p_h, lam, generator(seed))
    first, second = pair.split(images)
    assert torch.equal(first + second, images)
    assert ((first == 0) | (second == 0)).all()
    assert pair.lam.min() >= 0
    assert pair.lam.max() <= 1
    if lam == "pixels":
        torch.testing.assert_close(pair.lam, pair.kept.float().mean((1, 2, 3)))


def test_whole_regions_are_hidden_and_images_draw_for_themselves() -> None:
    images = torch.ones(8, 3, 12, 12)
    pair = grid_pair(images, [4], 0.5, "cells", generator())
    cells = pair.kept[:, 0].unfold(1, 4, 4).unfold(2, 4, 4).flatten(3)
    assert (cells.all(-1) | ~cells.any(-1)).all()
    assert len({tuple(c.flatten().tolist()) for c in cells[..., 0]}) > 4
    torch.testing.assert_close(pair.lam, cells[..., 0].float().mean((1, 2)))


def test_a_border_cell_is_one_cell_but_fewer_pixels() -> None:
    ids = grid_ids([4], 4, 6)  # a cell of 16 pixels and one of 8
    hidden = torch.tensor([[False, False, True]])
    assert make_pair(ids, hidden, "cells").lam.item() == pytest.approx(1 / 2)
    assert make_pair(ids, hidden, "pixels").lam.item() == pytest.approx(2 / 3)


def test_padding_is_no_region() -> None:
    ids = torch.tensor([[[0, 0, 0, 0], [1, 1, 1, 3]]])
    hidden = torch.tensor([[False, False, True, True]])  # 2 was cropped away
    assert make_pair(ids, hidden, "pixels").lam.item() == pytest.approx(3 / 4)
    assert make_pair(ids, hidden, "cells").lam.item() == pytest.approx(1 / 2)
    blank = torch.zeros(1, 2, 2, dtype=torch.long)
    assert make_pair(blank, hidden, "pixels").lam.item() == 0


@pytest.mark.parametrize("p_h", [0.1, 0.5, 0.8])
def test_hidden_shares_of_both_rules(p_h: float) -> None:
    counts = torch.full((40,), 2000)
    bernoulli = bernoulli_hidden(counts, p_h, generator())
    assert bernoulli.shape == (40, 2001)
    assert bernoulli[:, 1:].float().mean().item() == pytest.approx(p_h, abs=0.01)
    replaced = replacement_hidden(counts, p_h, generator())
    assert replaced[:, 1:].float().mean().item() == pytest.approx(1 - math.exp(-p_h), abs=0.01)
    assert not bernoulli[:, 0].any()
    assert not replaced[:, 0].any()


def test_replacement_draws_a_fixed_number_for_each_image() -> None:
    hidden = replacement_hidden(torch.tensor([3, 999]), 0.5, generator())
    assert hidden[0].sum() <= 2
    assert not hidden[0, 4:].any()
    assert 300 < hidden[1].sum() <= 500


def test_draws_are_a_function_of_the_generator() -> None:
    ids = grid_ids([3, 5], 20, 20)
    for hiding in ("bernoulli", "with_replacement"):
        one, two, other = (
            superpixel_pair(ids, 0.5, hiding, "pixels", generator(seed)) for seed in (1, 1, 2)
        )
        assert torch.equal(one.kept, two.kept)
        assert not torch.equal(one.kept, other.kept)


def test_sizes_are_drawn_evenly() -> None:
    sizes = draw_sizes([7, 14, 28], 3000, generator())
    for size in (7, 14, 28):
        assert sizes.count(size) == pytest.approx(1000, abs=120)


@pytest.mark.parametrize("lam", ["cells", "pixels"])
@pytest.mark.parametrize("hiding", ["bernoulli", "with_replacement"])
def test_ids_of_32_bits_make_the_same_pair(lam: str, hiding: str) -> None:
    ids = torch.randint(0, 300, (3, 20, 24), generator=generator(5))
    one = superpixel_pair(ids, 0.5, hiding, lam, generator(6))
    other = superpixel_pair(ids.int(), 0.5, hiding, lam, generator(6))
    assert torch.equal(one.kept, other.kept)
    assert torch.equal(one.lam, other.lam)
