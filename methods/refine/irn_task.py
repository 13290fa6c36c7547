"""IRN as a task of a later stage: how it is built, what it minimises, what is measured after it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camsweep.methods.backbones import build_backbone
from camsweep.methods.base import Batch
from camsweep.methods.inference import to_input
from camsweep.methods.refine.grids import Learning, counts, labels_of, radius_of, totals_of
from camsweep.methods.refine.irn import DISPLACEMENT, IrnNet, set_mean_shift
from camsweep.methods.refine.irn_losses import irn_losses
from camsweep.methods.task import Task, TaskSettings
from camsweep.shards.errors import DamagedSample

#: Images that the mean displacement is measured on: as many as the released code takes, VOC's
#: train split.
MEASURED = 1464
#: SmallNet's stages have 16 to 48 channels where ResNet-50's have 64 to 2048.
SMALL_WIDTHS = (16, 32, 64, 64, 64)


def build(settings: TaskSettings, classes: int) -> IrnNet:
    """A new IRN on the backbone of ``settings.extra``; it knows no classes.

    Raises:
        InputError: the backbone has not five stages.
    """
    learning: Learning = settings.extra
    widths = SMALL_WIDTHS if learning.network == "small" else DISPLACEMENT
    return IrnNet(build_backbone(learning.network), widths)


def losses(
    net: nn.Module, batch: Batch, settings: TaskSettings, progress: float
) -> dict[str, Tensor]:
    """The released loss: means over all pairs of the batch.

    Args:
        net: an ``IrnNet``.
        batch: ``superpixels`` [N, h, w] on the network's grid, class + 1, 0 = unknown.
        settings: of the task.
        progress: unused.
    """
    labels, radius = labels_of(batch.superpixels), radius_of(settings)
    edge, field = net(batch.images)
    terms = irn_losses(edge.float(), field.float(), labels, radius, totals_of(batch))
    return {"loss": terms.total, **terms._asdict()}


def finish(net: nn.Module, reader: Any, settings: TaskSettings, device: Any) -> None:
    """Measure the mean displacement on crops of the training images; the network ends in eval.

    It moves displacements, which tell instances apart; pseudo masks depend on boundaries alone.

    Args:
        net: a trained ``IrnNet``.
        reader: of the training split.
        settings: of the task.
        device: where the network is to run.
    """
    assert isinstance(net, IrnNet)
    net.to(device)
    set_mean_shift(net, _crops(reader, settings, device))


def _crops(reader: Any, settings: TaskSettings, device: Any) -> Iterator[Tensor]:
    """Whole batches of the images' upper left corners, padded with the mean colour."""
    side, batch = settings.crop, list[Tensor]()
    step = max(1, len(reader) // MEASURED)
    for index in range(0, len(reader), step):
        try:
            image = to_input(reader.image(index)[:side, :side])
        except DamagedSample:  # its training has told
            continue
        batch.append(F.pad(image, (0, side - image.shape[-1], 0, side - image.shape[-2])))
        if len(batch) == settings.batch:
            yield torch.stack(batch).to(device)
            batch = []


IRN_TASK = Task("irn", build, losses, counts, finish)
