"""A store with known numbers, for the tests of the reports and for looking at a page.

Run it to make one: ``python tests/synthetic_store.py FOLDER``.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors.numpy import save

from camsweep.sweeps.results import write_trial
from camsweep.sweeps.spec import load_sweep, shipped_names
from camsweep.sweeps.store import Store
from camsweep.sweeps.tables import epoch_table, image_table, trial_table

CLASSES = ("background", "duck", "kite", "lamp", "mug", "pear", "tent")
START = datetime(2026, 1, 1, tzinfo=UTC)
CPN = {
    "method": "cpn", "patches": "superpixel", "s_n": 200, "p_h": 0.5, "pair": True, "tcp": True,
    "cpcr": True, "ohem": True, "pcm": True, "prcm": True, "map": "refined", "epochs": 6,
}  # fmt: skip
SIPE = {"method": "sipe", "ipe": True, "map": "is_cam", "pseudo_labels": "estimated", "epochs": 6}
#: Sweeps whose trials go on after the maps; they are made where they are asked for.
CHAINS = ("cpn/table5", "sipe/table1", "sipe/table2", "sipe/table3")
#: What each stage after the maps adds to the mean IoU.
REFINED, SEGMENTED, SMOOTHED = 0.06, 0.05, 0.01


def config_of(sweep: str, given: dict[str, Any]) -> dict[str, Any]:
    """The config of a cell; what is neither CPN's nor of a chain is the baseline's."""
    if given["method"] == "cpn":
        config = {**CPN, **given}
    elif sweep not in CHAINS:
        config = {"method": "cam", "epochs": 6}
    else:
        config = {**SIPE, **given} if given["method"] == "sipe" else {"epochs": 6, **given}
        config.pop("form", None)
    if sweep in CHAINS:
        config |= {"eval_split": "train"}
    if "segment" in config:
        config = {"segment_crf": "none", "segment_split": "val", **config}
    return config


def quality(config: dict[str, Any]) -> float:
    """The mean IoU that the counts of a config are drawn around: those of its last stage."""
    value = quality_of_maps(config)
    value += REFINED * ("refine" in config) + SEGMENTED * ("segment" in config)
    return value + SMOOTHED * (config.get("segment_crf", "none") != "none")


def quality_of_maps(config: dict[str, Any]) -> float:
    """The mean IoU of the maps."""
    if config["method"] != "cpn":
        return {"cam": 0.42, "seam": 0.44, "sipe": 0.48}[config["method"]]
    if config["patches"] == "grid":
        return 0.455 - 0.012 * abs(math.log2(max(config["grid_sizes"]) / 112))
    value = 0.47 - 0.010 * abs(math.log2(config["s_n"] / 200))
    value -= 0.05 * (0.5 - config["p_h"])
    return value - 0.004 * sum(not config[k] for k in ("tcp", "cpcr", "ohem", "prcm"))


def counts(config: dict[str, Any], seed: int, images: int, noise: float) -> np.ndarray:
    """int64 [images, classes, 3]: the images' objects depend on nothing but the image."""
    world = np.random.default_rng(7)
    area = world.integers(200, 2000, size=(images, len(CLASSES)))
    area[:, 1:] *= world.random((images, len(CLASSES) - 1)) < 0.3
    area[:, 0] = 9216 - area[:, 1:].sum(axis=1)
    name = json.dumps(config, sort_keys=True) + str(seed)
    rng = np.random.default_rng(int(hashlib.sha256(name.encode()).hexdigest()[:8], 16))
    # recall r with as many false positives as misses gives IoU r / (2 - r)
    target = quality(config) + rng.normal(0, noise)
    target = np.full(len(CLASSES), target)
    target[0] += 0.33
    recall = 2 * target / (1 + target)
    # Most of the spread between images is the image's own, as in real data: pairing pays.
    hard = world.normal(0, 0.1, area.shape) + rng.normal(0, 0.02, area.shape)
    tp = (area * np.clip(recall + hard, 0, 1)).astype(np.int64)
    fn = area - tp
    fp = fn[world.permutation(images)]  # false positives lie in other images
    return np.stack([tp, fp, fn], axis=-1)


def _miou(total: np.ndarray) -> tuple[float, float, float]:
    per = total[:, 0] / np.maximum(total.sum(axis=1), 1)
    return float(per.mean()), float(per[0]), float(per[1:].mean())


def pictures(quality_of: float, config: dict[str, Any] | None = None) -> bytes:
    """Twelve made-up pictures with masks and maps; of a chain the masks of its later stages too.

    Segmentations are of pictures of another split, which have no maps.
    """
    rng = np.random.default_rng(3)
    arrays: dict[str, np.ndarray] = {}
    yy, xx = np.mgrid[0:96, 0:96]
    for index in range(12):
        key = f"val_{index:05d}"
        klass = 1 + index % 6
        cy, cx = rng.integers(30, 66, size=2)
        inside = ((yy - cy) / 22) ** 2 + ((xx - cx) / 15) ** 2 < 1
        image = np.full((96, 96, 3), 120, np.uint8) + rng.integers(0, 40, (96, 96, 3), np.uint8)
        image[inside] = np.array([60 + 30 * klass, 200 - 25 * klass, 90], np.uint8)
        mask = np.zeros((96, 96), np.uint8)
        mask[inside] = klass
        mask[((yy - cy) / 24) ** 2 + ((xx - cx) / 17) ** 2 < 1] += np.uint8(0)
        maps = np.zeros((6, 96, 96), np.uint8)
        blob = np.exp(-(((yy - cy + 10) / (8 + 30 * quality_of)) ** 2) - ((xx - cx) / 14) ** 2)
        maps[klass - 1] = (255 * blob).astype(np.uint8)
        arrays |= {f"{key}/image": image, f"{key}/mask": mask, f"{key}/map": maps}
        found = np.where(blob > 0.5, klass, 0).astype(np.uint8)
        found[:2] = 255
        if config and "refine" in config:
            arrays[f"{key}/pseudo"] = found
        if config and "segment" in config:
            other = f"seg_{index:05d}"
            arrays |= {f"{other}/image": image, f"{other}/mask": mask, f"{other}/segment": found}
    return save(arrays)


def make(
    folder: Path,
    *,
    seeds: tuple[int, ...] = (0, 1, 2),
    images: int = 60,
    profile: str = "embedded",
    data_name: str = "embedded",
    digest: str = "ab12cd34ef",
    noise: float = 0.008,
    missing: frozenset[str] = frozenset(),
    failing: frozenset[str] = frozenset(),
    sweeps: tuple[str, ...] | None = None,
    eval_images: int | None = None,
    segment_images: int | None = None,
    rename: dict[str, str] | None = None,
    cause: str = "out of memory",
    overrides: dict[str, Any] | None = None,
    recipe: str = "pretrain 1, train 1, localize 1, evaluate 1, cpn 1",
    command: str = "camsweep run cpn --profile embedded",
    day: int = 0,
    bare_failures: bool = False,
    classes: tuple[str, ...] = CLASSES,
) -> Store:
    """Write a store; labels in ``missing`` have no trial, those in ``failing`` fail for seed 0.

    ``overrides`` are applied to the configs that have such a setting, and told in their rows;
    ``day`` is when the trials ran; ``bare_failures`` writes failed rows as older stores have them,
    without the data set's name and digest and without overrides and recipe. ``sweeps`` are those of
    CPN by default, but for `CHAINS`. ``segment_images`` is what rows say of segmentations, beside
    ``eval_images``.
    """
    store = Store(str(folder))
    trials: dict[str, dict[str, Any]] = {}
    for sweep in sweeps or tuple(shipped_names()):
        if sweep.split("/")[0] != "cpn" and sweep not in CHAINS:
            continue
        if sweep in CHAINS and not sweeps:
            continue
        for label, settings in load_sweep(sweep).cells():
            if label in missing:
                continue
            given = dict(settings)
            config = config_of(sweep, given)
            if config.get("patches") == "grid":
                config = {k: v for k, v in config.items() if k not in ("s_n", "p_h")} | {"p_h": 0.5}
            changed = {k: v for k, v in (overrides or {}).items() if config.get(k, v) != v}
            config |= changed
            for seed in seeds:
                text = json.dumps([config, seed, profile, digest, recipe], sort_keys=True)
                trial_id = hashlib.sha256(text.encode()).hexdigest()
                known = trials.setdefault(
                    trial_id, {"config": config, "seed": seed, "sweeps": [], "labels": []}
                )
                known["overrides"] = {k: str(v) for k, v in changed.items()}
                known["sweeps"].append(sweep)
                known["labels"].append((rename or {}).get(label, label))
                known["fail"] = known.get("fail", False) or (label in failing and seed == seeds[0])
    common = {
        "profile": profile,
        "data_name": data_name,
        "data_digest": digest,
        "eval_images": eval_images or images,
        "recipe": recipe,
        "command": command,
        "started": START + timedelta(days=day),
        "classes": list(classes),
    }
    for number, (trial_id, trial) in enumerate(trials.items()):
        bare = bare_failures and trial["fail"]
        gone = ("data_name", "data_digest", "recipe", "overrides") if bare else ()
        own = {**common, "overrides": trial["overrides"]}
        own["started"] += timedelta(minutes=number)
        if segment_images and "segment" in trial["config"]:
            own["eval_images"] = segment_images
        kept = {k: v for k, v in own.items() if k not in gone}
        _write(store, trial_id, trial, images, noise, cause, kept)
    return store


def _row_table(row: dict[str, Any]) -> pa.Table:
    given = {**row, "overrides": list(row["overrides"].items())} if "overrides" in row else row
    return trial_table(given)


def _write(
    store: Store,
    trial_id: str,
    trial: dict[str, Any],
    images: int,
    noise: float,
    cause: str,
    common: dict[str, Any],
) -> None:
    config, seed = trial["config"], trial["seed"]
    row: dict[str, Any] = {
        "id": trial_id,
        "sweeps": trial["sweeps"],
        "labels": trial["labels"],
        "method": config["method"],
        "seed": seed,
        "train_images": 800,
        "device": "cpu",
        "versions": [("camsweep", "0.1.0"), ("torch", "2.15.0"), ("python", "3.12.3")],
        "git_commit": "0123456789abcdef",
        "git_dirty": False,
        **common,
        "finished": common["started"] + timedelta(minutes=1),
        **{f"config.{k}": v for k, v in config.items()},
        "config.seed": seed,
    }
    if trial["fail"]:
        row |= {"status": "failed", "cause": cause}
        write_trial(store, trial_id, {"trials": _row_table(row)})
        return
    values = counts(config, seed, images, noise)
    miou, background, foreground = _miou(values.sum(axis=0))
    is_cpn = config["method"] == "cpn"
    row |= {
        "status": "done",
        "metric.miou": miou,
        "metric.miou_raw": miou - (0.004 if is_cpn else 0.0),
        "metric.background_iou": background,
        "metric.foreground_iou": foreground,
        "metric.threshold": 0.3,
        "stage.localize": "loc" + trial_id[:20],
        "train_seconds": 60.0 + seed if is_cpn else 17.0,
        "images_per_second": 80.0 if is_cpn else 280.0,
        "peak_memory_bytes": 700_000_000,
        "parameters": 120_000 if is_cpn else 90_000,
    }
    if is_cpn:
        row["metric.miou_refined"] = miou
    if "refine" in config:
        row |= chain_columns(config, seed, miou)
    for scale, less in (("0.5", 0.05), ("1", 0.01), ("1.5", 0.005), ("2", 0.02)):
        row[f"metric.miou_scale_{scale}"] = miou - less
    split = "seg" if "segment" in config else "val"
    keys = [f"{split}_{i:05d}" for i in range(images)]
    number_of = images * len(CLASSES)
    columns = {
        "trial_id": [trial_id] * number_of,
        "image": np.repeat(keys, len(CLASSES)),
        "class": np.tile(np.arange(len(CLASSES), dtype=np.int16), images),
        "tp": values[..., 0].ravel(),
        "fp": values[..., 1].ravel(),
        "fn": values[..., 2].ravel(),
    }
    epochs = [
        {
            "epoch": e,
            "lr": 0.01 * (1 - e / 6) ** 0.9,
            "seconds": 10.0,
            "loss.loss": 0.7 * math.exp(-0.5 * e) + 0.02 * seed + (0.1 if is_cpn else 0.0),
            "loss.cls": 0.6 * math.exp(-0.5 * e),
        }
        for e in range(6)
    ]
    for stage in ("affinity", "segment"):
        if f"stage.{stage}" in row:
            epochs += [
                {"epoch": len(epochs) + e, "lr": 0.1, "seconds": 9.0,
                 f"loss.{stage}.loss": 0.5 * math.exp(-0.3 * e) + 0.01 * seed}
                for e in range(3)
            ]  # fmt: skip
    tables = {
        "trials": _row_table(row),
        "images": image_table(columns),
        "epochs": epoch_table(trial_id, epochs),
    }
    if seed == 0 and ("refine" in config or any(s == "cpn/fig5" for s in trial["sweeps"])):
        content = pictures(quality_of_maps(config), config)
        store.write(f"artefacts/{trial_id}/pictures.safetensors", content)
    write_trial(store, trial_id, tables)


def chain_columns(config: dict[str, Any], seed: int, miou: float) -> dict[str, Any]:
    """What a row tells of the stages before the last one, and their ids."""
    last = quality(config) - quality_of_maps(config) - REFINED
    found = {
        "metric.miou_pseudo": miou - last,
        "metric.precision_pseudo": 0.7,
        "metric.recall_pseudo": 0.6,
        "metric.miou_maps": miou - last - REFINED,
        "metric.miou_raw": miou - last - REFINED - 0.004,
        "metric.miou_floor": 0.1,
    }
    if config["method"] == "cpn":
        found["metric.miou_refined"] = found["metric.miou_maps"]
    if "segment" in config:
        found["metric.miou_segment"] = miou
    settings: dict[str, Any] = {"seed": seed}
    stages = {"train": ("method", "patches", "s_n"), "affinity": ("refine", "irn_recipe"),
              "segment": ("segment",)}  # fmt: skip
    for stage, names in stages.items():
        settings |= {name: config.get(name) for name in names}
        there = {"affinity": config["refine"] != "crf", "segment": "segment" in config}
        if there.get(stage, True):
            text = json.dumps([stage, settings], sort_keys=True)
            found[f"stage.{stage}"] = hashlib.sha256(text.encode()).hexdigest()
    return found


if __name__ == "__main__":
    target = Path(sys.argv[1])
    make(target, missing=frozenset({"s_n=4000"}), failing=frozenset({"p_h=0.3"}))
