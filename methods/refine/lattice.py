"""Gaussian filtering on the permutohedral lattice (Adams, Baek, Davis 2010), on CPU and GPU.

A point in d dimensions lies in one simplex of the lattice; its values are spread over the d + 1
corners by barycentric weights, blurred along the d + 1 directions and read back with the same
weights. The order of the directions, the weights of the blur (1/2, 1, 1/2) and the scale of the
features are those of Kraehenbuehl and Koltun's code, which pydensecrf wraps, so that both give the
same numbers.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor


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


def lattice(features: Tensor) -> Lattice:
    """The lattice of points.

    Args:
        features: float [N, d], in units of the kernel's standard deviation.
    """
    corners, weights = _simplices(features)
    keys, indices = _numbered(corners)
    shape = (len(features), len(keys) + 1)
    return Lattice(*_sparse(indices, weights, shape), _beside(keys))


def _sparse(indices: Tensor, weights: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The matrix of each point's weights, and its transpose, both by rows."""
    points, each = indices.shape
    flat, values = indices.reshape(-1), weights.reshape(-1)
    begins = torch.arange(0, points * each + 1, each, device=flat.device)
    order = flat.argsort(stable=True)
    counts = torch.bincount(flat, minlength=shape[1])
    ends = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # CSR is called beta; its product is all that is used
        read = torch.sparse_csr_tensor(begins, flat, values, size=shape)
        spread = torch.sparse_csr_tensor(ends, order // each, values[order], size=shape[::-1])
    return read, spread


def _simplices(features: Tensor) -> tuple[Tensor, Tensor]:
    """The d first coordinates of each point's corners int64 [N, d + 1, d], and their weights."""
    points, d = features.shape
    features = features.float()
    steps = torch.arange(1, d + 1, device=features.device, dtype=torch.float32)
    # A blur of total variance 2/3 (d + 1)^2 in these coordinates stands for a Gaussian of 1.
    scale = (2 / 3) ** 0.5 * (d + 1) / (steps * (steps + 1)).sqrt()
    scaled = features * scale
    # Onto the plane of d + 1 coordinates that sum to 0.
    behind = torch.cat([scaled.flip(1).cumsum(1).flip(1), scaled.new_zeros(points, 1)], 1)
    elevated = behind.clone()
    elevated[:, 1:] -= steps * scaled

    # The nearest point whose coordinates are all multiples of d + 1 ...
    down = elevated / (d + 1)
    whole = torch.where(down >= 0, (down + 0.5).trunc(), (down - 0.5).trunc())
    rest = elevated - whole * (d + 1)
    # ... the order of what is left (the first of two equals is the lower), and back to the plane.
    rank = rest.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    rank = rank + whole.sum(1, keepdim=True).long()
    base = whole.long() * (d + 1)
    low, high = rank < 0, rank > d
    rank = rank + (d + 1) * (low.long() - high.long())
    base = base + (d + 1) * (low.long() - high.long())

    left = (elevated - base) / (d + 1)
    weights = left.new_zeros(points, d + 2)
    weights.scatter_add_(1, d - rank, left)
    weights.scatter_add_(1, d + 1 - rank, -left)
    weights[:, 0] += 1 + weights[:, d + 1]

    remainder = torch.arange(d + 1, device=features.device)[None, :, None]
    offset = torch.where(rank[:, None, :d] <= d - remainder, remainder, remainder - (d + 1))
    return base[:, None, :d] + offset, weights[:, : d + 1].contiguous()


def _numbered(corners: Tensor) -> tuple[Tensor, Tensor]:
    """The different corners [M, d], sorted, and the number of each of the points' [N, d + 1]."""
    shape = corners.shape[:-1]
    flat = corners.reshape(-1, corners.shape[-1])
    codes, radix = _codes(flat, flat.amin(0) - 1, flat.amax(0) + 1)
    if radix is None:
        keys, indices = flat.unique(dim=0, return_inverse=True)
        return keys, indices.reshape(shape)
    found, indices = codes.unique(return_inverse=True)
    digits = []
    for size in reversed(radix):
        digits.append(found % size)
        found = found // size
    keys = torch.stack(digits[::-1], 1) + (flat.amin(0) - 1)
    return keys, indices.reshape(shape)


def _codes(keys: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, list[int] | None]:
    """Each key as one number of mixed radix, in the keys' order; None where 63 bits don't do."""
    radix = (high - low + 1).tolist()
    product = 1
    for size in radix:
        product *= size
    if product >= 2**62:
        return keys[:, 0], None
    code = torch.zeros_like(keys[:, 0])
    for column, size in enumerate(radix):
        code = code * size + (keys[:, column] - low[column])
    return code, radix


def _beside(keys: Tensor) -> Tensor:
    """The neighbours of each corner along the d + 1 directions, [d + 1, 2, M]."""
    size, d = keys.shape
    # Neighbours lie up to d off; room for them keeps every code in order and apart.
    low, high = keys.amin(0) - d - 1, keys.amax(0) + d + 1
    codes, radix = _codes(keys, low, high)
    found = []
    for direction in range(d + 1):
        for sign in (-1, 1):
            near = keys + sign
            if direction < d:
                near[:, direction] = keys[:, direction] - sign * d
            if radix is None:
                found.append(_where(keys, near))
                continue
            wanted, _ = _codes(near, low, high)
            place = torch.searchsorted(codes, wanted).clamp(max=size - 1)
            found.append(torch.where(codes[place] == wanted, place, size))
    return torch.stack(found).reshape(d + 1, 2, size)


def _where(keys: Tensor, wanted: Tensor) -> Tensor:
    """The row of each wanted key among the keys, their number where it is not there."""
    size = len(keys)
    _, inverse = torch.cat([keys, wanted]).unique(dim=0, return_inverse=True)
    place = torch.full((int(inverse.max()) + 1,), size, device=keys.device)
    place[inverse[:size]] = torch.arange(size, device=keys.device)
    return place[inverse[size:]]


def blur(values: Tensor, on: Lattice) -> Tensor:
    """The filtered values of every point, not normalised: ``[N, L] -> [N, L]``.

    The sum over all points of their values, weighted by the Gaussian of their distance.
    """
    d = len(on.beside) - 1
    cells = on.spread @ values
    for left, right in on.beside:
        cells[:-1] += 0.5 * (cells[left] + cells[right])
    # The blur's weights sum to 2^(d+1), over corners of which each simplex takes its share.
    alpha = 1 / (1 + 2.0**-d)
    return alpha * (on.read @ cells)
