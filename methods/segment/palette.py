"""Predictions as palette PNGs, in the layout that the VOC test server takes.

The development kit's layout: http://host.robots.ox.ac.uk:8080/anonymous and VOC2012's devkit_doc,
section 4.2. comp6 = trained on data beyond VOC's own, as ImageNet weights are.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from camsweep.shards.colours import Colour
from camsweep.shards.decoding import decode_mask
from camsweep.shards.errors import InputError
from camsweep.shards.writing.members import palette


def label_png(labels: NDArray[np.uint8], colours: Sequence[Colour]) -> bytes:
    """A label map as an 8 bit palette PNG; the same bytes for the same map.

    Args:
        labels: uint8 [H, W], class indices, 255 = ignore.
        colours: one a class, of the manifest; ``shards.colours.colour_map`` for VOC.

    Raises:
        InputError: a label has no colour.
    """
    wrong = labels[(labels >= len(colours)) & (labels != 255)]
    if wrong.size:
        raise InputError(f"label {wrong.flat[0]} has no colour; there are {len(colours)} classes")
    picture = Image.fromarray(np.ascontiguousarray(labels))
    picture.putpalette(palette(colours))
    stream = io.BytesIO()
    picture.save(stream, format="PNG")
    return stream.getvalue()


def read_labels(content: bytes, where: str = "label map") -> NDArray[np.uint8]:
    """The label map of ``label_png``'s bytes: uint8 [H, W], read-only.

    Args:
        content: the PNG.
        where: what error lines call it.

    Raises:
        DamagedSample: it is no such PNG.
    """
    return decode_mask(content, where)


def voc_server_folder(split: str = "test", year: int = 2012, competition: int = 6) -> PurePosixPath:
    """Where in the archive the VOC test server looks for ``KEY.png``.

    Args:
        split: ``test``; ``val`` for the development kit's own evaluation.
        year: of the challenge.
        competition: 5 = trained on VOC's data alone, 6 = on any.
    """
    return PurePosixPath("results", f"VOC{year}", "Segmentation", f"comp{competition}_{split}_cls")
