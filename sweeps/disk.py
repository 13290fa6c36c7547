"""How much room a plan's results need, and how much there is.

Sizes are those of the newest done trials of the same profile and method where the store has any: of
their weights, and of their pictures and tables. Else the rule: 4 bytes a parameter for weights, for
the pictures 12 of the crop's size at 8 bytes a pixel (image, mask and maps), and 100 kB for the
tables. A training that runs needs room for a checkpoint as well, of twice the size of its weights.
What stages after the maps store of every image is in `sweeps.pictures`.
"""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from camsweep.methods.config import TrialConfig
from camsweep.methods.segment.config import SegmentConfig
from camsweep.shards.places import Place, as_place
from camsweep.sweeps.history import done_rows
from camsweep.sweeps.identity import STAGES
from camsweep.sweeps.pictures import STAGE_OF, picture_bytes
from camsweep.sweeps.plan import Plan, PlannedTrial
from camsweep.sweeps.store import TABLES, Store

#: Trials of a method whose files are looked at.
LOOKED_AT = 3
PARAMETER_BYTES = 4
#: By backbone, with the largest head of any method: building a network only to count would take
#: longer than the rest of the plan.
PARAMETERS = {"small": 76e3, "resnet38": 107e6, "resnet50": 25e6, "resnet101": 44e6}
PICTURES, PIXEL_BYTES = 12, 8
#: Stages after the maps that train a network of their own.
LATER = ("affinity", "segment")
TABLE_BYTES = 100_000
COLUMNS = (
    *("id", "profile", "method", "config.backbone", "finished"),
    *(f"stage.{name}" for name in STAGES),
)


@dataclass(frozen=True)
class Disk:
    """Room for results, in bytes.

    Attributes:
        needed: by what is still to run, checkpoints included.
        by_rule: how many of the trials to run have a kind that the store has no files of.
        free: on the store's disk; None where nobody can tell (object storage).
    """

    needed: int
    by_rule: int
    free: int | None


@dataclass(frozen=True)
class _Sizes:
    """Bytes of a training and of what a trial adds to it."""

    training: float
    trial: float
    measured: bool


def disk(
    plan: Plan,
    history: pa.Table,
    store: Store,
    slots: int = 1,
    images: Mapping[str, int] | None = None,
) -> Disk:
    """What the trials to run will take of the store's disk.

    Args:
        plan: what is to run.
        history: the store's trial rows.
        store: where results go.
        slots: how many trainings run at a time.
        images: how many each split of the data has.
    """
    rows = done_rows(history, COLUMNS)
    rows = [r for r in rows if r["profile"] == plan.profile.name]
    place = as_place(store.url)
    sizes: dict[tuple[str, str], _Sizes] = {}
    trained = {row.get(f"stage.{stage}") for row in rows for stage in ("train", *LATER)}
    stages = (row.get(f"stage.{stage}") for row in _newest(rows) for stage in STAGE_OF.values())
    like = [stage for stage in stages if stage]
    total, by_rule = picture_bytes(plan.to_run, images or {}, place, like), 0
    checkpoints: list[float] = []
    for trial in plan.to_run:
        config = trial.config
        kind = (config.method, config.backbone)
        if kind not in sizes:
            mine = [r for r in rows if (r["method"], r.get("config.backbone")) == kind]
            sizes[kind] = _measured(place, mine) or _ruled(config)
        found = sizes[kind]
        total += found.trial
        by_rule += not found.measured
        if trial.stages["train"] not in trained:
            trained.add(trial.stages["train"])
            total += found.training
            checkpoints.append(2 * found.training)
        for stage, weights in _later(trial):
            if stage not in trained:
                trained.add(stage)
                total += weights
                checkpoints.append(2 * weights)
    total += sum(sorted(checkpoints, reverse=True)[: max(1, slots)])
    return Disk(int(total), by_rule, _free(store))


def _later(trial: PlannedTrial) -> Iterator[tuple[str, float]]:
    """The trainings of a trial's later networks: stage, and bytes of the weights."""
    if isinstance(trial.config, SegmentConfig):
        networks = (trial.config.affinity_network, trial.config.segment_network)
        for stage, network in zip(LATER, networks, strict=True):
            if stage in trial.stages:
                yield trial.stages[stage], PARAMETER_BYTES * PARAMETERS[network]


def _newest(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: str(row["finished"]), reverse=True)[:LOOKED_AT]


def _measured(place: Place, rows: list[dict[str, Any]]) -> _Sizes | None:
    trainings, trials = [], []
    for row in _newest(rows):
        trainings.append(_folder(place, row.get("stage.train")))
        tables = (place.folder(table).size(f"{row['id']}.arrow") or 0 for table in TABLES)
        trials.append(_folder(place, row["id"]) + sum(tables))
    known = [size for size in trainings if size]
    if not known:
        return None
    return _Sizes(statistics.median(known), statistics.median(trials), True)


def _folder(place: Place, stage: str | None) -> int:
    sizes: Mapping[str, int] = (place.folder(f"artefacts/{stage}").sizes() or {}) if stage else {}
    return sum(sizes.values())


def _ruled(config: TrialConfig) -> _Sizes:
    weights = PARAMETER_BYTES * PARAMETERS[config.backbone]
    return _Sizes(weights, PICTURES * PIXEL_BYTES * config.crop**2 + TABLE_BYTES, False)


def _free(store: Store) -> int | None:
    if store.local is None:
        return None
    folder = store.local.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
