"""The images that are measured on: the same JPEG bytes as plain files and as shards."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from camsweep.shards.colours import Colour
from camsweep.shards.embedded.kinds import CLASSES, COLOURS
from camsweep.shards.embedded.render import mask_labels, render
from camsweep.shards.embedded.scene import draw_scene, scene_rng
from camsweep.shards.manifest import load_manifest
from camsweep.shards.places import Place
from camsweep.shards.places.cache import CACHE_VARIABLE
from camsweep.shards.reader import open_split
from camsweep.shards.writing.writer import Source, SourceSample, build

IMAGES = 256
SIZE = (375, 500)  # (H, W) of most images of VOC 2012
NOISE = 9.0  # with quality 90 it gives files of about 100 kB, as VOC 2012's are
SPLIT = "train"


@dataclass(frozen=True)
class Photos:
    """Where the images lie.

    Attributes:
        files: folder with nothing but the JPEG files.
        data: folder with the same as shards, in the split ``train``.
        count: how many they are.
        what: they are, in words.
    """

    files: Path
    data: Path
    count: int
    what: str


@contextmanager
def photos(data: Place | None, images: int | None = None) -> Iterator[Photos]:
    """The images of a benchmark in a temporary folder; the cache folder lies there as well.

    Args:
        data: shards whose first images are taken; None = rendered ones, the same every time.
        images: how many, at most; by default ``IMAGES``.
    """
    images = images or IMAGES
    with TemporaryDirectory(prefix="camsweep-bench-") as scratch:
        folder = Path(scratch)
        (folder / "files").mkdir()
        # Fetched before the cache folder moves, so that shards from afar land in the usual one.
        source = _rendered(folder, images) if data is None else _taken(data, folder, images)
        with cache_in(folder / "cache"):
            build(source, folder / "data")
            sizes = [path.stat().st_size for path in (folder / "files").iterdir()]
            kilobytes = sum(sizes) / len(sizes) / 1000
            what = f"{len(sizes)} images of {source.name}, {kilobytes:.0f} kB a JPEG"
            yield Photos(folder / "files", folder / "data", len(sizes), what)


@contextmanager
def cache_in(folder: Path) -> Iterator[None]:
    """Let this process and its children use another cache folder for a while."""
    before = os.environ.get(CACHE_VARIABLE)
    os.environ[CACHE_VARIABLE] = str(folder)
    try:
        yield
    finally:
        del os.environ[CACHE_VARIABLE]
        if before is not None:
            os.environ[CACHE_VARIABLE] = before


def _rendered(folder: Path, images: int) -> Source:
    samples = []
    for index in range(images):
        image, mask = render(draw_scene(scene_rng(0, "bench", index)))
        path = folder / "files" / f"{index:06d}.jpg"
        path.write_bytes(photo(image, index))
        samples.append(partial(_sample, path, tuple(mask_labels(mask)), SIZE))
    name = f"rendered {SIZE[1]} x {SIZE[0]} photographs"
    return _source(name, CLASSES, COLOURS, samples)


def photo(image: np.ndarray, seed: int) -> bytes:
    """A rendered image [H, W, 3] enlarged to the size of a photograph, with its grain, as JPEG."""
    enlarged = Image.fromarray(image).resize(SIZE[::-1], Image.Resampling.BICUBIC)
    grain = np.random.default_rng(seed).normal(0, NOISE, (*SIZE, 3))
    pixels = np.clip(np.asarray(enlarged) + grain, 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="JPEG", quality=90)
    return stream.getvalue()


def _taken(data: Place, folder: Path, images: int) -> Source:
    manifest = load_manifest(data)
    reader = open_split(data, next(iter(manifest.splits)))
    samples = []
    for index in range(min(images, len(reader))):
        path = folder / "files" / f"{index:06d}.jpg"
        path.write_bytes(reader.read(index, "jpg"))
        labels = tuple(int(label) + 1 for label in np.flatnonzero(reader.labels[index]))
        height, width = (int(side) for side in reader.sizes[index])
        samples.append(partial(_sample, path, labels, (height, width)))
    return _source(manifest.name, manifest.classes, manifest.colours, samples)


def _source(
    name: str,
    classes: tuple[str, ...],
    colours: tuple[Colour, ...],
    samples: list[partial[SourceSample]],
) -> Source:
    return Source(
        name=name,
        source="camsweep bench",
        classes=classes,
        colours=colours,
        settings={},
        splits={SPLIT: samples},
    )


def _sample(path: Path, labels: tuple[int, ...], size: tuple[int, int]) -> SourceSample:
    return SourceSample(path.stem, path.read_bytes(), None, labels, size, path.name)
