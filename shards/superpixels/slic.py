"""SLIC superpixels of one image, as the CPN paper and its released code use them."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from camsweep.shards.errors import InputError, nearest
from camsweep.shards.normalisation import IMAGENET_MEAN, IMAGENET_STD

Scaling = Literal["modern", "released"]

COMPACTNESS = 10.0
SCALING: Scaling = "modern"
MOST = 65535  # labels are stored with 16 bits


def segment(
    image: NDArray[np.uint8],
    s_n: int,
    compactness: float = COMPACTNESS,
    scaling: str = SCALING,
) -> NDArray[np.uint16]:
    """Segment an image into about ``s_n`` superpixels with scikit-image's SLIC.

    The released CPN code (``tool/imutils.py``) calls SLIC on the image normalised by ImageNet's
    mean and standard deviation. What ``compactness`` then means depends on scikit-image:

    * ``modern`` (the default, because it is what running that code today does): from 0.19 on,
      SLIC rescales its input to 0..1 before the conversion to Lab.
    * ``released``: 0.17.2, which that code pins, converts the normalised values (about -2..2.6)
      to Lab as they are. Emulated exactly up to rounding: SLIC compares (Lab / compactness), and
      a shift of Lab changes no distance, so Lab is computed here and the rescaling of later
      versions is undone by dividing ``compactness`` by the range of Lab.

    The number obtained is below the number asked for (300 gave 164 with ``modern`` and 56 with
    ``released`` on one 375 x 500 image): it is the largest label.

    Args:
        image: uint8 [H, W, 3] RGB.
        s_n: number asked for, 2 to 65535.
        compactness: weight of distance in space against distance in colour, > 0.
        scaling: ``modern`` or ``released``.

    Returns:
        uint16 [H, W], labels 1..n without gaps, each superpixel connected.

    Raises:
        InputError: a setting outside its range.
    """
    check_settings(s_n, compactness, scaling)
    from skimage.color import rgb2lab
    from skimage.segmentation import slic

    mean, std = np.array(IMAGENET_MEAN), np.array(IMAGENET_STD)
    normalised = ((image / 255.0 - mean) / std).astype(np.float32)
    if scaling == "modern":
        labels = slic(normalised, n_segments=s_n, compactness=compactness, start_label=1)
    else:
        lab = rgb2lab(normalised)
        extent = float(lab.max() - lab.min()) or 1.0
        labels = slic(
            lab,
            n_segments=s_n,
            compactness=compactness / extent,
            start_label=1,
            convert2lab=False,
        )
    return labels.astype(np.uint16)


def check_settings(s_n: int, compactness: float, scaling: str) -> None:
    """Refuse settings that ``segment`` cannot use (InputError naming the key)."""
    if not 2 <= s_n <= MOST:
        raise InputError(f"superpixels: S_N = {s_n}; 2 to {MOST} is right")
    if not compactness > 0:
        raise InputError(f"superpixels: compactness = {compactness}; it must be above 0")
    if scaling not in get_args(Scaling):
        raise InputError(f"superpixels: scaling = '{scaling}'{nearest(scaling, get_args(Scaling))}")
