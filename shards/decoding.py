"""Decoding the members of a sample, each failure one line that names shard and sample."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from camsweep.shards.errors import DamagedSample


@dataclass(frozen=True)
class Sample:
    """One decoded sample. The arrays are read-only (they may be shared by a cache): copy to write.

    Attributes:
        key: its name in the split.
        image: uint8 [H, W, 3] RGB at the original size.
        mask: uint8 [H, W] class indices, 255 = ignore; None where the data have no masks.
        labels: class indices present, from 1, ascending.
    """

    key: str
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8] | None
    labels: tuple[int, ...]


def decode_image(content: bytes, where: str) -> NDArray[np.uint8]:
    """Decode a JPEG to RGB, uint8 [H, W, 3], read-only; DamagedSample naming ``where``."""
    try:
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as picture:
            # convert() copies even what is RGB already.
            rgb = picture if picture.mode == "RGB" else picture.convert("RGB")
            return _read_only(np.asarray(rgb))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DamagedSample(f"{where}: the image does not decode ({_first(error)})") from None


def decode_mask(content: bytes, where: str) -> NDArray[np.uint8]:
    """Decode a palette PNG to its indices, uint8 [H, W], read-only; DamagedSample as above."""
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            mask = np.asarray(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DamagedSample(f"{where}: the mask does not decode ({_first(error)})") from None
    if mask.dtype != np.uint8 or mask.ndim != 2:
        raise DamagedSample(f"{where}: the mask is not an 8 bit palette PNG")
    return _read_only(mask)


def decode_facts(
    content: bytes, classes: int, where: str
) -> tuple[tuple[int, ...], tuple[int, int]]:
    """Read a sample's JSON: (labels ascending, each 1..classes-1), (H, W).

    Raises:
        DamagedSample: it is no such JSON, or a label is none of the classes.
    """
    try:
        facts = json.loads(content)
        labels = tuple(sorted({int(label) for label in facts["labels"]}))
        height, width = (int(side) for side in facts["size"])
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedSample(f"{where}: its JSON is damaged ({_first(error)})") from None
    if labels and not 1 <= labels[0] <= labels[-1] < classes:
        raise DamagedSample(f"{where}: labels {list(labels)} outside 1..{classes - 1}")
    return labels, (height, width)


def _read_only(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    array.setflags(write=False)
    return array


def _first(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not such a picture at all"  # Pillow names an object in memory
    return (str(error).splitlines() or [type(error).__name__])[0][:80]
