"""What the picture browser shows: images, masks and the score maps of several variants as PNG.

A score map holds the score of the strongest foreground class at each pixel in 256 steps; the class
itself is a second picture. Older stores keep the score alone (then nothing but foreground against
background can be said) or the maps of all classes. Pseudo masks and segmentations are the classes
alone.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from camsweep.reports.board.entry import Entry, Leaderboard
from camsweep.reports.kinds import last_stage
from camsweep.reports.load import read_pictures
from camsweep.sweeps.store import Store

Pixels = NDArray[np.uint8]

#: Variants in the page, and how many are looked at for stored pictures.
VARIANTS, LOOKED = 8, 48
#: Larger images are thinned to every second (third, ...) pixel, so that the page stays small.
SIDE = 320
KINDS = {
    "map": "final map",
    "raw": "raw map",
    "pseudo": "pseudo masks",
    "segment": "segmentation",
}
#: Those that are labels already, for which there is no threshold.
LABELS = ("pseudo", "segment")


@dataclass(frozen=True)
class Shot:
    """An image and its mask as PNG, ``step`` pixels of the original apart."""

    key: str
    label: str
    width: int
    height: int
    step: int
    image: bytes
    mask: bytes


@dataclass(frozen=True)
class Layer:
    """A score map as PNG, and the class of each pixel; None where the store does not tell it.

    Labels have no score.
    """

    score: bytes | None
    winner: bytes | None


@dataclass(frozen=True)
class Variant:
    """A variant's maps by kind (of `KINDS`), one a shot; ``threshold`` is NaN where unknown."""

    rank: int
    name: str
    threshold: float
    maps: Mapping[str, tuple[Layer | None, ...]]


@dataclass(frozen=True)
class Gallery:
    """Everything in the picture browser."""

    classes: tuple[str, ...]
    shots: tuple[Shot, ...]
    variants: tuple[Variant, ...]


def encode(pixels: Pixels) -> bytes:
    """Pixels [H, W] or [H, W, 3] as a PNG that keeps every value."""
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(out, "PNG", optimize=True)
    return out.getvalue()


def pictured(boards: Sequence[Leaderboard]) -> list[Entry]:
    """The entries of several boards, the names told apart by what was measured."""
    if len(boards) < 2:
        return [entry for board in boards for entry in board.entries]
    return [
        replace(entry, name=f"{entry.name} ({board.kind})")
        for board in boards
        for entry in board.entries
    ]


def _order(entries: Sequence[Entry]) -> Iterator[tuple[int, Entry]]:
    """Each method's best of each stage first, so that both can be compared; then as given."""
    best: dict[tuple[str, str], int] = {}
    for index, entry in enumerate(entries):
        first = entry.trials[0]
        best.setdefault((first.method, last_stage(first)), index)
    chosen = set(best.values())
    yield from ((index, entries[index]) for index in best.values())
    yield from ((i, entry) for i, entry in enumerate(entries) if i not in chosen)


def _stored(entry: Entry, store: Store) -> tuple[dict[str, Pixels], float]:
    """The pictures of the first seed that has any, and that trial's threshold."""
    for trial in sorted(entry.trials, key=lambda t: t.seed):
        found = read_pictures(store, trial)
        if found:
            return found, trial.metrics.get("threshold", math.nan)
    return {}, math.nan


def _shot(key: str, arrays: Mapping[str, Pixels], classes: Sequence[str]) -> Shot | None:
    image, mask = arrays.get(f"{key}/image"), arrays.get(f"{key}/mask")
    if image is None or mask is None or image.ndim != 3 or mask.shape != image.shape[:2]:
        return None
    step = max(1, math.ceil(max(mask.shape) / SIDE))
    image, mask = image[::step, ::step], mask[::step, ::step]
    present = [classes[i] for i in np.unique(mask).tolist() if 0 < i < len(classes)]
    label = ", ".join(present) or "no foreground"
    height, width = mask.shape
    return Shot(key, label, width, height, step, encode(image), encode(mask))


def _layer(key: str, kind: str, arrays: Mapping[str, Pixels], step: int) -> Layer | None:
    maps, mask = arrays.get(f"{key}/{kind}"), arrays.get(f"{key}/mask")
    if maps is None or mask is None or maps.shape[-2:] != mask.shape:
        return None
    if kind in LABELS:
        return Layer(None, encode(maps[::step, ::step])) if maps.ndim == 2 else None
    if maps.ndim != 3:
        return None
    winner = arrays.get(f"{key}/{kind}_class")
    if winner is not None:
        winner = winner.reshape(mask.shape) if winner.size == mask.size else None
    elif len(maps) > 1:
        winner = (maps.argmax(axis=0) + 1).astype(np.uint8)
    if not len(maps):
        return None
    score = maps.max(axis=0)[::step, ::step]
    return Layer(encode(score), None if winner is None else encode(winner[::step, ::step]))


def gallery(entries: Sequence[Entry], store: Store) -> Gallery | None:
    """The pictures of the best variants that have any; None where there are none.

    Args:
        entries: of leaderboards (`pictured`), each from best to worst.
        store: where the pictures are.
    """
    chosen: list[tuple[int, Entry, dict[str, Pixels], float]] = []
    for looked, (index, entry) in enumerate(_order(entries)):
        if looked >= LOOKED or len(chosen) >= VARIANTS:
            break
        arrays, threshold = _stored(entry, store)
        if arrays:
            chosen.append((index, entry, arrays, threshold))
    chosen.sort(key=lambda item: item[0])
    classes = next((e.trials[0].classes for _, e, _, _ in chosen if e.trials[0].classes), ())
    shots: dict[str, Shot] = {}
    for _, _, arrays, _ in chosen:
        for key in sorted(n.rpartition("/")[0] for n in arrays if n.endswith("/image")):
            shot = _shot(key, arrays, classes) if key not in shots else None
            if shot is not None:
                shots[key] = shot
    if not shots:
        return None
    variants = []
    for _, entry, arrays, threshold in chosen:
        maps: dict[str, tuple[Layer | None, ...]] = {}
        for kind in KINDS:
            layers = tuple(_layer(s.key, kind, arrays, s.step) for s in shots.values())
            if any(layers) and (kind in LABELS or layers not in maps.values()):
                maps[kind] = layers
        if maps:
            variants.append(Variant(entry.rank, entry.name, threshold, maps))
    return Gallery(classes, tuple(shots.values()), tuple(variants)) if variants else None
