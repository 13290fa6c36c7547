"""What a leaderboard says of each variant."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from camsweep.reports.load import Selection, Trial
from camsweep.reports.measure import Estimate
from camsweep.reports.repeated import Repeated


@dataclass(frozen=True)
class Entry:
    """A variant's place.

    Attributes:
        rank: 1 for the best; equal for none.
        name: short name from what sets the variant apart.
        estimate: the metric ranked by.
        background: IoU of the background.
        foreground: mean IoU of the foreground classes.
        tied: ranks of the entries that the paired test does not separate from this one, itself
            among them; empty for places that are not tested.
        trials: one a seed.
        labels: where the variant stands in sweeps, ``cpn/table4 p_h=0.5``.
        train_seconds: mean training time of a trial, seconds.
        images_per_second: mean training throughput.
        peak_memory: largest peak of a trial, bytes.
        parameters: of the network.
        repeated: what repeats of its trials gave; None where there are none.
        method: its name, ``cpn``.
        backbone: its name, ``resnet38``; empty where no config tells it.
        stage: what the mIoU is measured on, in words (`facts.stage`).
        rank_low: best rank of the 95 % interval; 0 where it was not computed.
        rank_high: worst rank of it.
        group: letters; entries that share one are not separated by the paired test. Empty where
            there was no test.
        better: the probability that another training beats one of the next place, 0..1; NaN for
            the last place and where it was not computed.
        precision: mean over the foreground classes.
        recall: mean over the foreground classes.
        small: mean foreground IoU of small objects; ``medium`` and ``large`` alike.
        medium: of medium ones.
        large: of large ones.
        class_iou: IoU of each class, mean over seeds, NaN where the class is absent; empty where
            there are no counts.
        gpu_hours: of all its seeds and stages; NaN where none ran on a GPU.
        cpu_hours: core-hours of those that ran on no GPU; NaN where none did.
        config: the settings that are not the method's own.
        detailed: whether images were resampled for it; else its interval is over seeds alone.
    """

    rank: int
    name: str
    estimate: Estimate
    background: Estimate | None
    foreground: Estimate | None
    tied: tuple[int, ...]
    trials: tuple[Trial, ...]
    labels: tuple[str, ...]
    train_seconds: float
    images_per_second: float
    peak_memory: float
    parameters: float
    repeated: Repeated | None = None
    method: str = ""
    backbone: str = ""
    stage: str = ""
    rank_low: int = 0
    rank_high: int = 0
    group: str = ""
    better: float = math.nan
    precision: Estimate | None = None
    recall: Estimate | None = None
    small: Estimate | None = None
    medium: Estimate | None = None
    large: Estimate | None = None
    class_iou: tuple[float, ...] = ()
    gpu_hours: float = math.nan
    cpu_hours: float = math.nan
    config: Mapping[str, Any] = field(default_factory=dict)
    detailed: bool = True


@dataclass(frozen=True)
class Leaderboard:
    """Entries from best to worst.

    Attributes:
        metric: ranked by, higher is better.
        selection: whose trials.
        entries: from best to worst; those without a number last.
        pairs: the number of tests that Holm adjusted for.
        images: that the entries were measured on, at most.
        left_out: how many done trials a newer one of the same variant and seed replaces.
        floor: the mIoU without any skill (uniform maps with the true image labels); NaN where no
            trial recorded it.
        classes: names, the background first.
        resamples: of the bootstrap.
        asked: the filters, in words; ranks are among the variants that fit them.
        variants: how many have a place; more than there are entries where the best were asked for.
        unknown: how many have none, as their metric is not known.
        kind: what the entries were measured on, ``segmentation on val``; empty for maps where there
            are no trials of the same profile and data set that were measured on something else.
    """

    metric: str
    selection: Selection
    entries: tuple[Entry, ...]
    pairs: int
    images: int
    left_out: int = 0
    floor: float = math.nan
    classes: tuple[str, ...] = ()
    resamples: int = 0
    asked: str = ""
    variants: int = 0
    unknown: int = 0
    kind: str = ""

    @property
    def title(self) -> str:
        """``Leaderboard``, and what of where that is not all."""
        return f"Leaderboard: {self.kind}" if self.kind else "Leaderboard"

    @property
    def key(self) -> str:
        """``embedded on voc12 (ab12cd34)``: what tells it from the store's other boards."""
        of = f"{self.selection.profile} on {self.selection.data}"
        return f"{of}: {self.kind}" if self.kind else of
