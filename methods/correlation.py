"""PCM (SEAM) and PRCM (CPN): refine a map by how alike the features of places and regions are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camsweep.methods.backbones import Features
from camsweep.methods.normalize import EPS

# Entries of one block of an affinity: 48 MiB of float32, whatever the number of places. More than
# 32 MiB, as glibc then gives it back at once; smaller ones (33 of them at 94 x 125 places) broke
# its heap into pieces that together were as large as the whole affinity.
BLOCK = 12 << 20


def like_sums(values: Tensor, points: Tensor, tau: float = 0.0) -> Tensor:
    """For each place the values of all places, weighed by their affinity to it and summed.

    The affinity of two places is the product of their features where it is above ``tau``, else 0.
    Its columns do not depend on each other, so without a gradient they are made a block at a time;
    a gradient would keep all blocks anyway.

    Args:
        values: float32 [N, V, P].
        points: float32 [N, D, P].
        tau: 0..1.

    Returns:
        [N, V, P].
    """
    count, _, places = points.shape
    kept = torch.is_grad_enabled() and (values.requires_grad or points.requires_grad)
    step = places if kept else max(1, BLOCK // (count * places))
    rows = points.transpose(1, 2)
    return torch.cat(
        [
            # In place no second block is needed; a threshold's gradient needs one, ReLU's does not.
            values @ F.threshold(rows @ columns, tau, 0.0, inplace=not kept)
            if tau > 0
            else values @ F.relu_(rows @ columns)
            for columns in points.split(step, 2)
        ],
        2,
    )


def like_mean(maps: Tensor, unit: Tensor, tau: float = 0.0) -> Tensor:
    """For each place the mean of the maps over the places like it, weighed by their cosine.

    Args:
        maps: float32 [N, C, P].
        unit: float32 [N, D, P] of length 1 by place.
        tau: cosines up to it count as 0, 0..1.

    Returns:
        [N, C, P].
    """
    # One more row of ones: its sum is each place's sum of weights.
    sums = like_sums(torch.cat([maps, torch.ones_like(maps[:, :1])], 1), unit, tau)
    return sums[:, :-1] / (sums[:, -1:] + EPS)


def pcm(maps: Tensor, embedded: Tensor) -> Tensor:
    """Pixel correlation module: each place takes the map values of places with like features.

    Affinity is ReLU of the cosine (L2, though the papers write an L1 norm), columns sum to 1. In
    float32 always: min-max normalisation magnifies what bfloat16 rounds, as refined maps are flat.

    Args:
        maps: [N, C, H', W'], resized to the features' size.
        embedded: g(X) [N, D, H, W].

    Returns:
        Float32 [N, C, H, W].
    """
    height, width = embedded.shape[-2:]
    with torch.autocast(embedded.device.type, enabled=False):
        flat = resize(maps.float(), (height, width)).flatten(2)
        places = embedded.float().flatten(2)
        unit = places / (places.norm(dim=1, keepdim=True) + EPS)
        return like_mean(flat, unit).unflatten(2, (height, width))


def spatial_gather(features: Tensor, maps: Tensor) -> Tensor:
    """One feature a class, averaged over places with weights softmax(map) (before CPN eq. 11).

    Args:
        features: X [N, D, H, W].
        maps: [N, C, H, W].

    Returns:
        Z, float32 [N, D, C].
    """
    with torch.autocast(features.device.type, enabled=False):
        weights = maps.float().flatten(2).softmax(-1)
        return features.float().flatten(2) @ weights.transpose(1, 2)


def prcm(classes: Tensor, embedded: Tensor, layout: str) -> Tensor:
    """Pixel-region correlation: softmax over places of the likeness of class and place.

    Args:
        classes: phi(Z) [N, D, C], after ReLU.
        embedded: g(X) [N, D, H, W], after ReLU, not L2-normalised.
        layout: ``"paper"`` transposes phi(Z) to [N, C, D]; ``"code"`` reads its memory as
            [N, C, D], as the released code does, which mixes classes and channels.

    Returns:
        Float32 [N, C, H, W]; every map sums to 1.
    """
    n, depth, count = classes.shape
    with torch.autocast(embedded.device.type, enabled=False):
        classes = classes.float()
        query = classes.reshape(n, count, depth) if layout == "code" else classes.transpose(1, 2)
        likeness = (query @ embedded.float().flatten(2)) * count**-0.5
        return likeness.softmax(-1).view(n, count, *embedded.shape[-2:])


def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear with aligned corners, as everywhere inside SEAM's and CPN's networks."""
    if maps.shape[-2:] == torch.Size(size):
        return maps
    return F.interpolate(maps, size, mode="bilinear", align_corners=True)


def resized_mean(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """The mean over places of ``resize(maps, size)``, without its maps; in float32 always.

    Args:
        maps: [N, C, h, w].
        size: (H, W).

    Returns:
        Float32 [N, C].
    """
    rows, columns = (
        resize(torch.eye(old, device=maps.device)[None, None], (new, old))[0, 0].mean(0)
        for old, new in zip(maps.shape[-2:], size, strict=True)
    )
    with torch.autocast(maps.device.type, enabled=False):
        return torch.einsum("nchw,h,w->nc", maps.float(), rows, columns)


def centred(values: Tensor) -> Tensor:
    """Minus the mean over the last axis."""
    return values - values.mean(-1, keepdim=True)


class Correlation(nn.Module):
    """The refinement head: X from side features and image, then Y_pcm (+ Y_prcm).

    X holds the image (3 channels) and both side features, each reduced to 1/8 of its channels
    (512 -> 64 and 1024 -> 128 for ResNets as published, at least 16 for the small network); g and
    phi map X to as many channels as the reduced features have (192). Inputs are detached: losses on
    the refined map train only this head.
    """

    def __init__(
        self,
        side_channels: tuple[int, int],
        *,
        use_prcm: bool,
        layout: str = "paper",
        centre: bool = False,
        stride: int = 1,
    ) -> None:
        """Build the head.

        Args:
            side_channels: channels of the two side features.
            use_prcm: add Y_prcm.
            layout: see ``prcm``.
            centre: subtract the mean over places from g(X), and over classes from phi(Z).
            stride: work on maps that are coarser by this factor, then resize back.
        """
        super().__init__()
        low, high = (max(16, channels // 8) for channels in side_channels)
        depth = low + high
        self.low = nn.Conv2d(side_channels[0], low, 1, bias=False)
        self.high = nn.Conv2d(side_channels[1], high, 1, bias=False)
        self.g = nn.Conv2d(3 + depth, depth, 1, bias=False)
        nn.init.kaiming_normal_(self.low.weight)
        nn.init.kaiming_normal_(self.high.weight)
        nn.init.xavier_uniform_(self.g.weight, gain=4)
        if use_prcm:
            self.phi = nn.Conv2d(3 + depth, depth, 1, bias=False)
            nn.init.xavier_uniform_(self.phi.weight, gain=4)
        self.use_prcm, self.layout, self.centre, self.stride = use_prcm, layout, centre, stride

    def features(
        self, images: Tensor, side: tuple[Tensor, Tensor], size: tuple[int, int]
    ) -> Tensor:
        """X [N, 3 + D, *size] from normalised images and side features."""
        low, high = (resize(part.detach(), size) for part in side)
        parts = [resize(images, size).to(low.dtype), F.relu(self.low(low)), F.relu(self.high(high))]
        return torch.cat(parts, 1)

    def refine(self, maps: Tensor, features: Tensor) -> Tensor:
        """Y~ [N, C, H, W] of prepared maps (``normalize.correlation_input``) at X's size.

        Under autocast only the 1 x 1 convolutions run in bfloat16.
        """
        embedded = self.g(features).float()
        places = embedded.flatten(2)
        refined = pcm(maps, centred(places).view_as(embedded) if self.centre else embedded)
        if not self.use_prcm:
            return refined
        gathered = spatial_gather(features, maps)
        classes = self.phi(gathered.unsqueeze(-1)).squeeze(-1).float()
        if self.centre:
            # Centred embeddings keep their sign: a ReLU would undo half of the centring.
            classes, embedded = centred(classes), centred(places).view_as(embedded)
        else:
            classes, embedded = F.relu(classes), F.relu(embedded)
        return refined + maps * prcm(classes, embedded, self.layout)

    def forward(self, maps: Tensor, images: Tensor, features: Features) -> Tensor:
        """Refined maps [N, C, h, w] at the size of ``maps``."""
        height, width = maps.shape[-2:]
        size = (-(-height // self.stride), -(-width // self.stride))
        coarse = maps if self.stride == 1 else F.adaptive_avg_pool2d(maps, size)
        refined = self.refine(coarse, self.features(images, features.side, size))
        return resize(refined, (height, width))
