"""What a trial's numbers were measured on: its maps, its pseudo masks or its segmentations.

The headline metrics, and the counts of the images, are those of a trial's last stage. Numbers of
different stages, or of different splits, are never ranked as one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from camsweep.reports.counted import COUNTED
from camsweep.reports.load import Selection, Trial

MAPS, PSEUDO, SEGMENTATION = "maps", "pseudo masks", "segmentation"
#: In the order of the chain.
WHAT = (MAPS, PSEUDO, SEGMENTATION)
#: Metrics of the stages that a trial's row tells beside the headline.
_PSEUDO = {"miou_pseudo": "miou", "precision_pseudo": "precision", "recall_pseudo": "recall"}
_SEGMENTATION = {"miou_segment": "miou"}


class Kind(NamedTuple):
    """What was measured, one of `WHAT`, and on which split; empty where no row tells it."""

    what: str
    split: str

    @property
    def text(self) -> str:
        """``segmentation on val``."""
        return f"{self.what} on {self.split}" if self.split else self.what


def last_stage(trial: Trial) -> str:
    """What the headline metrics are of."""
    if trial.config.get("segment", "none") != "none":
        return SEGMENTATION
    return MAPS if trial.config.get("refine", "none") == "none" else PSEUDO


def what_of(trial: Trial, metric: str = "miou") -> str:
    """What a metric is of: `miou_segment` and the like name it, `miou_raw` is of maps."""
    if metric in _SEGMENTATION:
        return SEGMENTATION
    if metric in _PSEUDO:
        return PSEUDO
    return MAPS if metric.startswith("miou_") else last_stage(trial)


def kind_of(trial: Trial, metric: str = "miou") -> Kind:
    """What a metric of a trial was measured on."""
    what = what_of(trial, metric)
    split = trial.config.get("segment_split" if what == SEGMENTATION else "eval_split")
    return Kind(what, str(split or ""))


def counted_name(trial: Trial, metric: str) -> str:
    """A metric's name among those of the images' counts; its own where it has none there."""
    last = last_stage(trial)
    if last == SEGMENTATION:
        return _SEGMENTATION.get(metric, metric)
    if last == PSEUDO:
        return _PSEUDO.get(metric, metric)
    return "miou" if metric == f"miou_{trial.config.get('map', 'raw')}" else metric


def told(trials: Iterable[Trial]) -> str:
    """What trials measured, in words: ``maps and pseudo masks on train``; empty for maps alone."""
    kinds = {kind_of(trial) for trial in trials if trial.done}
    if all(kind.what == MAPS for kind in kinds):
        return ""
    splits: dict[str, list[str]] = {}
    for kind in sorted(kinds, key=_place):
        splits.setdefault(kind.split, []).append(kind.what)
    parts = [Kind(" and ".join(what), split).text for split, what in splits.items()]
    return "; ".join(parts)


def _place(kind: Kind) -> tuple[int, str]:
    return WHAT.index(kind.what), kind.split


def by_kind(selection: Selection, metric: str = "miou") -> dict[Kind, Selection]:
    """The trials of a selection apart by what they measured, those with most done trials first.

    Failed trials go with the done ones of their kind. A kind of which no done trial has the metric
    has no part; where no other is left, all trials are one part.
    """
    parts: dict[Kind, list[Trial]] = {}
    for trial in selection.trials:
        parts.setdefault(kind_of(trial, metric), []).append(trial)
    done = {kind: sum(_has(trial, metric) for trial in some) for kind, some in parts.items()}
    order = sorted(parts, key=lambda kind: (-done[kind], _place(kind)))
    kept = [kind for kind in order if done[kind]]
    if len(kept) < 2:
        return dict.fromkeys((kept or order)[:1], selection)
    return {kind: replace(selection, trials=tuple(parts[kind])) for kind in kept}


def _has(trial: Trial, metric: str) -> bool:
    return trial.done and (metric in COUNTED or metric in trial.metrics)
