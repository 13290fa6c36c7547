"""A trial from its trained network to the end of its chain.

    localize -> (affinity ->) refine (-> segment) -> evaluate

Each stage is found in the store by its id, or made; what is made late costs only the late stages.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from camsweep.methods.team import Team
from camsweep.methods.training import EpochLog
from camsweep.platform.chain.lessons import AffinityLesson, SegmentLesson
from camsweep.platform.chain.links import Links, Split
from camsweep.platform.chain.making import SetOrder, make_set, measured
from camsweep.platform.chain.maps import Measured, read_measured, store_maps
from camsweep.platform.chain.quality import Counted, quality_of
from camsweep.platform.chain.sidesets import SideSet
from camsweep.platform.context import Report
from camsweep.platform.counting import PICTURES
from camsweep.platform.inputs import pretrained_for, waiting
from camsweep.platform.learning import Training
from camsweep.platform.lessons import Lesson, named_losses
from camsweep.platform.stages import StageResult, Tensors, ensure_weights
from camsweep.shards.errors import DamagedSample
from camsweep.sweeps.pictures import STAGE_OF, map_splits, mask_splits


@dataclass(frozen=True)
class ChainEnd:
    """What a trial's chain ended with; it is read as ``Evaluation`` is.

    Attributes:
        maps: of the evaluated split, as they were counted.
        masks: quality of the pseudo masks of the evaluated split.
        last: counts of the last stage: of the pseudo masks, or of the predictions.
        seconds: what the stages took, by name, also where they were found.
        skipped: damaged samples, `SPLIT/KEY`.
        journal: epochs of the later trainings, in order, under the names of their stage.
        pictures: of the maps' evaluation, the pseudo masks and the predictions.
        segmented: whether the last stage is a segmentation network.
        setup: `workers.STAGE` and `accumulation.STAGE` of the later trainings.
    """

    maps: Measured
    masks: dict[str, float]
    last: Counted
    seconds: dict[str, float]
    skipped: list[str]
    journal: list[EpochLog]
    pictures: Tensors
    segmented: bool
    setup: dict[str, int]

    @property
    def keys(self) -> list[str]:
        """Of the images that were evaluated."""
        return self.last.keys

    def metrics(self) -> dict[str, float]:
        """Fractions 0..1: of the last stage, and of those before it under their own names."""
        last = quality_of(self.last)
        before = {k: v for k, v in self.maps.metrics.items() if k.startswith("miou_")}
        before.pop("miou_floor", None)
        values = {
            **before,
            "miou_maps": self.maps.metrics["miou"],
            **{f"{name}_pseudo": self.masks[name] for name in ("miou", "precision", "recall")},
            **{name: last[name] for name in ("miou", "background_iou", "foreground_iou")},
            "miou_floor": self.last.floor if self.segmented else self.maps.metrics["miou_floor"],
        }
        if self.segmented:
            values["miou_segment"] = last["miou"]
        if "threshold" in self.maps.metrics:
            values["threshold"] = self.maps.metrics["threshold"]
        return values

    def curve_columns(self, trial_id: str) -> dict[str, Any]:
        """Columns of the curves table: the maps', which a threshold turns into masks."""
        table = self.maps.curves
        columns = {name: table[name] for name in table.column_names}
        return {**columns, "trial_id": [trial_id] * table.num_rows}

    def image_columns(self, trial_id: str) -> dict[str, Any]:
        """Columns of the images table: the last stage's counts."""
        return self.last.columns(trial_id)


@dataclass
class _Chain:
    """A chain that is being followed, on rank 0."""

    links: Links
    team: Team
    report: Report
    epochs: int
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    skipped: list[str] = field(default_factory=list)
    journal: list[EpochLog] = field(default_factory=list)
    setup: dict[str, int] = field(default_factory=dict)

    def learn(self, lesson: Lesson, split: str) -> StageResult:
        """The weights of a later network."""
        links, trial, context = self.links, self.links.trial, self.links.context
        first, _ = pretrained_for(trial, context, self.report, lesson.stage)
        reader = Split(links, split).reader
        training = Training(
            trial,
            context,
            reader,
            lesson.regions(trial, context, reader, self.report),
            first,
            self.report,
            self.team,
            lesson=lesson,
        )
        folder = links.folder(lesson.stage)
        result = ensure_weights(
            context.store,
            folder,
            lambda: training.compute(folder),
            waiting(trial, self.report),
        )
        self.seconds[lesson.stage] += result.seconds
        self.skipped += result.skipped
        self.setup[f"workers.{lesson.stage}"] = result.workers
        self.setup[f"accumulation.{lesson.stage}"] = result.accumulation
        done = self.epochs + len(self.journal)
        self.journal += [
            EpochLog(
                done + log.epoch,
                named_losses(lesson.stage, log.losses),
                log.lr,
                log.seconds,
            )
            for log in result.epochs
        ]
        return result

    def make(self, what: str, split: str, weights: Tensors | None, threshold: float) -> SetOrder:
        """A set of pictures."""
        order = SetOrder(self.links.trial, self.links.context, what, split, weights, threshold)
        facts = make_set(order, self.team, self.report)
        self.seconds[STAGE_OF[what]] += facts.seconds
        return order


def follow_chain(
    links: Links, weights: Tensors, team: Team, report: Report, epochs: int
) -> ChainEnd:
    """Run a trial's stages after the training.

    Args:
        links: the trial's chain.
        weights: of the method's network.
        team: the processes that share the work; this one is rank 0.
        report: is told where it stands.
        epochs: of the method's training, after which those of later ones are numbered.

    Raises:
        InputError: data or weights are wrong.
    """
    config = links.config
    chain = _Chain(links, team, report, epochs)
    for split in map_splits(links.trial):
        chain.seconds["localize"] += store_maps(links, weights, split, team, report).seconds
    maps = read_measured(links)
    spreading = None
    if links.learns:
        chain.make("labels", config.train_split, None, maps.threshold)
        spreading = chain.learn(AffinityLesson(), config.train_split).tensors
    orders = {
        split: chain.make("masks", split, spreading, maps.threshold)
        for split in mask_splits(links.trial)
    }
    masks = orders[config.eval_split]
    last = masks
    if links.segments:
        network = chain.learn(SegmentLesson(), config.train_split).tensors
        last = chain.make("predictions", config.segment_split, network, maps.threshold)
    clock = time.perf_counter()
    found = measured(last)
    chain.seconds["evaluate"] += time.perf_counter() - clock
    quality = masks.target.facts()
    assert quality is not None
    pictures = {**maps.pictures, **_shown(masks, "pseudo")}
    if last is not masks:
        pictures |= _shown(last, "segment", whole=True)
    missing = [f"{last.split}/{key}" for key in found.lacking]
    if links.context.skip_damaged:
        missing += [
            f"{split}/{key}" for split in map_splits(links.trial) for key in _lacking(links, split)
        ]
    return ChainEnd(
        maps,
        quality.quality,
        found,
        chain.seconds,
        [*chain.skipped, *missing],
        chain.journal,
        pictures,
        links.segments,
        chain.setup,
    )


def _lacking(links: Links, split: str) -> list[str]:
    """Keys of a split's images that have no maps."""
    return SideSet(links.target("localize", "maps", split), Split(links, split).reader).lacking


def _shown(order: SetOrder, what: str, whole: bool = False) -> dict[str, Tensor]:
    """A set's first pictures, uint8 [H, W] by `KEY/what`; `whole` with images and true masks."""
    split = Split(order.links, order.split)
    pictures = SideSet(order.target, split.reader)
    shown: dict[str, Tensor] = {}
    done = 0
    for index, key in enumerate(split.reader.keys):
        if done == PICTURES:
            break
        try:
            mask = pictures.picture(index)
            image, truth = split.image(index), split.mask(index)
        except DamagedSample:
            continue
        shown[f"{key}/{what}"] = torch.from_numpy(mask.copy())
        if whole and truth is not None:
            shown[f"{key}/image"] = torch.from_numpy(np.array(image))
            shown[f"{key}/mask"] = torch.from_numpy(np.array(truth))
        done += 1
    return shown
