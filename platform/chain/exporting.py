"""The predictions of a trial's segmentation network on any split, as palette PNGs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from camsweep.methods.segment.palette import label_png, voc_server_folder
from camsweep.platform.chain.links import Links, Split
from camsweep.platform.chain.making import predicting
from camsweep.platform.context import RunContext
from camsweep.platform.stages import SKIPPING, WEIGHTS, Tensors, read_tensors
from camsweep.shards.errors import InputError
from camsweep.shards.manifest import load_manifest
from camsweep.shards.places import as_place
from camsweep.sweeps.planned import PlannedTrial
from camsweep.sweeps.recorded import planned_again
from camsweep.sweeps.results import artefact_name, load_trials, read_row
from camsweep.sweeps.store import Store
from camsweep.sweeps.temporary import write_file


def export_predictions(
    store: Store,
    word: str,
    data: str,
    split: str,
    out: Path,
    *,
    device: str = "cpu",
    on_progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Path:
    """Write a split's predictions in the layout of the VOC test server.

    Every image is predicted as the trial's own were; what is there already is not made again, so
    that an interrupted export goes on. ``comp6_SPLIT_cls.json`` in the folder tells whose it is.

    Args:
        store: where the trial is.
        word: the trial's id, or its beginning.
        data: the shards' folder or URL; any data set with the trial's classes.
        split: of the data set; needs no masks.
        out: the folder that gets ``results/VOC2012/Segmentation/comp6_SPLIT_cls/KEY.png``.
        device: where the network runs.
        on_progress: called with (what, done, total).

    Returns:
        The folder of the pictures.

    Raises:
        InputError: no such trial, it has no segmentation network, the data are of other classes, or
            the folder has predictions of another trial or of other data.
    """
    trial, row = find_segmentation(store, word)
    manifest = load_manifest(as_place(data))
    if list(row["classes"]) != list(manifest.classes):
        raise InputError(
            f"--data {data}: has {len(manifest.classes)} classes other than the trial's "
            f"{len(row['classes'])}; give data of the same classes in the same order"
        )
    context = RunContext(store, data, "", device=device)
    opened = Split(Links(trial, context), split)
    draw = predicting(opened, _weights(store, trial.stages["segment"], bool(row["skipped"])))
    folder = out / voc_server_folder(split)
    _claim(folder, out / f"{folder.name}.json", {"trial": trial.id, "data": manifest.digest})
    count = len(opened.reader)
    for index, key in enumerate(opened.reader.keys):
        path = folder / f"{key}.png"
        if not path.exists():
            labels = draw(index)
            height, width = opened.reader.sizes[index].tolist()
            if labels.shape != (height, width):  # the trial looks at smaller images
                enlarged = Image.fromarray(labels).resize((width, height), Image.Resampling.NEAREST)
                labels = np.asarray(enlarged)
            write_file(path, label_png(labels, manifest.colours))
        on_progress("predictions", index + 1, count)
    return folder


def _weights(store: Store, stage: str, skipped: bool) -> Tensors:
    """Of the network that a trial's row tells of; one that left out samples lies apart."""
    folders = [stage, stage + SKIPPING]
    names = [artefact_name(folder, WEIGHTS) for folder in folders]
    for name in reversed(names) if skipped else names:
        if store.exists(name):
            return read_tensors(store, name)
    raise InputError(f"{store}/{names[0]}: is not there; delete the trial's row and run it again")


def _claim(folder: Path, note: Path, owner: dict[str, str]) -> None:
    """Note whose pictures a folder has, outside of what is sent to the server.

    Raises:
        InputError: it has others.
    """
    wanted = json.dumps(owner, indent=1)
    if note.exists():
        found = note.read_text(encoding="utf-8")
        if found != wanted:
            raise InputError(
                f"{folder}: has predictions of another trial or of other data, as {note} tells "
                f"({' '.join(found.split())[:200]}); give another --out"
            )
    elif folder.is_dir() and any(folder.iterdir()):
        raise InputError(
            f"{folder}: has pictures, and no {note.name} tells of what trial; give another --out"
        )
    write_file(note, wanted.encode())


def find_segmentation(store: Store, word: str) -> tuple[PlannedTrial, dict[str, Any]]:
    """The finished trial whose id begins with a word, with its settings, and its row.

    Raises:
        InputError: there is none, or several; it has no segmentation network, or its settings mean
            another trial in this version of camsweep.
    """
    trials = load_trials(store).select(["id", "status"]).to_pylist()
    ids = [row["id"] for row in trials if row["id"].startswith(word) and row["status"] == "done"]
    if len(ids) != 1:
        found = "no finished trial has" if not ids else f"{len(ids)} finished trials have"
        raise InputError(
            f"trial '{word}': {found} this id in --store {store}; see `camsweep status`"
        )
    row = read_row(store, ids[0])
    assert row is not None
    trial = planned_again(row)
    if trial is None:
        raise InputError(
            f"trial '{word}': was made by another version of camsweep, whose settings meant "
            "something else; use that version, or run the trial again"
        )
    if "segment" not in trial.stages:
        raise InputError(
            f"trial '{word}': has no segmentation network; take one of a sweep that sets segment:"
        )
    return trial, row
