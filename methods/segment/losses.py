"""Cross entropy against pseudo masks, as a mean over the known pixels of a whole batch.

The released codes take the mean over all known pixels of a batch at once, so an image that fills
its crop counts for more than one that was made small. Parts of a batch (``methods.parts``) add up
to that mean only if each divides by the pixels of all parts, which ``known_counts`` tells.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from camsweep.methods.backbones import without_storage
from camsweep.methods.base import Batch
from camsweep.methods.parts import Part
from camsweep.methods.segment.networks import Network, build_network
from camsweep.methods.task import TaskSettings


def shrunk(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Labels [N, H, W] at another size, each cell that of the pixel nearest to its centre.

    The same pixels as Pillow's nearest takes, which the released code uses; torch's lie half a
    cell off.
    """
    rows, columns = (
        (2 * torch.arange(after, device=labels.device) + 1) * before // (2 * after)
        for after, before in zip(size, labels.shape[-2:], strict=True)
    )
    if size == labels.shape[-2:]:
        return labels
    return labels[:, rows][:, :, columns]


def pixel_loss(
    logits: Tensor, labels: Tensor, known: Tensor | None = None, part: Part | None = None
) -> Tensor:
    """Cross entropy of the known pixels, a mean over those of the whole batch; 0 where none is.

    Args:
        logits: float32 [N, C, h, w].
        labels: integers [N, H, W], class + 1, 0 = unknown; taken at the logits' size.
        known: how many are known at that size, of all images of the batch; None: these are all.
        part: which images these are; what is returned times ``part.share`` adds up.
    """
    targets = shrunk(labels, (logits.shape[-2], logits.shape[-1])).long() - 1
    # Not reduced by cross_entropy: its mean is NaN of no pixel at all.
    total = F.cross_entropy(logits, targets, ignore_index=-1, reduction="none").sum()
    count = (targets >= 0).sum() if known is None else known
    mean = total / count.clamp(min=1)
    return mean if part is None else mean / part.share


def losses(net: Any, batch: Batch, settings: TaskSettings, progress: float) -> dict[str, Tensor]:
    """The cross entropy of each of the network's maps, and their sum.

    Args:
        net: DeepLab-v1 (one map, at the images' size) or -v2 (four, at their own sizes).
        batch: ``superpixels`` [N, H, W], class + 1, 0 = unknown.
        settings: of the task.
        progress: unused.

    Raises:
        ValueError: a part of a batch without the ``known_counts`` of the whole.
    """
    labels = batch.superpixels
    assert labels is not None
    counts = batch.counts
    if batch.part is not None and counts is None:
        raise ValueError("a part of a batch has no mean of its own; the batch's counts are needed")
    known = [None] * len(net.terms) if counts is None else counts.to(labels.device).sum(0)
    terms = {
        name: pixel_loss(logits, labels, number, batch.part)
        for name, logits, number in zip(net.terms, net(batch.images), known, strict=True)
    }
    return {**terms, "loss": torch.stack(list(terms.values())).sum()}


def known_counts(labels: Tensor, settings: TaskSettings) -> Tensor:
    """How many pixels of each image are known, at the size of each of the network's maps.

    Args:
        labels: integers [N, H, W], class + 1, 0 = unknown.
        settings: of the task.

    Returns:
        int64 [N, maps].
    """
    sizes = map_sizes(settings.extra, labels.shape[-2], labels.shape[-1])
    return torch.stack([(shrunk(labels, size) > 0).flatten(1).sum(1) for size in sizes], 1)


@lru_cache(maxsize=8)
def map_sizes(network: Network, height: int, width: int) -> tuple[tuple[int, int], ...]:
    """Sizes of a network's maps for images of that size; computes shapes alone."""
    with without_storage():
        net = build_network(network, 2).eval()
        maps: Any = net(torch.empty(1, 3, height, width))
    return tuple((found.shape[-2], found.shape[-1]) for found in maps)
