"""The loss terms of SEAM and of CPN (equations 5 to 10)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from camsweep.methods.normalize import EPS, background, keep_max


def classification(scores: Tensor, labels: Tensor) -> Tensor:
    """Multi-label soft margin loss of averaged scores.

    Args:
        scores: [N, C-1, H, W].
        labels: [N, C-1] of 0 and 1.
    """
    return classification_of_means(scores.mean((2, 3)), labels)


def classification_of_means(means: Tensor, labels: Tensor) -> Tensor:
    """``classification`` where the averages [N, C-1] of the scores are at hand."""
    return F.multilabel_soft_margin_loss(means, labels)


def min_pooling(maps: Tensor) -> Tensor:
    """Mean over the lowest quarter of places of the best value (SEAM's released code).

    The papers do not name it; by SEAM's author it only moves the best background threshold.

    Args:
        maps: label-masked foreground maps [N, C, H, W], not normalised.
    """
    best = maps.amax(1).flatten(1)
    count = best.shape[1] // 4
    lowest = best.topk(count, largest=False, sorted=False).values
    return F.relu(lowest).sum() / (count * best.shape[0])


def tcp(
    whole: Tensor,
    first: Tensor,
    second: Tensor,
    *,
    renormalise: bool = False,
    channels: int | None = None,
) -> Tensor:
    """Triplet consistency: mean |lambda Y_h + (1 - lambda) Y_h' - Y_o| over foreground channels.

    Args:
        whole: Y_o [N, C-1, H, W], normalised and label-masked.
        first: lambda Y_h.
        second: (1 - lambda) Y_h'.
        renormalise: divide the weighted sum by its maximum, so that a pair whose images fire at
            different places is not asked to be as weak as its weights (not published).
        channels: see ``mean``.
    """
    pair = first + second
    if renormalise:
        pair = pair / (pair.amax((-2, -1), keepdim=True) + EPS)
    return mean((pair - whole).abs(), channels)


def mean(error: Tensor, channels: int | None = None) -> Tensor:
    """The mean of an error of which channels that are 0 were left out.

    Args:
        error: [N, C, H, W].
        channels: how many there are with those left out; default C.
    """
    if channels in (None, error.shape[1]):
        return error.mean()
    return error.sum() / (error.shape[0] * channels * error.shape[2] * error.shape[3])


def with_background(foreground: Tensor) -> Tensor:
    """[N, C-1, H, W] -> [N, C, H, W] with channel 0 = 1 - best foreground."""
    return torch.cat([background(foreground), foreground], 1)


def one_hot(maps: Tensor, rule: str) -> Tensor:
    """Keep the largest channel at each place: CPCR's target.

    Args:
        maps: [N, C, H, W], background first.
        rule: ``"code"`` compares all channels, ``"seam"`` spares the background, ``"none"`` keeps
            everything.
    """
    if rule == "none":
        return maps
    return keep_max(maps, spare=1 if rule == "seam" else 0)


def mean_hardest(error: Tensor, share: float = 0.2, channels: int | None = None) -> Tensor:
    """Online hard example mining: mean of the largest ``share`` of elements of each sample.

    Args:
        error: [N, C, H, W], at least 0.
        share: of the elements, those of channels left out included.
        channels: see ``mean``.
    """
    flat = error.flatten(1)
    elements = (error.shape[1] if channels is None else channels) * error[0, 0].numel()
    count = max(1, int(elements * share))
    if count > flat.shape[1]:
        return flat.sum() / (len(flat) * count)
    return flat.topk(count, dim=1, sorted=False).values.mean()


def er(first: Tensor, second: Tensor) -> Tensor:
    """Equivariant regularisation: mean |Y_1 - Y_2| over foreground channels (SEAM).

    Args:
        first: map of the image at the smaller copy's size [N, C-1, H, W], normalised and
            label-masked.
        second: map of the smaller copy.
    """
    return (first - second).abs().mean()


def cross(
    targets: tuple[Tensor, Tensor],
    refined: tuple[Tensor, Tensor],
    *,
    rule: str,
    ohem: bool,
    channels: int | None = None,
) -> Tensor:
    """Cross regularisation: |one-hot target - refined map|, summed over both images.

    SEAM's ECR where the targets are the other image's raw maps. All maps are [N, C, H, W] with
    background first.

    Args:
        targets: what each refined map is compared with.
        refined: the refined maps.
        rule: see ``one_hot``.
        ohem: average the hardest 20 % of elements of each sample instead of all.
        channels: see ``mean``; C with the background.
    """
    total = torch.zeros((), device=refined[0].device)
    for target, other in zip(targets, refined, strict=True):
        error = (one_hot(target, rule) - other).abs()
        total = total + (mean_hardest(error, channels=channels) if ohem else mean(error, channels))
    return total


def cpcr(
    whole: Tensor,
    weighted: tuple[Tensor, Tensor],
    refined: tuple[Tensor, Tensor],
    *,
    rule: str = "code",
    ohem: bool = True,
    channels: int | None = None,
) -> Tensor:
    """Complementary cross regularisation: |Y_o - lambda Y_h - (1 - lambda) Y~_h'| and its mirror.

    All maps are [N, C, H, W] with background first, which is not scaled by lambda.

    Args:
        whole: Y_o.
        weighted: (lambda Y_h, (1 - lambda) Y_h').
        refined: (lambda Y~_h, (1 - lambda) Y~_h').
        rule: see ``one_hot``.
        ohem: average the hardest 20 % of elements of each sample instead of all.
        channels: see ``mean``; C with the background.

    Returns:
        The sum of both terms.
    """
    targets = (whole - weighted[0], whole - weighted[1])
    return cross(targets, (refined[1], refined[0]), rule=rule, ohem=ohem, channels=channels)
