"""The embedded data set as a source of samples for `camsweep.shards.writing.writer.build`."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from camsweep.shards.embedded.kinds import CLASSES, COLOURS
from camsweep.shards.embedded.render import mask_labels, render
from camsweep.shards.embedded.scene import SIZE, draw_scene, scene_rng
from camsweep.shards.errors import InputError
from camsweep.shards.writing.members import Source, SourceSample

RECIPE = 1  # raise whenever the same seed would give other pixels
JPEG_QUALITY = 95


def embedded_source(seed: int = 0, train: int = 800, val: int = 300) -> Source:
    """The embedded segmentation data: six classes, 96 x 96 pixels, nothing downloaded.

    Args:
        seed: Data seed; other seeds give other images of the same distribution.
        train: Images in the split ``train``; a larger number keeps the first ones.
        val: Images in the split ``val``.

    Returns:
        A source whose samples are rendered when they are asked for (about 2 ms each).

    Raises:
        InputError: A negative seed or an empty split.
    """
    if seed < 0:
        raise InputError(f"embedded: seed is {seed}; 0 or above is right")
    counts = {"train": train, "val": val}
    for split, count in counts.items():
        if count < 1:
            raise InputError(f"embedded: {split} is {count}; at least 1 image is needed")
    return Source(
        name="embedded",
        source=f"camsweep embedded, recipe {RECIPE}",
        classes=CLASSES,
        colours=COLOURS,
        settings={"recipe": RECIPE, "seed": seed, "train": train, "val": val, "size": SIZE},
        splits={
            split: [_Render(seed, split, index) for index in range(count)]
            for split, count in counts.items()
        },
    )


@dataclass(frozen=True, slots=True)
class _Render:
    seed: int
    split: str
    index: int

    def __call__(self) -> SourceSample:
        return render_sample(self.seed, self.split, self.index)

    def stamp(self) -> str:
        return f"{RECIPE}/{self.seed}/{self.split}/{self.index}"


def render_sample(seed: int, split: str, index: int) -> SourceSample:
    """Render one sample; the same arguments give the same bytes."""
    image, mask = render(draw_scene(scene_rng(seed, split, index)))
    return SourceSample(
        key=f"{split}-{index:05d}",
        image_bytes=encode_jpeg(image),
        mask=mask,
        labels=mask_labels(mask),
        size=(SIZE, SIZE),
        source_id=f"embedded/{seed}/{split}/{index}",
    )


def encode_jpeg(image: npt.NDArray[np.uint8]) -> bytes:
    """JPEG bytes of an image uint8 [H, W, 3], quality 95, colour at full resolution (4:4:4)."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
    return stream.getvalue()
