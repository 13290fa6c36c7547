"""Counting 100 background thresholds in one pass, against one pass over the files for each.

Run as ``python -m camsweep.platform.bench.thresholds HOW FOLDER``: counts the maps of a folder once
in a fresh process, and prints the seconds that took and the counts, as JSON.

The peer does what the released evaluations of CPN and SEAM do, in words of our own: for each
threshold eight processes share the images, read each one's maps and mask from its files again, and
for each of the 21 classes compare the whole image with it.
"""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from camsweep.methods.metrics import IGNORE, Counts, ThresholdCounts, threshold_values
from camsweep.platform.bench.rounds import alternate
from camsweep.platform.bench.table import Result, ratio
from camsweep.shards.errors import InputError
from camsweep.shards.places import Place

IMAGES = 32
SIZE = (375, 500)
CLASSES = 21
LEVELS = 100
#: The peer counts every tenth level and its time is taken ten times: all its passes are alike.
STRIDE = 10
PROCESSES = 8

ONCE, EACH = "one pass for all levels", "one pass a level, as released"


def run(data: Place | None, seconds: float, repeat: int) -> Result:
    """Measure both by turns; each lasts what it lasts, whatever ``seconds`` is.

    Raises:
        InputError: the two count differently.
    """
    with TemporaryDirectory(prefix="camsweep-bench-") as scratch:
        write_maps(Path(scratch), IMAGES)
        counts: dict[str, list[object]] = {}
        rounds = alternate(
            {
                ONCE: lambda: _counted("once", scratch, counts),
                EACH: lambda: _counted("each", scratch, counts),
            },
            repeat,
        )
    if any(found != counts["each"][0] for how in counts.values() for found in how):
        raise InputError("bench: thresholds: the one pass and the released way count differently")
    return Result(
        name="thresholds",
        unit="milliseconds an image, all levels, files read included",
        rounds=rounds,
        ratios=(ratio(rounds, EACH, ONCE, "at least 100"),),
        notes=(
            f"{IMAGES} images of {SIZE[1]} x {SIZE[0]} pixels with 2 maps each, {LEVELS} levels; "
            "equal counts of every class at every level that both have",
            f"one pass: one process; as released: {PROCESSES} processes a level, of which every "
            f"{STRIDE}th is counted and its time taken {STRIDE} times",
        ),
    )


def _counted(how: str, folder: str, counts: dict[str, list[object]]) -> float:
    """Milliseconds an image; the counts of the peer's levels are appended."""
    command = [sys.executable, "-m", "camsweep.platform.bench.thresholds", how, folder]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise InputError(f"bench: counting thresholds failed ({last})")
    found = json.loads(done.stdout)
    counts.setdefault(how, []).append(found["counts"])
    images = len(list(Path(folder).glob("*.npz")))
    return 1000 * float(found["seconds"]) / images


def write_maps(folder: Path, images: int) -> None:
    """Smooth random maps of two classes as ``.npz`` (arrays by class) and masks as PNG."""
    for index in range(images):
        rng = np.random.default_rng(index)
        classes = np.sort(rng.choice(np.arange(1, CLASSES), 2, replace=False)).tolist()
        maps = {label: _smooth(rng) for label in classes}
        best = np.stack(list(maps.values()))
        mask = np.where(best.max(0) > 0.5, np.array(classes)[best.argmax(0)], 0).astype(np.uint8)
        mask[:: SIZE[0] // 5] = IGNORE
        np.savez(folder / f"{index:04d}.npz", **{str(label): m for label, m in maps.items()})  # type: ignore[arg-type]
        Image.fromarray(mask).save(folder / f"{index:04d}.png")


def _smooth(rng: np.random.Generator) -> np.ndarray:
    coarse = Image.fromarray(rng.random((12, 16)).astype(np.float32))
    found = np.asarray(coarse.resize(SIZE[::-1], Image.Resampling.BICUBIC))
    scaled: np.ndarray = (found - found.min()) / (found.max() - found.min())
    return scaled


def read_maps(path: Path) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """The maps by class and the mask of one image."""
    with np.load(path) as held:
        maps = {int(label): held[label] for label in held.files}
    with Image.open(path.with_suffix(".png")) as picture:
        return maps, np.array(picture)


def once(folder: Path) -> Counts:
    """(tp, fp, fn) of all levels and classes, int64 [levels, classes, 3]."""
    counts = ThresholdCounts(CLASSES, levels())
    for path in sorted(folder.glob("*.npz")):
        maps, mask = read_maps(path)
        counts.add(np.stack(list(maps.values())), mask, list(maps))
    return counts.total[::STRIDE]


def each(folder: Path) -> Counts:
    """The same for every ``STRIDE``-th level, by processes that share the images of a level."""
    paths = sorted(folder.glob("*.npz"))
    context = multiprocessing.get_context("fork")
    found = []
    for level in levels()[::STRIDE]:
        total = context.Array("q", 3 * CLASSES)
        workers = [
            context.Process(target=_count_level, args=(paths[start::PROCESSES], level, total))
            for start in range(PROCESSES)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        found.append(np.array(total[:], np.int64).reshape(CLASSES, 3))
    return np.stack(found)


def _count_level(paths: list[Path], level: np.float32, total: object) -> None:
    """Add what one process counts at one level."""
    for path in paths:
        maps, mask = read_maps(path)
        scores = np.zeros((CLASSES, *mask.shape), np.float32)
        scores[0] = level
        for label, values in maps.items():
            scores[label] = values
        predicted = scores.argmax(0)
        valid = mask < IGNORE
        for label in range(CLASSES):
            chosen, true = (predicted == label) & valid, (mask == label) & valid
            hits = int((chosen & true).sum())
            numbers = hits, int(chosen.sum()) - hits, int(true.sum()) - hits
            with total.get_lock():  # type: ignore[attr-defined]
                for place, number in enumerate(numbers):
                    total[3 * label + place] += number  # type: ignore[index]


def levels() -> np.ndarray:
    """The thresholds, 0.00, 0.01, ... for 100 of them."""
    return threshold_values(0.0, (LEVELS - 1) / LEVELS, 1 / LEVELS)


def main(how: str, folder: Path) -> None:
    """Count once and print what it took."""
    for path in folder.iterdir():
        path.read_bytes()  # the file cache is warm for both
    if how == "once":
        once(folder)  # a process's first pass pays for imports and new memory
    begun = time.perf_counter()
    found = once(folder) if how == "once" else each(folder)
    took = (time.perf_counter() - begun) * (1 if how == "once" else STRIDE)
    print(json.dumps({"seconds": took, "counts": found.tolist()}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
