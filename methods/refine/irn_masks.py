"""IRN's inference: boundaries of an image, maps spread up to them, pseudo masks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from camsweep.methods.refine.irn import IrnNet
from camsweep.methods.refine.paths import edge_bands
from camsweep.methods.refine.walk import transition, walk


@torch.no_grad()
def edge_displacement(
    net: IrnNet, image: Tensor, crop: int = 512, *, cut: bool = False
) -> tuple[Tensor, Tensor]:
    """Boundaries from the image and its mirror image together, and displacements.

    The image is padded with the mean colour to the size that the network was trained on.

    Args:
        net: in eval.
        image: normalised, float [3, H, W].
        crop: side of the training crops.
        cut: cut a larger image to the crop, as released; its boundaries then do not fit its maps.
            None of VOC's images is larger than 512.

    Returns:
        Probabilities of boundaries [1, h, w] and displacements (dy, dx) [2, h, w];
        h = H / ``net.stride``, rounded up.
    """
    height, width = image.shape[-2:]
    cells = (height - 1) // net.stride + 1, (width - 1) // net.stride + 1
    both = torch.stack([image, image.flip(-1)])
    to = (crop, crop) if cut else (max(crop, height), max(crop, width))
    padded = F.pad(both, (0, to[1] - width, 0, to[0] - height))
    edges, fields = (found[..., : cells[0], : cells[1]] for found in net(padded))
    return (edges[0] / 2 + edges[1].flip(-1) / 2).sigmoid(), fields[0]


def propagate(
    maps: Tensor, edge: Tensor, radius: int = 5, beta: float = 10, doublings: int = 8
) -> Tensor:
    """Random walk of maps within boundaries, from where no boundary is.

    Args:
        maps: float [C, h, w], at the size of ``edge``.
        edge: probabilities of boundaries [1, h, w].
        radius: of the neighbours that a step reaches; below it.
        beta: power of the affinities.
        doublings: 2^doublings steps, ``exp_times``.

    Returns:
        float32 [C, h, w].
    """
    bands, offsets = edge_bands(edge[0], radius)
    return walk(maps * (1 - edge), transition(bands, offsets, beta), doublings)


def enlarged(maps: Tensor, size: tuple[int, int], stride: int = 4) -> Tensor:
    """Maps at the image's size, divided by the largest value of all of them.

    Args:
        maps: float [C, h, w].
        size: of the image, (H, W).
        stride: image pixels a cell.

    Returns:
        float [C, H, W] in 0..1; zeros stay zeros (the released code divides by 0).
    """
    if len(maps) == 0:
        return maps.new_zeros(0, *size)
    big = F.interpolate(maps[None], scale_factor=stride, mode="bilinear", align_corners=False)
    big = big[0, :, : size[0], : size[1]]
    most = big.amax()
    return big / torch.where(most > 0, most, torch.ones_like(most))


def with_constant(maps: Tensor, background: float = 0.25) -> Tensor:
    """Scores ``[C, H, W] -> [1 + C, H, W]`` whose background is a constant (IRN's own)."""
    return torch.cat([maps.new_full((1, *maps.shape[1:]), background), maps])
