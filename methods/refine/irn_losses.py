"""What IRN learns: affinities of boundaries, and displacements to the centroids of instances."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from camsweep.methods.refine.pairs import (
    Offset,
    mean_where,
    pair_labels,
    pair_losses,
    shifted,
)
from camsweep.methods.refine.paths import edge_affinity, path_offsets


class IrnLosses(NamedTuple):
    """The terms, each a mean over its pairs and 0 where there are none.

    Attributes:
        background: affinities of pairs of background.
        foreground: of pairs of one class.
        different: of pairs of two.
        centroid: displacements of pairs of one class (D_fg).
        still: displacements of pairs of background (D_bg).
    """

    background: Tensor
    foreground: Tensor
    different: Tensor
    centroid: Tensor
    still: Tensor

    @property
    def alike(self) -> Tensor:
        """Affinities of pairs that are alike, both kinds in equal parts."""
        return (self.background + self.foreground) / 2

    @property
    def total(self) -> Tensor:
        """The released sum; the paper's is twice as large."""
        return (self.alike + self.different) / 2 + (self.centroid + self.still) / 2


def pair_displacement(field: Tensor, offsets: list[Offset], radius: int) -> Tensor:
    """Differences of displacements, source minus target: ``[N, 2, H, W] -> [N, 2, P, S]``."""
    here = shifted(field, (0, 0), radius)
    found = [(here - shifted(field, o, radius)).flatten(2) for o in offsets]
    return torch.stack(found, 2)


def irn_losses(
    edge: Tensor, field: Tensor, labels: Tensor, radius: int = 10, totals: Tensor | None = None
) -> IrnLosses:
    """The terms of a batch.

    Pixels of one instance displaced by D meet in its centroid, so D_i - D_j should be the way from
    i to j; on background nothing should move.

    Args:
        edge: logits [N, 1, H, W].
        field: displacements [N, 2, H, W].
        labels: integers [N, H, W], 255 = undecided; every fourth pixel of a training crop's.
        radius: 10 as released, at least 2; the window of ``pairs`` must not be empty.
        totals: see ``pair_losses``; displacements of a kind of pairs are divided by the same.
    """
    offsets = path_offsets(radius)
    found = pair_labels(labels, offsets, radius)
    affinity = edge_affinity(edge.sigmoid()[:, 0], radius)
    differences = pair_displacement(field, offsets, radius)
    way = torch.tensor(offsets, dtype=field.dtype, device=field.device).T[None, :, :, None]
    to_centroid, moved = (gap.abs().sum(1) for gap in (differences - way, differences))
    background, foreground = (None, None) if totals is None else (totals[0], totals[1])
    return IrnLosses(
        *pair_losses(affinity, found, totals),
        mean_where(to_centroid, found.foreground, foreground, axes=2),
        mean_where(moved, found.background, background, axes=2),
    )
