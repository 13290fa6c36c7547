"""One sample on its way into a shard: what a source hands over, and the tar members made of it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import JsonValue

from camsweep.shards.colours import Colour, colour_map
from camsweep.shards.decoding import decode_image
from camsweep.shards.errors import InputError
from camsweep.shards.manifest import canonical_json

IGNORE = 255

# webdataset cuts a member's name at its first dot: a key with a dot or a slash would lose its end.
_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class SourceSample:
    """One image before it is written.

    Attributes:
        key: unique within the split; letters, digits, ``_`` and ``-``.
        image_bytes: the JPEG file, kept as it is.
        mask: uint8 [H, W] class indices, 255 = ignore; None where there is none.
        labels: image-level labels, class indices from 1.
        size: (H, W) in pixels.
        source_id: its name in the source, stored with it; no path of this machine.
        where: what error lines call it (a path); ``source_id`` where empty. Not stored.
    """

    key: str
    image_bytes: bytes
    mask: NDArray[np.uint8] | None
    labels: tuple[int, ...]
    size: tuple[int, int]
    source_id: str
    where: str = ""


Loader = Callable[[], SourceSample]
"""Makes one sample when called and holds no pixels before.

Other processes call it, so it is picklable. One that also has ``stamp() -> str``, a cheap text
that changes with everything its sample is made of, lets an interrupted build go on with the
finished shards; without, or where it cannot be pickled, a build works but begins anew.
"""


@dataclass(frozen=True)
class Source:
    """A data set that can be written: its description and, by split, one loader a sample."""

    name: str
    source: str
    classes: tuple[str, ...]
    colours: tuple[Colour, ...]
    settings: Mapping[str, JsonValue]
    splits: Mapping[str, Sequence[Loader]] = field(repr=False)


@dataclass(frozen=True)
class Superpixels:
    """Which SLIC label maps are stored with each image; see ``slic.segment``."""

    numbers: tuple[int, ...]
    compactness: float
    scaling: str

    def settings(self) -> dict[str, JsonValue]:
        """Their part of the manifest's settings; empty where none are stored."""
        if not self.numbers:
            return {}
        return {"superpixels": {"compactness": self.compactness, "scaling": self.scaling}}


def check_key(key: str, where: str) -> None:
    """Refuse a name that webdataset would cut or that could leave the folder.

    Raises:
        InputError: it has other characters than letters, digits, ``_`` and ``-``.
    """
    if not _KEY.fullmatch(key):
        raise InputError(f"{where}: key {key!r} needs letters, digits, '_' and '-' only")


def file_stamp(path: Path, root: Path) -> str:
    """What tells a file from any other and from itself before a change, without its content.

    Its name inside ``root``, size, inode, modification and change time. Copies of archives have
    sizes and modification times in common; the change time cannot be set, and inodes are no two
    files'. A copy of the source counts as other files: it is built anew, never wrongly.

    Raises:
        InputError: it cannot be looked at.
    """
    try:
        facts = path.stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    name = path.relative_to(root) if path.is_relative_to(root) else path
    times = f"{facts.st_mtime_ns}:{facts.st_ctime_ns}"
    return f"{name}:{facts.st_size}:{facts.st_ino}:{times}"


def members(
    sample: SourceSample, classes: int, palette: bytes, superpixels: Superpixels
) -> dict[str, str | bytes]:
    """The tar members of one checked sample (design section 8), by extension.

    Args:
        sample: what a source handed over.
        classes: number of classes, background included.
        palette: of the mask's PNG, from ``palette``.
        superpixels: the label maps to compute.

    Raises:
        InputError: key, image, mask or labels are wrong; the line begins with the sample's file.
    """
    where = name_of(sample)
    check_key(sample.key, where)
    image = _decode(sample)
    labels = sorted(set(sample.labels))
    wrong = [label for label in labels if not 1 <= label < classes]
    if wrong:
        raise InputError(f"{where}: label {wrong[0]} is outside the list 1..{classes - 1}")
    facts: dict[str, JsonValue] = {
        "labels": list(labels),
        "size": list(sample.size),
        "source_id": sample.source_id,
    }
    parts: dict[str, str | bytes] = {"__key__": sample.key, "jpg": sample.image_bytes}
    if sample.mask is not None:
        _check_mask(sample.mask, sample.size, classes, where)
        parts["mask.png"] = _mask_png(sample.mask, palette)
    if superpixels.numbers:
        from camsweep.shards.superpixels.labelmaps import encode_labels
        from camsweep.shards.superpixels.slic import segment

        obtained: dict[str, JsonValue] = {}
        for s_n in superpixels.numbers:
            segments = segment(image, s_n, superpixels.compactness, superpixels.scaling)
            obtained[str(s_n)] = int(segments.max())
            parts[f"sp{s_n}.png"] = encode_labels(segments)
        facts["segments"] = obtained
    parts["json"] = canonical_json(facts)
    return parts


def values_of(mask: NDArray[np.uint8]) -> list[int]:
    """The values that a mask uint8 [H, W] holds, ascending (``np.unique`` would sort it)."""
    counts = np.bincount(mask.ravel(order="K"), minlength=256)
    return [int(value) for value in np.flatnonzero(counts)]


def name_of(sample: SourceSample) -> str:
    """What error lines call a sample."""
    return sample.where or sample.source_id


def palette(colours: Sequence[Colour]) -> bytes:
    """The 256 colours of a mask's PNG: the classes', black, and the usual one of 255."""
    table = list(colours) + [(0, 0, 0)] * (256 - len(colours))
    table[IGNORE] = colour_map(256)[IGNORE]
    return bytes(channel for colour in table for channel in colour)


def _decode(sample: SourceSample) -> NDArray[np.uint8]:
    image = decode_image(sample.image_bytes, name_of(sample))
    if image.shape[:2] != tuple(sample.size):
        raise InputError(
            f"{name_of(sample)}: image is {image.shape[0]} x {image.shape[1]}, "
            f"the source says {sample.size[0]} x {sample.size[1]}"
        )
    return image


def _check_mask(mask: NDArray[np.uint8], size: tuple[int, int], classes: int, where: str) -> None:
    if mask.dtype != np.uint8 or mask.shape != tuple(size):
        raise InputError(
            f"{where}: mask is {mask.dtype} {'x'.join(map(str, mask.shape))}, "
            f"its image {size[0]}x{size[1]}"
        )
    wrong = [value for value in values_of(mask) if classes <= value != IGNORE]
    if wrong:
        raise InputError(
            f"{where}: mask holds class {wrong[0]}, "
            f"the list has 0..{classes - 1} (and {IGNORE} = ignore)"
        )


def _mask_png(mask: NDArray[np.uint8], colours: bytes) -> bytes:
    picture = Image.fromarray(mask)
    picture.putpalette(colours)
    stream = io.BytesIO()
    picture.save(stream, format="PNG")
    return stream.getvalue()
