"""AffinityNet as a task of a later stage: how it is built and what a training step minimises."""

from __future__ import annotations

from torch import Tensor, nn

from camsweep.methods.backbones import build_backbone
from camsweep.methods.base import Batch
from camsweep.methods.refine.affinity import WIDTHS, AffinityNet, affinity_loss, feature_affinity
from camsweep.methods.refine.grids import Learning, counts, labels_of, radius_of, totals_of
from camsweep.methods.refine.pairs import half_disc, pair_labels, pair_losses
from camsweep.methods.task import Task, TaskSettings

#: SmallNet's levels have 24, 32 and 48 channels where ResNet-38's have 512, 1024 and 4096.
SMALL_WIDTHS = (16, 32, 64)


def build(settings: TaskSettings, classes: int) -> AffinityNet:
    """A new AffinityNet on the backbone of ``settings.extra``; it knows no classes."""
    learning: Learning = settings.extra
    widths = SMALL_WIDTHS if learning.network == "small" else WIDTHS
    return AffinityNet(build_backbone(learning.network), widths, learning.cell)


def losses(
    net: nn.Module, batch: Batch, settings: TaskSettings, progress: float
) -> dict[str, Tensor]:
    """The released loss: means over all pairs of the batch.

    Args:
        net: an ``AffinityNet``.
        batch: ``superpixels`` [N, h, w] on the network's grid, class + 1, 0 = unknown.
        settings: of the task.
        progress: unused.
    """
    labels, radius = labels_of(batch.superpixels), radius_of(settings)
    offsets = half_disc(radius)
    # Sums of hundreds of distances and logarithms near 0 lose too much in 16 bits.
    affinity = feature_affinity(net(batch.images).float(), offsets, radius)
    terms = pair_losses(affinity, pair_labels(labels, offsets, radius), totals_of(batch))
    return {"loss": affinity_loss(terms), **terms._asdict()}


AFFINITY_TASK = Task("affinity", build, losses, counts)
