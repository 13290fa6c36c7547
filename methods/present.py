"""The classes that a batch's labels name: all that label-masked losses need look at.

A loss of label-masked maps is 0 in the channels of absent classes, and so are its gradients. With
two of 20 or 80 classes in an image, nine tenths of its work are on zeros, at the crop's size.
"""

from __future__ import annotations

import torch
from torch import Tensor


def present(labels: Tensor) -> Tensor:
    """Indices of the classes of each image, and of one absent class where there is one.

    The absent one stays because its zeros take part in a maximum over the classes. Images with
    fewer labels get further absent ones.

    Args:
        labels: [N, C-1] of 0 and 1.

    Returns:
        [N, P], ascending; P is one more than the most labels of an image, at most C-1.
    """
    width = min(labels.shape[1], int(labels.sum(1).amax()) + 1)
    return labels.argsort(dim=1, descending=True, stable=True)[:, :width].sort(1).values


def compared(labels: Tensor) -> Tensor | None:
    """``present`` on a GPU; None, which is all classes, on a CPU.

    Sums over fewer zeros are the same but for their last bits. On a GPU these differ from run to
    run anyway; on a CPU they are part of the published numbers.
    """
    return present(labels) if labels.is_cuda else None


def pick(values: Tensor, classes: Tensor | None) -> Tensor:
    """The channels of each image's classes.

    Args:
        values: maps [M, C-1, H, W], or labels [M, C-1].
        classes: of ``present``, [N, P], of the N images of which the M are M / N views; None picks
            all.

    Returns:
        [M, P, H, W] or [M, P].
    """
    if classes is None:
        return values
    count, width = values.shape[:2]
    rows = classes.repeat(count // len(classes), 1)
    rows = rows + width * torch.arange(count, device=rows.device)[:, None]
    # As rows of one axis: the gradient of it adds whole maps, that of a gather single values.
    return values.flatten(0, 1).index_select(0, rows.flatten()).unflatten(0, (count, -1))
