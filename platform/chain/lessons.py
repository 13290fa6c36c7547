"""The trainings after the maps: AffinityNet or IRN on sure labels, segmentation on pseudo masks."""

from __future__ import annotations

from typing import Any

import numpy as np

from camsweep.methods.config import Stage
from camsweep.methods.refine.learning import cell_of
from camsweep.methods.refine.learning import settings_of as affinity_settings
from camsweep.methods.refine.learning import task_of as affinity_task
from camsweep.methods.refine.sure import MovedLabels
from camsweep.methods.segment.tasks import settings_of as segment_settings
from camsweep.methods.segment.tasks import task_of as segment_task
from camsweep.methods.task import Task, TaskSettings
from camsweep.platform.chain.links import Links, Picture, Split
from camsweep.platform.chain.sidesets import SideSet
from camsweep.platform.context import Report, RunContext
from camsweep.shards.reader import SplitReader
from camsweep.sweeps.plan import PlannedTrial

UNKNOWN = 255


class AffinityLesson:
    """AffinityNet or IRN, on what two CRFs are sure of."""

    stage: Stage = "affinity"

    def learner(self, config: Any, images: int) -> tuple[Task, TaskSettings]:
        """The network that the config names, under its recipe."""
        return affinity_task(config), affinity_settings(config)

    def regions(
        self, trial: PlannedTrial, context: RunContext, reader: SplitReader, report: Report
    ) -> MovedLabels:
        """The stored labels, which are cropped as the images are."""
        links = Links(trial, context)
        split = Split(links, reader.split)
        return MovedLabels(StoredLabels(split), split.present, cell_of(links.config))


class SegmentLesson:
    """The segmentation network, on the pseudo masks."""

    stage: Stage = "segment"

    def learner(self, config: Any, images: int) -> tuple[Task, TaskSettings]:
        """The network that the config names, under its published settings."""
        return segment_task(config), segment_settings(config, images)

    def regions(
        self, trial: PlannedTrial, context: RunContext, reader: SplitReader, report: Report
    ) -> StoredMasks:
        """The pseudo masks of the split."""
        return StoredMasks(Split(Links(trial, context), reader.split))


class StoredLabels:
    """The labels of a split's images for AffinityNet or IRN, as stacks of grey pictures."""

    def __init__(self, split: Split) -> None:
        """Open the set."""
        self._set = SideSet(split.links.target("affinity", "labels", split.name), split.reader)
        single = split.links.config.refine == "irn"
        self._heights = [1 if single else 2 * (1 + len(found)) for found in split.present]

    def __getitem__(self, index: int) -> Picture:
        """uint8 [K, H, W]; DamagedSample where there is none."""
        rows = self._set.picture(index)
        return rows.reshape(self._heights[index], -1, rows.shape[1]).copy()  # torch wants to own it


class StoredMasks:
    """The pseudo masks of a split as regions: class + 1, 0 where nothing is known."""

    def __init__(self, split: Split) -> None:
        """Open the set."""
        self._set = SideSet(split.links.target("refine", "masks", split.name), split.reader)

    def __getitem__(self, index: int) -> Any:
        """uint16 [H, W]; DamagedSample where there is none."""
        mask = self._set.picture(index).astype(np.uint16)
        return np.where(mask == UNKNOWN, 0, mask + 1).astype(np.uint16)
