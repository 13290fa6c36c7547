"""A store read once, and the same numbers computed slowly from its files."""

from __future__ import annotations

import math

import numpy as np

from camsweep.reports.artefacts import fill
from camsweep.reports.board.entry import Leaderboard
from camsweep.reports.board.ranking import leaderboard
from camsweep.reports.filled import Filled
from camsweep.reports.load import Selection, choose, read_trials
from camsweep.reports.measure import Measurements
from camsweep.reports.spec import shipped
from camsweep.sweeps.store import Store


class World:
    """A store with everything read once."""

    def __init__(self, store: Store, profile: str | None = None) -> None:
        self.store = store
        self.selection: Selection = choose(read_trials(store), profile, None)
        self.measurements = Measurements(store, self.selection.trials, resamples=300)

    def fill(self, name: str) -> Filled:
        return fill(shipped()[name], self.selection, self.measurements, "STORE")

    def rank(self, metric: str = "miou") -> Leaderboard:
        return leaderboard(self.selection, self.measurements, metric)


def counts_of(store: Store, sweep: str, label: str) -> tuple[list[int], np.ndarray]:
    """Seeds and int64 [S, I, C, 3] straight from the files, row by row."""
    found = {}
    for name in store.names("trials", ".arrow"):
        row = store.read_table(f"trials/{name}").to_pylist()[0]
        if row["status"] != "done":
            continue
        if (sweep, label) in zip(row["sweeps"], row["labels"], strict=True):
            rows = store.read_table(f"images/{name}").to_pylist()
            keys = sorted({r["image"] for r in rows})
            counts = np.zeros((len(keys), 7, 3), dtype=np.int64)
            for r in rows:
                counts[keys.index(r["image"]), r["class"]] = r["tp"], r["fp"], r["fn"]
            found[row["seed"]] = counts
    return sorted(found), np.stack([found[s] for s in sorted(found)])


def miou(total: np.ndarray) -> float:
    present = [(tp, tp + fp + fn) for tp, fp, fn in total if tp + fp + fn > 0]
    return float(np.mean([tp / union for tp, union in present]))


def loop_interval(
    counts: np.ndarray, base: np.ndarray | None, rng: np.random.Generator, resamples: int
) -> tuple[float, float]:
    """The 95 % interval of a mean over seeds [S, I, C, 3] (less that of ``base``), by loops."""
    seeds, images = counts.shape[:2]
    widen = {2: 12.706, 3: 4.303, 4: 3.182}[seeds] / 1.959964 * math.sqrt(seeds / (seeds - 1))
    drawn = []
    for _ in range(resamples):
        chosen = rng.integers(0, images, images)
        each = [miou(one[chosen].sum(axis=0)) for one in counts]
        if base is not None:
            each = [a - miou(b[chosen].sum(axis=0)) for a, b in zip(each, base, strict=True)]
        centre = float(np.mean(each))
        some = rng.integers(0, seeds, seeds)
        drawn.append(centre + widen * (float(np.mean([each[s] for s in some])) - centre))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)
