"""IRN's affinity of two pixels: 1 - the strongest class boundary on the way between them.

The way is every pixel whose distance from the line is below 1, within the box of both ends, as in
the released code of Ahn, Cho and Kwak (2019).
"""

from __future__ import annotations

import torch
from torch import Tensor

from camsweep.methods.refine.pairs import Offset, half_disc, shifted, sources, widened, window

Path = list[Offset]


def search_paths(radius: int) -> list[list[Path]]:
    """The ways to all offsets of the half disc, grouped by length.

    Every way begins at its offset and ends at (0, 0), farthest pixels first; within a group they
    are in the order of ``half_disc``. This order is the released one.
    """
    groups: dict[int, list[Path]] = {}
    for offset in half_disc(radius):
        path = _way(offset)
        groups.setdefault(len(path), []).append(path)
    return [groups[length] for length in sorted(groups)]


def _way(offset: Offset) -> Path:
    """The pixels near the line from (0, 0) to ``offset``."""
    dy, dx = offset
    square = dy * dy + dx * dx
    box = [
        (y, x) for y in range(min(0, dy), max(0, dy) + 1) for x in range(min(0, dx), max(0, dx) + 1)
    ]
    near = [(y, x) for y, x in box if (dy * x - dx * y) ** 2 < square]
    return sorted(near, key=lambda point: -abs(point[0]) - abs(point[1]))


def path_offsets(radius: int) -> list[Offset]:
    """The ends of ``search_paths``, in its order: the offsets of all affinities here."""
    return [path[0] for group in search_paths(radius) for path in group]


def edge_affinity(edge: Tensor, radius: int) -> Tensor:
    """Affinities of all pairs of the window, in the order of ``path_offsets``.

    Args:
        edge: probability of a class boundary, float [N, H, W] in 0..1.
        radius: of the disc and of the window.

    Returns:
        float [N, P, S] in 0..1. The gradient goes to the strongest pixel of each way.
    """
    size = (edge.shape[-2], edge.shape[-1])
    flat = edge.flatten(1)
    begins = sources(size, radius).to(edge.device)
    strongest = []
    # Only the winners' places are kept, so that a batch needs the memory of the affinities alone
    # and not that of all pixels of all ways.
    with torch.no_grad():
        for group in search_paths(radius):
            for path in group:
                moves = torch.tensor([dy * size[1] + dx for dy, dx in path], device=edge.device)
                seen = torch.stack([shifted(edge, point, radius) for point in path])
                strongest.append(begins + moves[seen.max(0).indices.flatten(1)])
    if not strongest:
        return edge.new_zeros(len(edge), 0, begins.numel())
    places = torch.stack(strongest, 1)
    return 1 - flat.gather(1, places.flatten(1)).view(places.shape)


def edge_bands(edge: Tensor, radius: int) -> tuple[Tensor, list[Offset]]:
    """Affinities of an image at their source pixels, for the random walk; all pairs in the grid.

    Args:
        edge: float [H, W] in 0..1.
        radius: of the disc.

    Returns:
        float [P, H, W], 0 where a pair's other pixel is outside, and the P offsets.
    """
    # Outside, everything is boundary.
    wide = widened(edge, radius, 1.0)
    size = window((wide.shape[-2], wide.shape[-1]), radius)
    return edge_affinity(wide[None], radius)[0].unflatten(-1, size), path_offsets(radius)
