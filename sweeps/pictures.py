"""Room for the pictures of every image that the stages of a chain store: maps, masks and others.

Sizes are those of a set of the same kind and split that the store has, else by rule: bytes an image
and a pixel as on the embedded and on VOC's images, which are taken to be as large as the crop.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from camsweep.methods.segment.config import SegmentConfig
from camsweep.shards.places import Place
from camsweep.sweeps.plan import PlannedTrial

#: Bytes an image, for its place in a tar file and the head of a PNG, and bytes a pixel of it.
AN_IMAGE = 1500
A_PIXEL = {"maps": 2.4, "labels": 0.03, "masks": 0.03, "predictions": 0.03}


class PictureSet(NamedTuple):
    """One picture of each image of a split, in a stage's folder."""

    stage: str
    what: str
    split: str


def picture_sets(trial: PlannedTrial) -> list[PictureSet]:
    """The sets of a trial; those of a stage that trials share are the same."""
    config, stages = trial.config, trial.stages
    if not isinstance(config, SegmentConfig) or "refine" not in stages:
        return []
    learns, segments = "affinity" in stages, "segment" in stages
    masks = {config.eval_split, *([config.train_split] if segments else [])}
    maps = masks | ({config.train_split} if learns else set())
    found = [PictureSet(stages["localize"], "maps", split) for split in sorted(maps)]
    found += [PictureSet(stages["refine"], "masks", split) for split in sorted(masks)]
    if learns:
        found.append(PictureSet(stages["affinity"], "labels", config.train_split))
    if segments:
        found.append(PictureSet(stages["evaluate"], "predictions", config.segment_split))
    return found


def picture_bytes(
    trials: Sequence[PlannedTrial], images: Mapping[str, int], place: Place, like: Sequence[str]
) -> float:
    """What the sets that are not there yet will take.

    Args:
        trials: what is to run.
        images: how many each split has.
        place: the store.
        like: ids of stages of done trials of the same profile, those to be looked at first.
    """
    sizes = {found: trial.config.crop**2 for trial in trials for found in picture_sets(trial)}
    missing = [found for found in sizes if not _size(place, found)]
    known: dict[tuple[str, str], float] = {}
    total = 0.0
    for found in missing:
        kind = (found.what, found.split)
        if kind not in known:
            ruled = images.get(found.split, 0) * (AN_IMAGE + A_PIXEL[found.what] * sizes[found])
            there = (_size(place, PictureSet(stage, *kind)) for stage in like)
            known[kind] = next((size for size in there if size), ruled)
        total += known[kind]
    return total


def _size(place: Place, found: PictureSet) -> int:
    folder = f"artefacts/{found.stage}/{found.what}-{found.split}"
    sizes: Mapping[str, int] = place.folder(folder).sizes() or {}
    return sum(sizes.values())


def stage_ids(rows: Sequence[Mapping[str, object]], most: int) -> Iterator[str]:
    """The stages of the newest rows, which may have sets of pictures."""
    newest = sorted(rows, key=lambda row: str(row["finished"]), reverse=True)[:most]
    for row in newest:
        for name in ("localize", "affinity", "refine", "evaluate"):
            stage = row.get(f"stage.{name}")
            if stage:
                yield str(stage)
