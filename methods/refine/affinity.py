"""AffinityNet (Ahn and Kwak 2018): how alike the labels of two near pixels are, from features.

As released (psa, and SEAM's copy of it): three inner features of ResNet-38, each reduced by a 1x1
convolution, then mixed; the affinity of two pixels is exp of minus the mean absolute difference.
Layers have the released names, so published checkpoints fit.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camsweep.methods.backbones import Backbone
from camsweep.methods.refine.pairs import (
    Offset,
    PairLosses,
    half_disc,
    on_grid,
    shifted,
    shrunk,
    widened,
)

#: Channels that conv4, conv5 and conv6 are reduced to.
WIDTHS = (64, 128, 256)
RADIUS = 5


def feature_affinity(features: Tensor, offsets: list[Offset], radius: int) -> Tensor:
    """Affinities of all pairs of the window.

    Args:
        features: float [N, D, H, W].
        offsets: P of them.
        radius: of the window, at least as large as every offset asks.

    Returns:
        float [N, P, S] in 0..1, a = exp(-|f_i - f_j|_1 / D).
    """
    here = shifted(features, (0, 0), radius)
    # Offset by offset: all of them at once would be P copies of the features.
    found = [
        torch.exp(-(shifted(features, o, radius) - here).abs().mean(1)).flatten(1) for o in offsets
    ]
    return (
        torch.stack(found, 1) if found else features.new_zeros(len(features), 0, here[0, 0].numel())
    )


def affinity_bands(
    features: Tensor, radius: int = RADIUS, *, everywhere: bool = False
) -> tuple[Tensor, list[Offset]]:
    """Affinities of an image at their source pixels, for the random walk.

    Args:
        features: float [D, H, W].
        radius: shrunk on small grids as SEAM's code does.
        everywhere: take all pairs in the grid, at its borders too. Released code leaves out the
            pairs whose source has not its whole half disc in the grid, so nothing spreads along
            the lowest rows, nor in a grid of two rows.

    Returns:
        float [P, H, W], 0 where there is no pair, and the P offsets.
    """
    size = (features.shape[-2], features.shape[-1])
    if everywhere:
        offsets = half_disc(radius)
        wide = feature_affinity(widened(features, radius, 0.0)[None], offsets, radius)
        inside = widened(torch.ones_like(features[0]), radius, 0.0)
        masks = [shifted(inside, o, radius) for o in offsets]
        bands = wide[0].unflatten(-1, size)
        return (bands * torch.stack(masks) if offsets else bands), offsets
    radius = shrunk(radius, size)
    offsets = half_disc(radius)
    return on_grid(feature_affinity(features[None], offsets, radius)[0], size, radius), offsets


def affinity_loss(losses: PairLosses) -> Tensor:
    """The weighted sum of the three means; the paper's is four times as large."""
    return losses.background / 4 + losses.foreground / 4 + losses.different / 2


def our_name(released: str) -> str:
    """The name in ``AffinityNet`` of a published checkpoint's tensor."""
    return released if released.startswith(("f8_", "f9.")) else f"backbone.{released}"


def from_released(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A published checkpoint's tensors by the names of ``AffinityNet``."""
    return {our_name(k): v for k, v in state.items()}


class AffinityNet(nn.Module):
    """A backbone with the affinity head; what of it is frozen is the backbone's choice.

    Args:
        backbone: ResNet-38 as published; another one's last three levels are taken likewise.
        widths: channels that those are reduced to.
        stride: image pixels a cell of the third last level; None = as of the last one.
    """

    def __init__(
        self,
        backbone: Backbone,
        widths: tuple[int, int, int] = WIDTHS,
        stride: int | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.stride = backbone.stride if stride is None else stride
        inside = backbone.level_channels[-3:]
        self.f8_3, self.f8_4, self.f8_5 = (
            nn.Conv2d(i, o, 1, bias=False) for i, o in zip(inside, widths, strict=True)
        )
        self.f9 = nn.Conv2d(sum(widths), sum(widths), 1, bias=False)
        for reduce in (self.f8_3, self.f8_4, self.f8_5):
            nn.init.kaiming_normal_(reduce.weight)
        nn.init.xavier_uniform_(self.f9.weight, gain=4)

    def train(self, mode: bool = True) -> AffinityNet:
        """Set the mode; the backbone's parts follow, but not the backbone itself.

        The dropout that ResNet-38 ends with belongs to the released *classifiers*; AffinityNet has
        only the dropouts inside b6 and b7.
        """
        super().train(mode)
        self.backbone.training = False
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings whose distance is compared.

        Args:
            images: normalised, float [N, 3, H, W].

        Returns:
            float [N, 448, h, w] on the grid of the third last level (ResNet-38: stride 8), >= -1.
        """
        levels = self.backbone(images).levels[-3:]
        size = levels[0].shape[-2:]
        reduced = []
        for level, layer in zip(levels, (self.f8_3, self.f8_4, self.f8_5), strict=True):
            found = F.elu(layer(level))
            if found.shape[-2:] != size:  # never of ResNet-38
                found = F.interpolate(found, size, mode="bilinear", align_corners=False)
            reduced.append(found)
        mixed: Tensor = F.elu(self.f9(torch.cat(reduced, 1)))
        return mixed
