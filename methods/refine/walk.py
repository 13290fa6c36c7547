"""Random walks on the pixels of an image: maps spread to pixels of high affinity.

Both released codes raise the affinities to the power beta, divide by the sum over each pixel's
neighbours and square the dense matrix of (H W)^2 entries t times. A pixel has at most a few dozen
neighbours, so here the matrix is sparse and the maps take the 2^t steps one by one: the same
product, of far fewer terms, with all classes at once. Affinities are symmetric, so the papers'
D^-1 A M and the codes' M A D^-1 are one.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from camsweep.methods.refine.pairs import Offset


def neighbours(affinity: Tensor, offsets: list[Offset], beta: float = 1.0) -> Tensor:
    """The symmetric matrix of affinities to the power of beta, with ones on its diagonal.

    Args:
        affinity: float [P, H, W], of each pixel and the one at each offset; 0 where there is none.
        offsets: P different (dy, dx), only one of each and its opposite.
        beta: the power, above 0; high ones close the weak ways (Hadamard power).

    Returns:
        Sparse CSR float32 [H W, H W].
    """
    height, width = affinity.shape[-2:]
    number = height * width
    powered = affinity.detach().float() ** beta
    # A band for every offset and its opposite; in the order of the offsets the columns of each row
    # ascend, as CSR wants.
    bands = {(0, 0): powered.new_ones(height, width)}
    for band, (dy, dx) in zip(powered, offsets, strict=True):
        bands[dy, dx] = _moved(band, (0, 0), (dy, dx))
        bands[-dy, -dx] = _moved(band, (-dy, -dx), (-dy, -dx))
    order = sorted(bands)
    values = torch.stack([bands[o] for o in order], -1).reshape(number, -1)
    moves = torch.tensor([dy * width + dx for dy, dx in order], device=values.device)
    columns = torch.arange(number, device=values.device)[:, None] + moves
    there = values > 0
    begins = torch.zeros(number + 1, dtype=torch.int32, device=values.device)
    begins[1:] = there.sum(1).cumsum(0)
    # Indices of 32 bits make the product of a few classes up to four times as fast on a CPU.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # CSR is called beta; its product is all that is used
        return torch.sparse_csr_tensor(
            begins, columns[there].int(), values[there], (number, number)
        )


def _moved(band: Tensor, source: Offset, partner: Offset) -> Tensor:
    """The value at each pixel's ``source``; 0 where its ``partner`` is outside, both relative."""
    height, width = band.shape
    found = torch.zeros_like(band)
    top, bottom = max(0, -partner[0]), min(height, height - partner[0])
    left, right = max(0, -partner[1]), min(width, width - partner[1])
    if top < bottom and left < right:
        dy, dx = source
        found[top:bottom, left:right] = band[top + dy : bottom + dy, left + dx : right + dx]
    return found


def transition(affinity: Tensor, offsets: list[Offset], beta: float) -> Tensor:
    """The matrix of one step, every row of which sums to 1; see ``neighbours``.

    It is of double precision: in single, rows sum to 1 but for 1e-7 either way, which after 256
    steps, as after 8 squarings of the released codes, has become 5e-5 of the maps.
    """
    matrix = neighbours(affinity, offsets, beta)
    begins, values = matrix.crow_indices(), matrix.values()
    counts = begins.diff().long()
    rows = torch.repeat_interleave(torch.arange(len(counts), device=values.device), counts)
    values = values.double()
    total = values.new_zeros(len(counts)).index_add_(0, rows, values)
    scaled = values / total[rows]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.sparse_csr_tensor(begins, matrix.col_indices(), scaled, matrix.shape)


@torch.no_grad()
def walk(maps: Tensor, step: Tensor, doublings: int) -> Tensor:
    """Maps after ``2^doublings`` steps.

    Args:
        maps: float [C, H, W], any number of classes.
        step: of ``transition``, on the same pixels.
        doublings: ``logt`` in psa's and SEAM's code, ``exp_times`` in IRN's; 0 is one step.

    Returns:
        float32 [C, H, W], each value a weighted mean of the map's.
    """
    points = maps.to(step.dtype).flatten(1).T.contiguous()
    if points.shape[1] == 0:
        return maps.float()
    for _ in range(2**doublings):
        points = step @ points
    return points.T.reshape(maps.shape).float().contiguous()
