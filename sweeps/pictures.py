"""Room for the pictures of every image that the stages of a chain store: maps, masks and others.

Sizes are those of a set of the same kind and split that the store has, else by rule: bytes an image
and a pixel as on the embedded and on VOC's images, which are taken to be as large as the crop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, cast

from camsweep.methods.config import Stage
from camsweep.methods.segment.config import SegmentConfig
from camsweep.shards.places import Place
from camsweep.sweeps.plan import PlannedTrial
from camsweep.sweeps.results import artefact_name

#: Whose artefact each kind of pictures is.
STAGE_OF: dict[str, Stage] = {
    "maps": "localize",
    "labels": "affinity",
    "masks": "refine",
    "predictions": "evaluate",
}

#: The file that makes a set whole.
FACTS = "facts.json"

#: Folders that are asked for at once: on object storage each answer takes a while.
THREADS = 8

#: Bytes an image, for its place in a tar file and the head of a PNG, and bytes a pixel of it.
AN_IMAGE = 1500
A_PIXEL = {"maps": 2.4, "labels": 0.03, "masks": 0.03, "predictions": 0.03}


class PictureSet(NamedTuple):
    """One picture of each image of a split, in a stage's folder."""

    stage: str
    what: str
    split: str


def mask_splits(trial: PlannedTrial) -> list[str]:
    """The splits whose pseudo masks are made: measured ones, and those to train on."""
    trained = [trial.config.train_split] if "segment" in trial.stages else []
    return list(dict.fromkeys([trial.config.eval_split, *trained]))


def map_splits(trial: PlannedTrial) -> list[str]:
    """The splits whose maps are stored."""
    trained = [trial.config.train_split] if "affinity" in trial.stages else []
    return list(dict.fromkeys([*mask_splits(trial), *trained]))


def picture_sets(trial: PlannedTrial) -> list[PictureSet]:
    """The sets of a trial; those of a stage that trials share are the same."""
    if "refine" not in trial.stages:
        return []
    config = cast(SegmentConfig, trial.config)  # all methods have the settings of the chain
    splits = {"maps": map_splits(trial), "masks": mask_splits(trial)}
    if "affinity" in trial.stages:
        splits["labels"] = [config.train_split]
    if "segment" in trial.stages:
        splits["predictions"] = [config.segment_split]
    return [
        PictureSet(trial.stages[STAGE_OF[what]], what, split)
        for what, some in splits.items()
        for split in some
    ]


def picture_bytes(
    trials: Sequence[PlannedTrial], images: Mapping[str, int], place: Place, like: Sequence[str]
) -> float:
    """What the sets that are not there yet, or not whole, will still take.

    Args:
        trials: what is to run.
        images: how many each split has.
        place: the store.
        like: ids of stages of done trials of the same profile, those to be looked at first.
    """
    sizes = {found: trial.config.crop**2 for trial in trials for found in picture_sets(trial)}
    with ThreadPoolExecutor(THREADS) as pool:
        there = dict(zip(sizes, pool.map(lambda found: _there(place, found), sizes), strict=True))
    known: dict[tuple[str, str], int] = {}
    total = 0.0
    for found, (so_far, whole) in there.items():
        if whole:
            continue
        kind = (found.what, found.split)
        if kind not in known:
            others = (_there(place, PictureSet(stage, *kind)) for stage in like)
            known[kind] = next((size for size, whole in others if whole), 0)
        an_image = AN_IMAGE + A_PIXEL[found.what] * sizes[found]
        needed = known[kind] or images.get(found.split, 0) * an_image
        total += max(0.0, needed - so_far)
    return total


def _there(place: Place, found: PictureSet) -> tuple[int, bool]:
    """Bytes of a set, and whether it is whole: its facts are written last."""
    folder = artefact_name(found.stage, f"{found.what}-{found.split}")
    sizes: Mapping[str, int] = place.folder(folder).sizes() or {}
    return sum(sizes.values()), FACTS in sizes
