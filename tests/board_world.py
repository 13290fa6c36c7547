"""A leaderboard's trials in memory, with counts that are drawn around a quality that is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

import numpy as np

from camsweep.reports.board.entry import Leaderboard
from camsweep.reports.board.ranking import leaderboard
from camsweep.reports.load import Counts, Selection, Trial, variant_key
from camsweep.reports.measure import Measurements

CLASSES = ("background", "cat", "dog")


def trial(variant: int, seed: int, miou: float, **changes: Any) -> Trial:
    """A done trial of CPN; variants differ by their number of superpixels."""
    config = {"patches": "superpixel", "s_n": 100 + variant, "map": "refined", "backbone": "small"}
    config |= changes.pop("config", {})
    method = changes.pop("method", "cpn")
    row = Trial(
        id=f"{variant:05d}-{seed}", memberships=(("mine.yaml", f"s_n={100 + variant}"),),
        method=method, seed=seed, done=True, cause="", profile="embedded", data_name="made",
        data_digest="ab12cd34ef", classes=CLASSES, train_images=8, eval_images=30, config=config,
        metrics={"miou": miou, "background_iou": miou, "foreground_iou": miou}, stages={},
        train_seconds=60.0 + variant, images_per_second=10.0, peak_memory=1e6, parameters=1e5,
        device="cpu", versions={}, commit="", dirty=False, command="", finished=None,
        variant=variant_key(method, config),
    )  # fmt: skip
    return replace(row, **changes)


def counts(quality: float, seed: int, images: int = 30) -> Counts:
    """Counts whose IoU is about the quality in every class; images differ alike in all trials."""
    world = np.random.default_rng(5)
    area = world.integers(100, 400, size=(images, len(CLASSES)))
    hard = world.normal(0, 0.05, area.shape)
    rng = np.random.default_rng([seed, int(quality * 1e6)])
    recall = np.clip(2 * quality / (1 + quality) + hard + rng.normal(0, 0.01, area.shape), 0, 1)
    tp = (area * recall).astype(np.int64)
    fn = area - tp
    values = np.stack([tp, fn[:, [1, 2, 0]], fn], axis=-1)
    return Counts(tuple(f"i{k:03d}" for k in range(images)), values)


@dataclass
class Made:
    """Trials in memory and the counts of each, which are counted when they are read."""

    variants: list[tuple[Trial, ...]]
    known: dict[str, Counts]
    read: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.measurements = Measurements(None, resamples=300)  # type: ignore[arg-type]

    def _reading(self, store: object, trials: Iterable[Trial], *more: Any) -> Any:
        for one in list(trials):
            self.read.append(one.id)
            if one.id in self.known:
                yield one.id, self.known[one.id]

    @property
    def selection(self) -> Selection:
        trials = tuple(t for some in self.variants for t in some)
        return Selection("embedded", "made", "ab12cd34ef", trials, ())

    def rank(self, metric: str = "miou", **more: Any) -> Leaderboard:
        with mock.patch("camsweep.reports.measure.read_counts", self._reading):
            return leaderboard(self.selection, self.measurements, metric, **more)


def made(qualities: Sequence[float], seeds: int = 3, noise: float = 0.004) -> Made:
    """One variant a quality; every training adds normal noise to it."""
    rng = np.random.default_rng(11)
    variants, known = [], {}
    for index, quality in enumerate(qualities):
        some = []
        for seed in range(seeds):
            mine = counts(float(np.clip(quality + rng.normal(0, noise), 0.01, 0.99)), seed)
            total = mine.values.sum(axis=0)
            miou = float((total[:, 0] / total.sum(axis=1)).mean())
            one = trial(index, seed, miou)
            known[one.id] = mine
            some.append(one)
        variants.append(tuple(some))
    return Made(variants, known)
