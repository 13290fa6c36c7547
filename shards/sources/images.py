"""What sources of image files share: reading a JPEG's size, a mask, and labels from a mask."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from camsweep.shards.errors import InputError
from camsweep.shards.writing.members import IGNORE, values_of


def read_jpeg(path: Path) -> tuple[bytes, tuple[int, int]]:
    """A JPEG file's bytes and its (H, W) in pixels.

    Raises:
        InputError: it cannot be read or does not begin like a JPEG.
    """
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as picture:
            width, height = picture.size
    except (OSError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or "not a JPEG"
        raise InputError(f"{path}: does not decode ({reason})") from None
    return content, (height, width)


def read_png_mask(path: Path) -> NDArray[np.uint8]:
    """The class indices of a palette or grey PNG, uint8 [H, W].

    Raises:
        InputError: it does not decode or holds colours.
    """
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            mode, mask = picture.mode, np.asarray(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: the mask does not decode ({str(error)[:80]})") from None
    if mode not in ("P", "L"):
        raise InputError(f"{path}: is a {mode} image; a palette PNG of class indices is expected")
    return mask


def mask_labels(mask: NDArray[np.uint8]) -> tuple[int, ...]:
    """The classes of a mask, ascending, without background and ignore."""
    return tuple(value for value in values_of(mask) if value not in (0, IGNORE))
