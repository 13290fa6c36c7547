"""The maps of a split, stored for the stages after them, and counted where they are measured."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from torch import Tensor

from camsweep.methods.base import load_method
from camsweep.methods.inference import Maps, localize
from camsweep.methods.team import Team
from camsweep.methods.training import load_net
from camsweep.platform.chain.links import Links, Split, encode_maps
from camsweep.platform.chain.sidesets import (
    Facts,
    Target,
    ensure_set,
    publish,
    unasked,
    write_shard,
)
from camsweep.platform.context import Progress, Report, RunContext, told_images
from camsweep.platform.counting import Share, count_share
from camsweep.platform.evaluation import Evaluation, summed
from camsweep.platform.inputs import waiting
from camsweep.platform.orders import Work, ordered
from camsweep.platform.stages import Tensors, read_tensors, write_tensors
from camsweep.sweeps.plan import PlannedTrial
from camsweep.sweeps.results import artefact_name
from camsweep.sweeps.tables import curve_table

EVALUATION = "evaluation.json"
CURVES = "curves.arrow"
PICTURES = "pictures.safetensors"


@dataclass(frozen=True)
class Measured:
    """What counting the maps of the evaluated split gave.

    Attributes:
        metrics: as ``Evaluation.metrics``.
        threshold: the best one; 0 where the maps have a background of their own.
        curves: the curves table, its trial ids empty.
        pictures: of the first images, see ``Evaluation``.
    """

    metrics: dict[str, float]
    threshold: float
    curves: pa.Table
    pictures: Tensors


@dataclass(frozen=True)
class MapsOrder:
    """Make and store a share of a split's maps with rank 0, and count it where it is measured."""

    trial: PlannedTrial
    context: RunContext
    weights: dict[str, Tensor]
    split: str

    def prepare(self, team: Team) -> Work:
        """Open the data and build the network."""
        return lambda: maps_share(self, team, None)


def maps_share(
    order: MapsOrder,
    team: Team,
    on_image: Callable[[int], None] | None,
    require: Callable[[], None] = unasked,
) -> list[Share]:
    """Make this process's shards of a split's maps.

    A shard that is there is not made again, but where the maps are measured: the counts are of all
    images.

    Args:
        order: which maps.
        team: whose ranks divide the shards.
        on_image: called with the index of each image that is done.
        require: called before each shard is written.

    Returns:
        On rank 0 the counts of every rank where the split is the one that is measured.
    """
    links = Links(order.trial, order.context)
    config, context = links.config, order.context
    with team.together():
        split = Split(links, order.split)
        method = load_method(config.method)
        net = load_net(method, config, len(split.reader.manifest.classes), order.weights)
        target = links.target("localize", "maps", order.split)
        numbers = [
            number
            for number in range(team.rank, len(split.groups), team.world)
            if order.split == config.eval_split or not context.store.exists(target.shard(number))
        ]
        shelf = _Shelf(split, target, numbers.copy(), require)
        groups = [group for number in numbers for group in split.groups[number]]
    skip, loaders = context.skip_damaged, context.workers
    if order.split == config.eval_split:
        shares = count_share(
            method,
            net,
            split.reader,
            config,
            context.device,
            on_image,
            skip,
            loaders,
            team,
            groups=groups,
            on_maps=shelf.add,
        )
    else:
        shares = []
        with team.together():
            ignored: list[int] = []
            on_damaged = ignored.append if skip else None
            for index, maps, _ in localize(
                method,
                net,
                split.reader,
                config,
                context.device,
                on_image,
                on_damaged,
                loaders,
                groups,
            ):
                shelf.add(index, maps)
    with team.together():
        shelf.close()
    return shares


class _Shelf:
    """Takes maps in the order of the images, and writes each shard once it has all of its own."""

    def __init__(
        self, split: Split, target: Target, numbers: list[int], require: Callable[[], None]
    ) -> None:
        self._split, self._target, self._numbers, self._require = split, target, numbers, require
        config = split.links.config
        self._headline, self._own = config.headline, config.own_background
        self._held: list[tuple[int, bytes]] = []
        self._last = {number: max(split.shards[number]) for number in numbers}

    def add(self, index: int, maps: Maps) -> None:
        while self._numbers and index > self._last[self._numbers[0]]:
            self._write()
        found = maps[self._headline]["all"]
        kept = found if self._own else found.foreground()
        self._held.append((index, encode_maps(kept)))

    def close(self) -> None:
        while self._numbers:
            self._write()

    def _write(self) -> None:
        number = self._numbers.pop(0)
        keys = self._split.reader.keys
        self._require()
        write_shard(self._target, number, ((keys[i], picture) for i, picture in self._held))
        self._held = []


def store_maps(links: Links, weights: Tensors, split: str, team: Team, report: Report) -> Facts:
    """Make a split's maps and store them, where nobody has yet; rank 0 calls it."""
    trial, context = links.trial, links.context
    target = links.target("localize", "maps", split)

    def make(require: Callable[[], None]) -> Facts:
        clock = time.perf_counter()
        opened = Split(links, split)
        count = len(opened.reader)
        on_image = told_images(report, trial.id, "localize", count, team.world)
        order = MapsOrder(trial, context, weights, split)
        with ordered(team, order):
            shares = maps_share(order, team, on_image, require)
        report(Progress(trial.id, "localize", count, count))
        require()
        quality = {}
        if split == links.config.eval_split:
            found = summed(shares, opened.reader, links.config)
            _write_measured(links, found)
            quality = found.metrics()
        seconds = time.perf_counter() - clock
        return publish(target, context.data_digest, len(opened.groups), seconds, lambda: quality)

    return ensure_set(target, make, waiting(trial, report))


def _write_measured(links: Links, found: Evaluation) -> None:
    store, folder = links.context.store, links.folder("localize")
    best = 0.0 if found.estimated else float(found.thresholds[found.best])
    content = {"metrics": found.metrics(), "threshold": round(best, 6)}
    store.write_table(artefact_name(folder, CURVES), curve_table(found.curve_columns("")))
    write_tensors(store, artefact_name(folder, PICTURES), found.pictures)
    store.write(artefact_name(folder, EVALUATION), json.dumps(content).encode())


def read_measured(links: Links) -> Measured:
    """What ``store_maps`` found on the evaluated split."""
    store, folder = links.context.store, links.folder("localize")
    content: dict[str, Any] = json.loads(store.read(artefact_name(folder, EVALUATION)))
    return Measured(
        content["metrics"],
        content["threshold"],
        store.read_table(artefact_name(folder, CURVES)),
        read_tensors(store, artefact_name(folder, PICTURES)),
    )
