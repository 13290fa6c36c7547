"""Complementary patch pairs: what one image of the pair hides, the other shows (CPN section 3.1).

Each image is cut into regions (grid cells or superpixels) by a map of region ids; a random bit per
id says whether the first image keeps the region. The bits are gathered by the id map, so no code
runs per pixel or per region in Python.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from camsweep.methods.parts import Part


class Pair(NamedTuple):
    """A complementary pair.

    Attributes:
        kept: bool [N, 1, H, W], true where the first image shows the pixel.
        lam: float32 [N], lambda = share of regions (or pixels) that the first image shows; the
            second one shows 1 - lambda.
    """

    kept: Tensor
    lam: Tensor

    def split(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The two images [N, 3, H, W]; hidden pixels are 0 = the mean colour."""
        hidden = torch.zeros((), dtype=images.dtype, device=images.device)
        return torch.where(self.kept, images, hidden), torch.where(self.kept, hidden, images)


def cell_size(k: int, crop: int) -> int:
    """Side of a grid cell in pixels: ``k`` of a 448 crop, scaled to ``crop``, at least 1."""
    return max(1, math.floor(k * crop / 448 + 0.5))


def grid_ids(sizes: Sequence[int], height: int, width: int) -> Tensor:
    """Region ids of square cells; those cut by the lower and right border are cells too.

    Args:
        sizes: the cell side of each image, pixels.
        height: rows of the image.
        width: columns of the image.

    Returns:
        int64 [N, H, W], ids from 1.
    """
    side = torch.tensor(sizes)[:, None, None]
    columns = torch.div(width + side - 1, side, rounding_mode="floor")
    rows = torch.div(torch.arange(height)[None, :, None], side, rounding_mode="floor")
    cells = torch.div(torch.arange(width)[None, None, :], side, rounding_mode="floor")
    return rows * columns + cells + 1


def cell_counts(sizes: Sequence[int], height: int, width: int) -> Tensor:
    """The largest id of ``grid_ids`` for each cell side: int64 [N]."""
    return torch.tensor([-(-height // side) * -(-width // side) for side in sizes])


def draw_sizes(grid_sizes: Sequence[int], n: int, generator: torch.Generator) -> list[int]:
    """One of the sizes for each of ``n`` images, all equally likely."""
    chosen = torch.randint(len(grid_sizes), (n,), generator=generator)
    return [grid_sizes[i] for i in chosen.tolist()]


def bernoulli_hidden(counts: Tensor, p_h: float, generator: torch.Generator) -> Tensor:
    """Hide each region with probability ``p_h`` (the paper's rule).

    Args:
        counts: int64 [N], the largest id of each image.
        p_h: hidden probability.
        generator: CPU generator.

    Returns:
        bool [N, max(counts) + 1] by id, true = hidden in the first image. Id 0 never is.
    """
    size = int(counts.max()) + 1
    hidden = torch.rand(len(counts), size, generator=generator) < p_h
    hidden[:, 0] = False
    return hidden


def replacement_hidden(counts: Tensor, p_h: float, generator: torch.Generator) -> Tensor:
    """Hide the regions of floor(p_h (max id + 1)) ids drawn with replacement (the released rule).

    Ids are drawn from 0..max id though no region has id 0, and one can come twice: about
    1 - exp(-p_h) of the regions end up hidden, 39 % at p_h 0.5.

    Args:
        counts: int64 [N], the largest id of each image.
        p_h: draws per id.
        generator: CPU generator.

    Returns:
        bool [N, max(counts) + 1] by id, true = hidden in the first image. Id 0 never is.
    """
    draws = torch.floor(p_h * (counts + 1).double()).long()
    most = int(draws.max())
    unit = torch.rand(len(counts), most, generator=generator, dtype=torch.float64)
    ids = (unit * (counts + 1)[:, None]).long()
    hidden = torch.zeros(len(counts), int(counts.max()) + 1, dtype=torch.bool)
    valid = torch.arange(most)[None] < draws[:, None]
    return mark_hidden(hidden, torch.where(valid, ids, torch.zeros_like(ids)))


def mark_hidden(hidden: Tensor, ids: Tensor) -> Tensor:
    """``hidden`` [N, K] with the drawn ``ids`` [N, D] set; id 0 is no region and stays unset."""
    marked = hidden.scatter(1, ids, True)
    marked[:, 0] = False
    return marked


def make_pair(ids: Tensor, hidden: Tensor, lam: str) -> Pair:
    """The pair that given bits make.

    Args:
        ids: int32 or int64 [N, H, W] region ids; 0 is padding: it is 0 in both images and not
            counted.
        hidden: bool [N, K] by id, K above every id.
        lam: ``"cells"`` counts regions (the paper's and the code's rule for grids), ``"pixels"``
            counts pixels (theirs for superpixels).

    Returns:
        The pair, on the device of ``ids``.
    """
    hidden = hidden.to(ids.device)
    # Image by image and with ids of 32 bits: an index in int64 for the whole batch would be as
    # large as half of the images, in new memory at every step.
    kept = torch.stack(
        [shows.index_select(0, one.flatten()) for shows, one in zip(~hidden, ids, strict=True)]
    )
    if lam == "pixels":
        region = ids.flatten(1) > 0
        total, shown = region.sum(1, dtype=torch.int32), (kept & region).sum(1, dtype=torch.int32)
    else:
        present = torch.zeros_like(hidden).scatter(1, ids.flatten(1).long(), True)
        present[:, 0] = False
        total, shown = present.sum(1), (present & ~hidden).sum(1)
    share = shown.double() / total.clamp(min=1)
    return Pair(kept.view(ids.shape).unsqueeze(1), share.float())


def grid_pair(
    images: Tensor,
    grid_sizes: Sequence[int],
    p_h: float,
    lam: str,
    generator: torch.Generator,
    part: Part | None = None,
) -> Pair:
    """A grid pair: a size from K for each image, then each cell hidden with ``p_h``.

    Args:
        images: [N, 3, H, W].
        grid_sizes: cell sides K in pixels of these images.
        p_h: hidden probability.
        lam: see ``make_pair``.
        generator: CPU generator.
        part: which images of a batch these are; the draws are those of the whole batch.
    """
    n, _, height, width = images.shape
    part = part or Part(0, n, n)
    sizes = draw_sizes(grid_sizes, part.whole, generator)
    hidden = bernoulli_hidden(cell_counts(sizes, height, width), p_h, generator)
    ids = grid_ids(sizes[part.start : part.start + part.count], height, width)
    return make_pair(ids.to(images.device), part.of(hidden), lam)


def superpixel_pair(
    superpixels: Tensor,
    p_h: float,
    hiding: str,
    lam: str,
    generator: torch.Generator,
    part: Part | None = None,
    counts: Tensor | None = None,
) -> Pair:
    """A superpixel pair.

    Args:
        superpixels: int32 or int64 [N, H, W], 0 = padding.
        p_h: hidden probability.
        hiding: ``"bernoulli"`` (paper) or ``"with_replacement"`` (released code).
        lam: see ``make_pair``.
        generator: CPU generator.
        part: which images of a batch these are; the draws are those of the whole batch.
        counts: int64 [images of the batch], the largest id of each; for a part.
    """
    if part is None or counts is None:
        part = Part(0, len(superpixels), len(superpixels))
        counts = superpixels.flatten(1).amax(1).long().cpu()
    draw = replacement_hidden if hiding == "with_replacement" else bernoulli_hidden
    return make_pair(superpixels, part.of(draw(counts, p_h, generator)), lam)
