"""Gaussian filtering on the permutohedral lattice (Adams, Baek, Davis 2010), on CPU and GPU.

A point in d dimensions lies in one simplex of the lattice; its values are spread over the d + 1
corners by barycentric weights, blurred along the d + 1 directions and read back with the same
weights. The order of the directions, the weights of the blur (1/2, 1, 1/2) and the scale of the
features are those of Kraehenbuehl and Koltun's code, which pydensecrf wraps, so that both give the
same numbers.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

# Codes of corners up to this are numbered by a table, others by sorting, which takes five times as
# long. A photograph of 375 x 500 pixels has 2^14 to 2^22 of them.
TABLE = 1 << 23


@dataclass(frozen=True)
class Lattice:
    """The lattice of N points with M occupied corners.

    Attributes:
        read: sparse CSR float32 [N, M + 1], each point's barycentric weights of the d + 1 corners
            of its simplex; they sum to 1. Corner M is none, and its value 0.
        spread: its transpose [M + 1, N].
        beside: int64 [d + 1, 2, M], each corner's neighbours in each direction; M where there is
            none.
    """

    read: Tensor
    spread: Tensor
    beside: Tensor

    @property
    def size(self) -> int:
        """How many corners are occupied, M."""
        return self.beside.shape[-1]


class _Simplices(NamedTuple):
    """Where points lie. The coordinates of the lattice's corners are whole numbers of one residue.

    Corner k of a simplex has the residue k modulo d + 1: its coordinate c is (d + 1) q + k with q =
    ``whole[c]``, or one less where ``rank[c]`` > d - k.

    Attributes:
        whole: int64 [d + 1, N].
        rank: int64 [d + 1, N], a permutation of 0..d for each point.
        weights: float32 [d + 1, N], of corners 0 to d.
    """

    whole: Tensor
    rank: Tensor
    weights: Tensor


def lattice(features: Tensor) -> Lattice:
    """The lattice of points.

    Args:
        features: float [N, d], in units of the kernel's standard deviation.

    Raises:
        ValueError: the points lie so far apart that their corners have no codes of 62 bits; those
            of an image never do.
    """
    found = _simplices(features)
    steps, room, first = _coding(found.whole[:-1])
    codes = _codes(found, steps, first)
    occupied, indices, find = _numbered(codes, room)
    read, spread = _sparse(indices, found.weights, len(occupied) + 1)
    return Lattice(read, spread, _beside(occupied, steps, find))


def _simplices(features: Tensor) -> _Simplices:
    """The simplex of each point of features float [N, d]. All arrays are a row a coordinate."""
    points, d = features.shape
    device = features.device
    steps = torch.arange(1, d + 1, device=device, dtype=torch.float32)
    # A blur of total variance 2/3 (d + 1)^2 in these coordinates stands for a Gaussian of 1.
    scale = (2 / 3) ** 0.5 * (d + 1) / (steps * (steps + 1)).sqrt()
    scaled = (features.float() * scale).T.contiguous()
    # Onto the plane of d + 1 coordinates that sum to 0.
    elevated = torch.cat([scaled.flip(0).cumsum(0).flip(0), scaled.new_zeros(1, points)])
    elevated[1:] -= steps[:, None] * scaled

    # The nearest point whose coordinates are all multiples of d + 1 ...
    down = elevated / (d + 1)
    whole = (down + torch.where(down >= 0, 0.5, -0.5)).trunc_()
    rest = elevated - whole * (d + 1)
    # ... the order of what is left (the first of two equals is the lower), and back to the plane.
    rank = torch.zeros(d + 1, points, dtype=torch.int8, device=device)
    for row in range(d):
        behind = rest[row] < rest[row + 1 :]
        rank[row] += behind.sum(0, dtype=torch.int8)
        rank[row + 1 :] += ~behind
    rank += whole.sum(0).to(torch.int8)
    low, high = rank < 0, rank > d
    around = low.to(torch.int8) - high.to(torch.int8)
    rank += (d + 1) * around
    whole += around

    index = rank.long()
    left = (elevated - whole * (d + 1)) / (d + 1)
    ordered = torch.empty_like(left).scatter_(0, index, left).flip(0)
    weights = ordered.clone()
    weights[0] += 1 - ordered[-1]
    weights[1:] -= ordered[:-1]
    return _Simplices(whole.long(), index, weights)


def _coding(whole: Tensor) -> tuple[Tensor, int, Tensor]:
    """How corners are numbered by their coordinates: all codes of one residue lie d + 1 apart.

    Args:
        whole: int64 [d, N], see `_Simplices`. Rows are made denser in place where they must be.

    Returns:
        What a code grows by with each coordinate int64 [d], the number of codes, and the coordinate
        of code 0 in each row, int64 [d].
    """
    each = len(whole) + 1
    for tighten in (False, True):
        if tighten:
            for row in whole:
                row.copy_(_closer(row))
        # One less is a corner of the same simplex, and neighbours lie one further on both sides.
        low, high = whole.amin(1) - 2, whole.amax(1) + 1
        steps, room = [], each
        for size in (high - low + 1).tolist():
            steps.append(room)
            room *= size
        if room < 2**62:
            return torch.tensor(steps, device=whole.device), room, low
    raise ValueError("lattice: the points lie too far apart")


def _closer(values: Tensor) -> Tensor:
    """Whole numbers [N] with gaps of at most 4, over which no two corners are neighbours."""
    found, inverse = values.unique(return_inverse=True)
    gaps = found.diff(prepend=found[:1]).clamp(max=4)
    return gaps.cumsum(0)[inverse]


def _codes(found: _Simplices, steps: Tensor, first: Tensor) -> Tensor:
    """The codes of the points' corners 0 to d, int64 [d + 1, N]."""
    own = torch.cat([steps, steps.new_zeros(1)])
    moves = torch.empty_like(found.rank).scatter_(0, found.rank, own[:, None].expand_as(found.rank))
    codes = torch.empty_like(moves)
    codes[0] = sum(
        (row - low) * step for row, low, step in zip(found.whole, first, steps, strict=False)
    )
    for corner in range(len(steps)):
        codes[corner + 1] = codes[corner] - moves[len(steps) - corner] + 1
    return codes


Find = Callable[[Tensor], Tensor]


def _numbered(codes: Tensor, room: int) -> tuple[Tensor, Tensor, Find]:
    """The M different codes, ascending; the number of each code; and what numbers others.

    The number of a code that is not among them is M.
    """
    if room <= TABLE:
        seen = torch.zeros(room, dtype=torch.bool, device=codes.device)
        seen[codes.reshape(-1)] = True
        occupied = seen.nonzero()[:, 0]
        size = len(occupied)
        numbers = torch.full((room,), size, dtype=torch.int32, device=codes.device)
        numbers[occupied] = torch.arange(size, dtype=torch.int32, device=codes.device)
        return occupied, numbers[codes], lambda wanted: numbers[wanted]

    occupied, indices = codes.unique(return_inverse=True)

    def find(wanted: Tensor) -> Tensor:
        place = torch.searchsorted(occupied, wanted).clamp(max=len(occupied) - 1)
        return torch.where(occupied[place] == wanted, place, len(occupied))

    return occupied, indices.int(), find


def _sparse(indices: Tensor, weights: Tensor, corners: int) -> tuple[Tensor, Tensor]:
    """The matrix of each point's weights, and its transpose, both by rows.

    Indices are of 32 bits: others are converted anew in every product on a CPU.
    """
    each, points = indices.shape
    flat, values = indices.T.reshape(-1), weights.T.reshape(-1)
    begins = torch.arange(0, points * each + 1, each, device=flat.device, dtype=torch.int32)
    transposed = _by_sorting if flat.is_cuda else _by_counting
    ends, columns, moved = transposed(begins, flat, values, corners)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # CSR is called beta; its product is all that is used
        read = torch.sparse_csr_tensor(begins, flat, values, size=(points, corners))
        spread = torch.sparse_csr_tensor(ends, columns, moved, size=(corners, points))
    return read, spread


def _by_counting(begins: Tensor, flat: Tensor, values: Tensor, corners: int) -> tuple[Tensor, ...]:
    """Begins, columns and values of the transpose; SciPy's is six times as quick as a sort."""
    from scipy.sparse import csr_matrix

    parts = (values.numpy(), flat.numpy(), begins.numpy())
    found = csr_matrix(parts, shape=(len(begins) - 1, corners)).tocsc()
    return tuple(torch.from_numpy(part) for part in (found.indptr, found.indices, found.data))


def _by_sorting(begins: Tensor, flat: Tensor, values: Tensor, corners: int) -> tuple[Tensor, ...]:
    """The same where SciPy does not reach."""
    order = flat.argsort(stable=True)
    counts = torch.bincount(flat, minlength=corners)
    ends = torch.cat([counts.new_zeros(1), counts.cumsum(0)]).int()
    columns = order // (len(flat) // (len(begins) - 1))
    return ends, columns.int(), values[order]


def _beside(occupied: Tensor, steps: Tensor, find: Find) -> Tensor:
    """The neighbours of each corner along the d + 1 directions, [d + 1, 2, M].

    One further in a direction all coordinates grow by 1, but that one falls by d: the residue grows
    by 1, or from d to 0 as all whole parts grow.
    """
    d = len(steps)
    residue = occupied % (d + 1)
    up = torch.where(residue < d, 1, steps.sum() - d)
    down = torch.where(residue > 0, -1, d - steps.sum())
    found = [
        find(occupied + move) for step in [*steps.tolist(), 0] for move in (down + step, up - step)
    ]
    return torch.stack(found).long().reshape(d + 1, 2, -1)


def blur(values: Tensor, on: Lattice) -> Tensor:
    """The filtered values of every point, not normalised: ``[N, L] -> [N, L]``.

    The sum over all points of their values, weighted by the Gaussian of their distance.
    """
    return level(on) * (on.read @ blurred(on.spread @ values, on.beside))


def blurred(cells: Tensor, beside: Tensor) -> Tensor:
    """The values of all corners [M + 1, L], the last one 0, blurred in place."""
    for left, right in beside:
        both = cells.index_select(0, left)  # twice as quick as cells[left]
        both += cells.index_select(0, right)
        cells[:-1].add_(both, alpha=0.5)
    return cells


def level(on: Lattice) -> float:
    """What the blurred values that points read are multiplied by.

    The blur's weights sum to 2^(d+1), over corners of which each simplex takes its share.
    """
    return 1 / (1 + 2.0 ** (1 - len(on.beside)))
