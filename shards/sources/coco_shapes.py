"""The shapes of COCO annotations: checked when they are read, turned into pixels when needed."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camsweep.shards.errors import InputError

# Polygons may stick out of their image a little; far outside, rasterising them would take all
# memory.
FARTHEST = 1e5


@dataclass(frozen=True, slots=True)
class Polygons:
    """Outlines of one object, each the bytes of float64 x, y, x, y, ... in pixels."""

    outlines: tuple[bytes, ...]
    degenerate: int = 0


@dataclass(frozen=True, slots=True)
class Runs:
    """Run lengths down the columns, outside and inside in turn, that cover a whole image.

    Attributes:
        size: (H, W) in pixels.
        counts: the bytes of uint32 numbers, the first one outside; their sum is H * W.
    """

    size: tuple[int, int]
    counts: bytes


def read_shape(segmentation: Any, where: str) -> Polygons | Runs:
    """Check and pack a ``segmentation``: a list of polygons, or run lengths.

    Raises:
        InputError: it is neither; the line begins with ``where``.
    """
    if isinstance(segmentation, dict):
        return _runs(segmentation, where)
    if not isinstance(segmentation, list):
        raise InputError(f"{where}: 'segmentation' must be a list of polygons or run lengths")
    outlines = [_outline(polygon, where) for polygon in segmentation]
    kept = tuple(outline for outline in outlines if outline)
    return Polygons(kept, len(outlines) - len(kept))


def _outline(polygon: Any, where: str) -> bytes:
    """A polygon as bytes; empty where it has fewer than three corners."""
    try:
        numbers = array("d", polygon)
    except (TypeError, OverflowError):
        raise InputError(f"{where}: 'segmentation': a polygon is a list of numbers") from None
    if len(numbers) % 2:
        raise InputError(
            f"{where}: 'segmentation': a polygon has {len(numbers)} numbers; pairs x, y are right"
        )
    # The sum sees a NaN, which the comparisons may miss.
    near = not numbers or (min(numbers) > -FARTHEST and max(numbers) < FARTHEST)
    if not (near and math.isfinite(sum(numbers))):
        raise InputError(f"{where}: 'segmentation': a corner lies far outside of the image")
    return numbers.tobytes() if len(numbers) >= 6 else b""


def _runs(segmentation: dict[str, Any], where: str) -> Runs:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not (
        isinstance(size, list)
        and len(size) == 2
        and all(isinstance(side, int) and not isinstance(side, bool) for side in size)
    ):
        raise InputError(f"{where}: 'segmentation': 'size' must be [height, width]")
    height, width = size
    try:
        if not isinstance(counts, str | list):
            raise TypeError(counts)
        numbers = array("I", _unpacked(counts) if isinstance(counts, str) else counts)
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            f"{where}: 'segmentation': 'counts' must be a list of run lengths or their packed text"
        ) from None
    # Checked here, as pycocotools leaves pixels behind the last run as the memory was.
    if sum(numbers) != height * width or height < 1:
        raise InputError(
            f"{where}: 'segmentation': the run lengths cover {sum(numbers)} pixels, "
            f"size says {height} x {width}"
        )
    return Runs((height, width), numbers.tobytes())


def _unpacked(text: str) -> list[int]:
    """The run lengths of pycocotools' packed form.

    A number is a row of characters of five bits each above 48, the lowest first; 32 marks that
    more follow, 16 in the last one that the number is negative. From the fourth on, a number is
    the difference to the run length two places before.

    Raises:
        ValueError: it ends inside a number or holds other characters.
    """
    lengths: list[int] = []
    number = bits = 0
    for character in text:
        digit = ord(character) - 48
        if not 0 <= digit < 64 or bits > 60:
            raise ValueError(text)
        number |= (digit & 31) << bits
        bits += 5
        if digit & 32:
            continue
        if digit & 16:
            number -= 1 << bits
        lengths.append(number + lengths[-2] if len(lengths) > 2 else number)
        number = bits = 0
    if bits:
        raise ValueError(text)
    return lengths


def rasterise(shape: Polygons | Runs, size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """The pixels that a shape covers, as pycocotools decodes it.

    Args:
        shape: from ``read_shape``.
        size: (H, W) of the image in pixels.
        where: begins the error line.

    Returns:
        bool [H, W], stored column by column.

    Raises:
        InputError: run lengths of another size.
    """
    from pycocotools import mask as coco

    height, width = size
    if isinstance(shape, Polygons):
        if not shape.outlines:
            return np.zeros(size, dtype=np.bool_, order="F")
        # Lists, and none of four numbers: pycocotools would take those for boxes.
        corners = [np.frombuffer(outline).tolist() for outline in shape.outlines]
        return _decoded(coco.merge(coco.frPyObjects(corners, height, width)))
    if shape.size != size:
        raise InputError(
            f"{where}: 'segmentation': its size is {list(shape.size)}, the image's {list(size)}"
        )
    counts = np.frombuffer(shape.counts, dtype=np.uint32).tolist()
    return _decoded(coco.frPyObjects({"size": list(size), "counts": counts}, height, width))


def _decoded(runs: object) -> NDArray[np.bool_]:
    from pycocotools import mask as coco

    return np.asarray(coco.decode(runs)).view(np.bool_)
