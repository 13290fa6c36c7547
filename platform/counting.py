"""Counting one process's share of the evaluated images: every threshold, map and scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from camsweep.methods.base import Method
from camsweep.methods.inference import Maps, groups_of, localize
from camsweep.methods.metrics import Counts, ThresholdCounts, threshold_values
from camsweep.methods.team import Team
from camsweep.shards.epochs import evaluation_share
from camsweep.shards.errors import InputError
from camsweep.shards.reader import SplitReader

#: Images of the evaluated split whose maps are kept for the picture grids.
PICTURES = 12

#: The argmax over maps that carry their own background (SIPE's "estimated" pseudo labels).
ESTIMATED = "estimated"


class ImageCounts(NamedTuple):
    """One image's counts of all thresholds, of the classes that have any: 81 would fill the memory.

    Attributes:
        classes: int64 [K], the classes with any pixel counted.
        counts: int32 [T, K, 3].
    """

    classes: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int32]

    @classmethod
    def of(cls, counts: Counts) -> ImageCounts:
        """The part of int64 [T, C, 3] that is not zero."""
        classes = np.flatnonzero(counts.any((0, 2)))
        return cls(classes, counts[:, classes].astype(np.int32))

    def at(self, threshold: int, classes: int) -> Counts:
        """The counts of one threshold, int64 [classes, 3]."""
        full = np.zeros((classes, 3), np.int64)
        full[self.classes] = self.counts[threshold]
        return full


@dataclass
class Share:
    """What one process of a team counted.

    Attributes:
        totals: counts over its images by (map, scale).
        floor: counts [2, C, 3] of all background and of all foreground.
        images: counts of each image by index, in order.
        estimated: whether the headline is the argmax with the maps' own background.
        pictures: of its first images, by index.
        damaged: indices of the images that could not be read.
    """

    totals: dict[tuple[str, str], Counts]
    floor: Counts
    images: dict[int, ImageCounts]
    estimated: bool
    pictures: dict[int, dict[str, Tensor]]
    damaged: list[int]


def count_share(
    method: Method,
    net: nn.Module,
    reader: SplitReader,
    config: Any,
    device: torch.device | str,
    on_image: Callable[[int], None] | None,
    skip_damaged: bool,
    workers: int,
    team: Team,
    *,
    groups: list[list[int]] | None = None,
    on_maps: Callable[[int, Maps], None] | None = None,
) -> list[Share]:
    """Count this process's images; an error on one rank is raised on all.

    Args:
        method: whose maps are made.
        net: the trained network.
        reader: the split, with masks.
        config: the trial's settings.
        device: where the network runs.
        on_image: called with the index of each image that is done.
        skip_damaged: leave out images that can't be read.
        workers: threads that read ahead.
        team: the processes that share the images.
        groups: this process's images, of ``groups_of``; None deals them out here.
        on_maps: called with the index and the maps of each image.

    Returns:
        On rank 0 the counts of every rank, nothing on the others.
    """
    with team.together():
        if groups is None and team.world > 1:
            every = groups_of(reader.sizes, config.max_side)
            groups = [every[i] for i in evaluation_share(len(every), team.rank, team.world)]
        share = _count(
            method, net, reader, config, device, on_image, skip_damaged, workers, groups, on_maps
        )
    return team.collect(share)


def _count(
    method: Method,
    net: nn.Module,
    reader: SplitReader,
    config: Any,
    device: torch.device | str,
    on_image: Callable[[int], None] | None,
    skip_damaged: bool,
    workers: int,
    groups: list[list[int]] | None,
    on_maps: Callable[[int, Maps], None] | None,
) -> Share:
    thresholds = threshold_values(*config.thresholds)
    classes = len(reader.manifest.classes)
    totals: dict[tuple[str, str], ThresholdCounts] = {}
    uniform = ThresholdCounts(classes, [0.0, 1.0])
    share = Share({}, uniform.total, {}, False, {}, [])
    on_damaged = share.damaged.append if skip_damaged else None
    found_maps = localize(
        method, net, reader, config, device, on_image, on_damaged, workers, groups
    )
    for index, maps, mask in found_maps:
        if mask is None:
            raise InputError(
                f"{reader.place}: image {reader.keys[index]} of split '{reader.split}' has no "
                "mask; evaluate on a split with masks"
            )
        if on_maps is not None:
            on_maps(index, maps)
        present = (np.flatnonzero(np.asarray(reader.labels[index])) + 1).tolist()
        uniform.add(np.broadcast_to(np.float32(1), (len(present), *mask.shape)), mask, present)
        for name, scales in maps.items():
            for scale, found in scales.items():
                if (name, scale) not in totals:
                    totals[name, scale] = ThresholdCounts(classes, thresholds)
                front = found.foreground()
                counts = totals[name, scale].add(front.values, mask, front.classes)
                if found.has_background:
                    # Counted as foreground exactly where a class beats the map's own background.
                    beats = torch.where(front.values > found.values[:1], front.values, 0.0)
                    single = totals.setdefault((ESTIMATED, scale), ThresholdCounts(classes, [0.0]))
                    argmax = single.add(beats, mask, front.classes)
                if name == config.headline and scale == "all":
                    if found.has_background and config.pseudo_labels == ESTIMATED:
                        share.estimated, counts = True, argmax
                    share.images[index] = ImageCounts.of(counts)
        if len(share.images) <= PICTURES:
            share.pictures[index] = _pictures(reader, index, mask, maps, config.headline)
    share.totals.update({key: counts.total for key, counts in totals.items()})
    share.floor = uniform.total
    return share


def _pictures(
    reader: SplitReader, index: int, mask: npt.NDArray[np.uint8], maps: Any, headline: str
) -> dict[str, Tensor]:
    """One image's pictures, see ``Evaluation``."""
    key = reader.keys[index]
    pictures = {
        f"{key}/image": torch.from_numpy(reader[index].image.copy()),
        f"{key}/mask": torch.from_numpy(mask.copy()),
    }
    for what, name in (("map", headline), ("raw", "raw")):
        # The strongest class alone: what a picture shows, at a twentieth of the size.
        shown = torch.zeros(1, *mask.shape)
        winner = torch.zeros(1, *mask.shape, dtype=torch.uint8)
        front = maps[name]["all"].foreground()
        if front.classes:
            shown, place = front.values.max(0, keepdim=True)
            index_of = torch.tensor(front.classes, dtype=torch.uint8, device=place.device)
            winner = torch.where(shown > 0, index_of[place], 0)
        pictures[f"{key}/{what}"] = (shown.clamp(0, 1) * 255).round().to(torch.uint8)
        pictures[f"{key}/{what}_class"] = winner
    return pictures
