"""The fully connected CRF: against sums over all pairs of pixels, and on images at the edges."""

from __future__ import annotations

import pytest
import torch

from camsweep.methods.refine.densecrf import (
    SETTINGS,
    Crf,
    dense_crf,
    unary_of_labels,
    unary_of_probabilities,
)
from camsweep.methods.refine.lattice import blur, lattice


def points(number: int, d: int, spread: float = 1.5) -> torch.Tensor:
    return spread * torch.randn(number, d, generator=torch.Generator().manual_seed(d))


@pytest.mark.parametrize(("d", "limit"), [(2, 0.10), (5, 0.25)])
def test_the_lattice_is_near_the_sum_over_all_pairs(d: int, limit: float) -> None:
    features = points(800, d)
    values = torch.rand(800, 2, generator=torch.Generator().manual_seed(9))
    ones = torch.ones(800, 1)
    kernel = torch.exp(-0.5 * torch.cdist(features, features) ** 2)
    on = lattice(features)
    # Compared as weighted means: the lattice's kernel has another height.
    got = blur(values, on) / blur(ones, on)
    want = kernel @ values / kernel.sum(1, keepdim=True)
    assert (got - want).abs().mean() < limit * (want - want.mean(0)).abs().mean() + 0.02


def test_weights_of_every_point_sum_to_one_and_spread_is_read_transposed() -> None:
    on = lattice(points(300, 5))
    read, spread = on.read.to_dense(), on.spread.to_dense()
    torch.testing.assert_close(read.sum(1), torch.ones(300))
    torch.testing.assert_close(read.T, spread)
    assert (read >= -1e-5).all()


def test_neighbours_are_mutual() -> None:
    on = lattice(points(400, 3))
    for left, right in on.beside:
        there = torch.nonzero(left < on.size)[:, 0]
        assert len(there) > 0
        assert (right[left[there]] == there).all()


def test_codes_that_do_not_fit_in_63_bits_give_the_same() -> None:
    features = points(200, 5)
    far = torch.cat([features, features[:1] + 1e5])
    values = torch.rand(201, 1, generator=torch.Generator().manual_seed(2))
    near = blur(values[:200], lattice(features))
    torch.testing.assert_close(blur(values, lattice(far))[:200], near, rtol=1e-3, atol=1e-3)


def image(height: int, width: int) -> torch.Tensor:
    made = torch.zeros(height, width, 3, dtype=torch.uint8)
    made[:, width // 2 :] = 200
    return made


def test_the_border_of_colour_becomes_the_border_of_labels() -> None:
    scores = torch.full((2, 24, 32), 0.5)
    scores[1, 8:16, 20:26] = 0.95
    scores[0, 8:16, 20:26] = 0.05
    scores[0, :, :12] = 0.9
    scores[1, :, :12] = 0.1
    found = dense_crf(image(24, 32), unary_of_probabilities(scores), SETTINGS["cpn"])
    torch.testing.assert_close(found.sum(0), torch.ones(24, 32))
    want = torch.zeros(24, 32, dtype=torch.long)
    want[:, 16:] = 1
    assert (found.argmax(0) == want).float().mean() > 0.98


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (1, 1)])
def test_images_of_one_pixel_in_height_or_width(shape: tuple[int, int]) -> None:
    unary = unary_of_probabilities(torch.rand(2, *shape))
    found = dense_crf(image(*shape), unary, SETTINGS["seam"])
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found.sum(0), torch.ones(shape))


def test_one_label_maps_of_zero_and_81_labels() -> None:
    picture = image(10, 12)
    alone = dense_crf(picture, unary_of_probabilities(torch.zeros(1, 10, 12)), SETTINGS["seam"])
    assert (alone == 1).all()
    zeros = dense_crf(picture, unary_of_probabilities(torch.zeros(3, 10, 12)), SETTINGS["seam"])
    torch.testing.assert_close(zeros, torch.full((3, 10, 12), 1 / 3))
    many = torch.rand(81, 10, 12, generator=torch.Generator().manual_seed(0))
    found = dense_crf(picture, unary_of_probabilities(many), SETTINGS["label"])
    torch.testing.assert_close(found.sum(0), torch.ones(10, 12))


def test_no_step_is_the_softmax_and_labels_are_believed_as_far_as_told() -> None:
    labels = torch.tensor([[0, 1], [2, 0]])
    unary = unary_of_labels(labels, 3, certainty=0.7)
    found = dense_crf(image(2, 2), unary, Crf(0, 3, 3, 50, 13, 10))
    assert (found.argmax(0) == labels).all()
    torch.testing.assert_close(found.amax(0), torch.full((2, 2), 0.7))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_same() -> None:
    unary = unary_of_probabilities(
        torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(1))
    )
    here = dense_crf(image(40, 50), unary, SETTINGS["seam"])
    there = dense_crf(image(40, 50).cuda(), unary.cuda(), SETTINGS["seam"])
    torch.testing.assert_close(there.cpu(), here, rtol=1e-3, atol=1e-3)
