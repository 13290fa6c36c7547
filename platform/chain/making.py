"""Sets that are made image by image: labels to learn from, pseudo masks, predictions."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from PIL import Image

from camsweep.methods.refine.pseudo import pseudo_mask
from camsweep.methods.refine.sure import stored_labels
from camsweep.methods.segment.palette import label_png
from camsweep.methods.segment.predict import predict
from camsweep.methods.team import Team
from camsweep.methods.training import load_net
from camsweep.platform.chain.lessons import AffinityLesson, SegmentLesson
from camsweep.platform.chain.links import Links, Picture, Split, StoredMaps
from camsweep.platform.chain.quality import Counted, counted, quality_of
from camsweep.platform.chain.sidesets import (
    Facts,
    Target,
    ensure_set,
    publish,
    unasked,
    write_share,
)
from camsweep.platform.context import Progress, Report, RunContext, told_images
from camsweep.platform.inputs import waiting
from camsweep.platform.orders import Work, ordered
from camsweep.platform.stages import Tensors
from camsweep.shards.errors import DamagedSample
from camsweep.sweeps.pictures import STAGE_OF
from camsweep.sweeps.plan import PlannedTrial

#: Makes the picture of an image, uint8 [H, W].
Draw = Callable[[int], Picture]


@dataclass(frozen=True)
class SetOrder:
    """Make a share of a set with rank 0.

    Attributes:
        trial: whose set.
        context: where to read and write.
        what: `labels`, `masks` or `predictions`.
        split: of which split.
        weights: of the network that makes them, or None.
        threshold: background of the maps where the trial takes the best one.
    """

    trial: PlannedTrial
    context: RunContext
    what: str
    split: str
    weights: Tensors | None
    threshold: float

    @property
    def links(self) -> Links:
        """The trial's chain."""
        return Links(self.trial, self.context)

    @property
    def target(self) -> Target:
        """Where the set is to be."""
        return self.links.target(STAGE_OF[self.what], self.what, self.split)

    def prepare(self, team: Team) -> Work:
        """Open the data and build the network."""
        split = Split(self.links, self.split)
        return lambda: _share(self, split, team, lambda index: None)


def make_set(order: SetOrder, team: Team, report: Report) -> Facts:
    """A set of pictures, made where nobody has yet; rank 0 calls it.

    Args:
        order: which set.
        team: the processes that share the images.
        report: is told where it stands.
    """
    trial, context, target = order.trial, order.context, order.target
    phase = STAGE_OF[order.what]

    def make(require: Callable[[], None]) -> Facts:
        clock = time.perf_counter()
        split = Split(order.links, order.split)
        count = len(split.reader)
        with ordered(team, order):
            on_image = told_images(report, trial.id, phase, count, team.world)
            _share(order, split, team, on_image, require)
        report(Progress(trial.id, phase, count, count))
        require()
        seconds = time.perf_counter() - clock
        measure = dict if order.what == "labels" else lambda: quality_of(counted(split, target))
        return publish(target, context.data_digest, len(split.groups), seconds, measure)

    return ensure_set(target, make, waiting(trial, report))


def measured(order: SetOrder) -> Counted:
    """The counts of a set that is there, image by image."""
    return counted(Split(order.links, order.split), order.target)


def _share(
    order: SetOrder,
    split: Split,
    team: Team,
    on_image: Callable[[int], None],
    require: Callable[[], None] = unasked,
) -> None:
    with team.together():
        draw = DRAWING[order.what](order, split)
        palette = split.reader.manifest.colours if order.what != "labels" else None

        def make(index: int) -> bytes | None:
            try:
                picture = draw(index)
            except DamagedSample:
                if not order.context.skip_damaged:
                    raise
                return None
            finally:
                on_image(index)
            return _grey(picture) if palette is None else label_png(picture, palette)

        with torch.inference_mode():
            write_share(order.target, split.reader.keys, split.shards, team, make, require)


def _labels(order: SetOrder, split: Split) -> Draw:
    """What AffinityNet or IRN learns from: a stack of pictures, one below the other."""
    config, maps, device = order.links.config, StoredMaps(split), order.context.device

    def draw(index: int) -> Picture:
        found = maps[index]
        stack = stored_labels(
            config, split.image(index), found.values, config.own_background, device
        )
        return stack.reshape(-1, stack.shape[-1])

    return draw


def _masks(order: SetOrder, split: Split) -> Draw:
    """The pseudo masks, by denseCRF, AffinityNet or IRN."""
    config, maps, device = order.links.config, StoredMaps(split), order.context.device
    net = None
    if order.weights is not None:
        classes = len(split.reader.manifest.classes)
        task, settings = AffinityLesson().learner(config, len(split.reader))
        net = load_net(task, settings, classes, order.weights).to(device)

    def draw(index: int) -> Picture:
        return pseudo_mask(config, net, split.image(index), maps[index], order.threshold, device)

    return draw


def _predictions(order: SetOrder, split: Split) -> Draw:
    """The segmentation network's masks."""
    assert order.weights is not None
    return predicting(split, order.weights)


def predicting(split: Split, weights: Tensors) -> Draw:
    """Makes the masks of any split by a trial's segmentation network."""
    config, device = split.links.config, split.links.context.device
    task, settings = SegmentLesson().learner(config, len(split.reader))
    net = load_net(task, settings, len(split.reader.manifest.classes), weights).to(device)

    def draw(index: int) -> Picture:
        scores = predict(net, split.image(index), config, device)
        return scores.argmax(0).to(torch.uint8).cpu().numpy()

    return draw


DRAWING = {"labels": _labels, "masks": _masks, "predictions": _predictions}


def _grey(picture: Picture) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format="PNG")
    return stream.getvalue()
