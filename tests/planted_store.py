"""A store of one sweep whose rows have planted mIoU, for the tests of designs and own sweeps.

Run it to look at a report: ``python tests/planted_store.py FOLDER``.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from camsweep.sweeps.forms import Form, FormCell, form_of
from camsweep.sweeps.results import write_trial
from camsweep.sweeps.spec import Sweep, SweepSpec, load_sweep
from camsweep.sweeps.store import Store
from camsweep.sweeps.tables import image_table, trial_table

CLASSES = ("background", "duck", "kite", "lamp")
DIGEST = "ab12cd34ef"
START = datetime(2026, 1, 1, tzinfo=UTC)


def own_sweep(content: dict[str, Any], name: str = "mine") -> Sweep:
    """A sweep as it is read of the file ``NAME.yaml``."""
    return Sweep(name, f"{name}.yaml", SweepSpec.model_validate({"title": "Mine", **content}))


def keep_form(store: Store, form: Form) -> None:
    """Write a form as a run does."""
    store.write(form.file, json.dumps(form.as_json()).encode())


def counts(target: float, images: int, name: str) -> np.ndarray:
    """int64 [images, classes, 3] whose summed IoU is ``target`` to a pixel's rounding.

    Images differ by the image alone, but for a little noise of the trial that sums to nothing.
    """
    world = np.random.default_rng(7)
    rng = np.random.default_rng(int(hashlib.sha256(name.encode()).hexdigest()[:8], 16))
    area = world.integers(3000, 9000, size=(images, len(CLASSES))).astype(float)
    hard = world.normal(0, 0.1, area.shape) + rng.normal(0, 0.01, area.shape)
    hard -= (hard * area).sum(axis=0) / area.sum(axis=0)
    recall = 2 * target / (1 + target)
    tp = np.round(area * (recall + hard)).astype(np.int64)
    fn = area.astype(np.int64) - tp
    return np.stack([tp, fn[world.permutation(images)], fn], axis=-1)


def plant(
    folder: Path,
    sweep: Sweep,
    quality: Callable[[FormCell], float],
    *,
    seeds: Collection[int] = (0, 1, 2),
    noise: float = 0.004,
    images: int = 40,
    missing: Collection[str] = (),
    failing: Collection[str] = (),
    lacking: Collection[tuple[str, int]] = (),
    remember: bool = True,
    day: int = 0,
    command: str = "",
) -> Store:
    """Write one trial a cell that can be and seed, its mIoU ``quality`` and noise of the seed.

    Args:
        folder: of the store.
        sweep: whose cells.
        quality: mIoU of a cell, a fraction.
        seeds: of every cell.
        noise: standard deviation between trainings; a third of it is common to a seed's trials.
        images: evaluated.
        missing: labels without a trial.
        failing: labels whose trials failed.
        lacking: (label, seed) without a trial.
        remember: whether the form is kept, as a run does.
        day: when the trials ran.
        command: what they were started with.
    """
    store = Store(str(folder))
    form = form_of(sweep, profile="embedded", data_digest=DIGEST)
    if remember:
        keep_form(store, form)
    for number, cell in enumerate(form.cells):
        for seed in seeds:
            if cell.rule or cell.label in missing or (cell.label, seed) in lacking:
                continue
            name = json.dumps([sweep.name, cell.settings, seed])
            rng = np.random.default_rng(int(hashlib.sha256(name.encode()).hexdigest()[:8], 16))
            common = np.random.default_rng(seed).normal(0, noise)
            target = quality(cell) + common + rng.normal(0, noise / 3)
            row = {
                "id": hashlib.sha256(name.encode()).hexdigest(),
                "sweeps": [sweep.name],
                "labels": [cell.label],
                "method": cell.settings["method"],
                "seed": seed,
                "train_images": 800,
                "eval_images": images,
                "profile": "embedded",
                "data_name": "embedded",
                "data_digest": DIGEST,
                "recipe": "train 1",
                "command": command or f"camsweep run {form.path} --profile embedded",
                "classes": list(CLASSES),
                "started": START + timedelta(days=day, minutes=number),
                "finished": START + timedelta(days=day, minutes=number + 1),
                "config.map": "refined",
                **{f"config.{k}": v for k, v in cell.settings.items() if k != "method"},
                "config.seed": seed,
            }
            if cell.label in failing:
                failed = {**row, "status": "failed", "cause": "out of <memory>"}
                write_trial(store, row["id"], {"trials": trial_table(failed)})
                continue
            _done(store, row, counts(target, images, name))
    return store


def _done(store: Store, row: dict[str, Any], values: np.ndarray) -> None:
    images = len(values)
    total = values.sum(axis=0)
    row |= {
        "status": "done",
        "metric.miou": float((total[:, 0] / total.sum(axis=1)).mean()),
        "train_seconds": 60.0,
        "images_per_second": 80.0,
        "peak_memory_bytes": 700_000_000,
        "parameters": 120_000,
    }
    columns = {
        "trial_id": [row["id"]] * (images * len(CLASSES)),
        "image": np.repeat([f"val_{i:05d}" for i in range(images)], len(CLASSES)),
        "class": np.tile(np.arange(len(CLASSES), dtype=np.int16), images),
        "tp": values[..., 0].ravel(),
        "fp": values[..., 1].ravel(),
        "fn": values[..., 2].ravel(),
    }
    write_trial(store, row["id"], {"trials": trial_table(row), "images": image_table(columns)})


def additive(
    effects: dict[str, float], together: dict[frozenset[str], float] | None = None
) -> Callable[[FormCell], float]:
    """A quality of 0.40 plus what each component adds, and what sets of them add together."""

    def quality(cell: FormCell) -> float:
        on = {name for name, state in (cell.on or {}).items() if state}
        more = sum(v for some, v in (together or {}).items() if some <= on)
        return 0.40 + sum(effects.get(name, 0.0) for name in on) + more

    return quality


def main(folder: Path) -> None:
    """Every kind of design and of own sweep."""
    parts = additive({"cpcr": 0.03, "prcm": 0.02}, {frozenset({"cpcr", "prcm"}): 0.015})
    plant(folder, load_sweep("ablate/cpn"), parts)
    half = additive(
        {"tcp": 0.02, "ohem": -0.01, "superpixels": 0.015}, {frozenset({"tcp", "ohem"}): 0.02}
    )
    plant(folder, load_sweep("ablate/cpn_half"), half)
    left = additive({"refinement": 0.02, "mutual loss": 0.012, "background weight": 0.001})
    plant(folder, load_sweep("ablate/cpmc"), left, missing={"all - false positives"})
    components = ["tcp", "cpcr", "ohem", "prcm"]
    base = {"method": "cpn"}
    steps = {"base": base, "ablate": {"components": components, "design": "cumulative"}}
    gains = additive({"tcp": 0.03, "cpcr": 0.02, "ohem": -0.01, "prcm": 0.0005})
    plant(folder, own_sweep({**steps, "title": "Steps"}, "steps"), gains)
    alone = {"base": base, "ablate": {"components": components, "design": "add-one-in"}}
    plant(folder, own_sweep({**alone, "title": "Alone"}, "alone"), gains, seeds=(0,))
    free = {"base": base, "ablate": {"components": components[:3], "design": "factorial"}}
    plant(
        folder,
        own_sweep({**free, "title": "Free"}, "free"),
        gains,
        lacking={("tcp=on, cpcr=on, ohem=off", 1)},
    )
    line = {"base": base, "axes": {"s_n": [5, 20, 50, 100, 200, 500]}, "reference": "cpn/fig6"}
    plant(
        folder,
        own_sweep({**line, "title": "Segments"}, "segments"),
        lambda c: 0.45 - 0.01 * abs(np.log2(c.settings["s_n"] / 100)),
        missing={"s_n=50"},
    )
    two = {"base": base, "axes": {"s_n": [20, 50, 100], "p_h": [0.1, 0.3, 0.5]}}
    plant(
        folder,
        own_sweep({**two, "title": "Fewer, larger patches"}, "fewer"),
        lambda c: 0.40 + 0.1 * c.settings["p_h"] + 0.0003 * c.settings["s_n"],
        missing={"s_n=50, p_h=0.3"},
        failing={"s_n=100, p_h=0.1"},
    )
    arms = {"base": base, "arms": {"<b>a</b> & 50 %": {"lam": "pixels"}, "plain": {}}}
    plant(folder, own_sweep({**arms, "title": "Arms <script>alert(1)</script>"}, "arms"),
          lambda c: 0.41 if c.arm == "plain" else 0.44)  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))
