"""Augmentation of one training image and its superpixels, as the released CPN code does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from camsweep.shards.normalisation import IMAGENET_MEAN, IMAGENET_STD

#: Its place among the adjustments; it alone looks at the whole picture.
CONTRAST = 1


@cache
def _adjustments() -> tuple[Callable[..., Any], ...]:
    """torchvision's, by place: brightness, contrast, saturation, hue.

    Imported at first use: it takes seconds and 160 MB, and a driver augments nothing.
    """
    from torchvision.transforms.v2 import functional

    return (
        functional.adjust_brightness,
        functional.adjust_contrast,
        functional.adjust_saturation,
        functional.adjust_hue,
    )


@dataclass(frozen=True)
class Augment:
    """What is drawn for a training image. The defaults are the released CPN training's.

    Attributes:
        crop: side of the square crop, in pixels.
        resize: the long side is drawn from these two, both included; None = no resize.
        rescale: a factor on both sides is drawn from this range, in place of ``resize``.
        rescale_step: distance of the factors that are drawn from; 0 = any in the range.
        flip: mirror left to right with probability 1/2.
        jitter: reach of brightness, contrast and saturation (factor U[1-r, 1+r], at least 0) and
            of hue (shift U[-r, r] of a turn, r at most .5), in a drawn order; all 0 = none.
        gain: reach of one factor U[1-g, 1+g] on all values, not clipped; 0 = none.
        mean: subtracted from values in 0..1, by channel.
        std: divides what is left, by channel.
    """

    crop: int = 448
    resize: tuple[int, int] | None = (448, 768)
    rescale: tuple[float, float] | None = None
    rescale_step: float = 0.0
    flip: bool = True
    jitter: tuple[float, float, float, float] = (0.3, 0.3, 0.3, 0.1)
    gain: float = 0.0
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


@dataclass(frozen=True)
class Placement:
    """Along one axis: which part of the resized image is kept, and where in the crop it lies."""

    in_image: slice
    on_canvas: slice


@dataclass(frozen=True)
class Drawn:
    """The augmentation of one image, as drawn.

    Attributes:
        height: rows of the resized image.
        width: its columns.
        crop: side of the crop.
        mirrored: left to right, after resizing.
        rows: of the resized, mirrored image that the crop shows.
        columns: likewise.
        factors: of brightness, contrast and saturation (1 = as it was), and the shift of hue.
        order: the order of these four.
        gain: factor of all values.
    """

    height: int
    width: int
    crop: int
    mirrored: bool
    rows: Placement
    columns: Placement
    factors: tuple[float, float, float, float]
    order: tuple[int, ...]
    gain: float

    def valid(self) -> torch.Tensor:
        """Where the crop shows the image: bool [crop, crop], one rectangle of true."""
        inside = torch.zeros(self.crop, self.crop, dtype=torch.bool)
        inside[self.rows.on_canvas, self.columns.on_canvas] = True
        return inside


def sample_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The generator of one sample in one epoch: a pure function of its arguments, all >= 0.

    No draw depends on the draws before it, so workers and resumed runs see the same images.
    """
    return np.random.default_rng([seed, epoch, 1, index])


def augment(
    image: NDArray[np.uint8],
    superpixels: NDArray[np.uint16] | None,
    settings: Augment,
    rng: np.random.Generator,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """``draw``, ``move_image`` and, where there are superpixels, ``move_labels`` as int64."""
    drawn = draw(image.shape[0], image.shape[1], settings, rng)
    tensor = move_image(image, drawn, settings)
    return tensor, None if superpixels is None else move_labels(superpixels, drawn).long()


def draw(height: int, width: int, settings: Augment, rng: np.random.Generator) -> Drawn:
    """Draw the augmentation of one image.

    The same numbers are drawn under all settings, so switching one of them off leaves the others'
    draws as they were.

    Args:
        height: rows of the image.
        width: columns of the image.
        settings: what to draw.
        rng: from ``sample_rng``.
    """
    draws = rng.random(9).tolist()
    order = tuple(rng.permutation(4).tolist())
    if settings.rescale is not None:
        factor = _factor(*settings.rescale, settings.rescale_step, draws[0])
        height, width = max(1, round(height * factor)), max(1, round(width * factor))
    elif settings.resize is not None and settings.resize != (0, 0):
        low, high = settings.resize
        height, width = long_side_size(height, width, low + int(draws[0] * (high - low + 1)))
    spread = [reach * (2 * x - 1) for reach, x in zip(settings.jitter, draws[2:6], strict=True)]
    return Drawn(
        height=height,
        width=width,
        crop=settings.crop,
        mirrored=settings.flip and draws[1] < 0.5,
        rows=_placement(height, settings.crop, draws[7]),
        columns=_placement(width, settings.crop, draws[8]),
        factors=(
            max(0.0, 1 + spread[0]),
            max(0.0, 1 + spread[1]),
            max(0.0, 1 + spread[2]),
            spread[3],
        ),
        order=order,
        gain=1 + settings.gain * (2 * draws[6] - 1),
    )


def move_image(image: NDArray[np.uint8], drawn: Drawn, settings: Augment) -> torch.Tensor:
    """Resize, jitter, crop, mirror and normalise an image: float32 [3, crop, crop].

    Where the crop reaches beyond the image it is 0 (the mean, as padding comes after
    normalisation).

    Args:
        image: uint8 [H, W, 3] RGB.
        drawn: from ``draw`` with its height and width.
        settings: as given to ``draw``.
    """
    part = _jittered_part(image, drawn, settings)
    if drawn.mirrored:
        part = part[:, ::-1]
    scale, shift = _scale_and_shift(settings.mean, settings.std, drawn.gain)
    canvas = np.zeros((3, drawn.crop, drawn.crop), dtype=np.float32)
    inside = canvas[:, drawn.rows.on_canvas, drawn.columns.on_canvas]
    for channel in range(3):
        np.multiply(part[..., channel], scale[channel], out=inside[channel])
        inside[channel] -= shift[channel]
    return torch.from_numpy(canvas)


def move_labels(labels: NDArray[np.uint16], drawn: Drawn) -> torch.Tensor:
    """A label map moved along with its image (nearest): int32 [crop, crop], 0 in the padding.

    Only the rows and columns that the crop shows are looked up.

    Args:
        labels: [H, W], as the image.
        drawn: from ``draw`` with their height and width.
    """
    columns = np.arange(drawn.columns.in_image.start, drawn.columns.in_image.stop)
    if drawn.mirrored:
        columns = drawn.width - 1 - columns
    rows = np.arange(drawn.rows.in_image.start, drawn.rows.in_image.stop)
    part = labels.take(_nearest(rows, labels.shape[0], drawn.height), 0)
    ids = np.zeros((drawn.crop, drawn.crop), dtype=np.int32)
    ids[drawn.rows.on_canvas, drawn.columns.on_canvas] = part.take(
        _nearest(columns, labels.shape[1], drawn.width), 1
    )
    return torch.from_numpy(ids)


def normalise(
    image: NDArray[np.uint8],
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
    gain: float = 1.0,
) -> NDArray[np.float32]:
    """``(gain * image / 255 - mean) / std`` by channel: float32 [H, W, 3] of uint8 [H, W, 3]."""
    scale, shift = _scale_and_shift(mean, std, gain)
    return image.astype(np.float32) * scale - shift


def long_side_size(height: int, width: int, target: int) -> tuple[int, int]:
    """(H, W) of an image scaled so that its long side is ``target``; the short one is rounded."""
    if width < height:
        return target, max(1, round(width * target / height))
    return max(1, round(height * target / width)), target


def _factor(low: float, high: float, step: float, draw: float) -> float:
    """A factor of low..high for a draw in 0..1: any of them, or one of those ``step`` apart."""
    if step == 0:
        return low + draw * (high - low)
    return min(high, low + step * int(draw * (round((high - low) / step) + 1)))


def _nearest(places: NDArray[np.int64], before: int, after: int) -> NDArray[np.int64]:
    """Which of ``before`` pixels lie nearest to ``places`` along an axis resized to ``after``."""
    return ((places + 0.5) * before / after).astype(np.int64)


def _scale_and_shift(
    mean: tuple[float, float, float], std: tuple[float, float, float], gain: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    scale = (gain / 255 / np.asarray(std)).astype(np.float32)
    return scale, (np.asarray(mean) / np.asarray(std)).astype(np.float32)


def _placement(side: int, crop: int, draw: float) -> Placement:
    kept = min(side, crop)
    start = int(draw * (abs(side - crop) + 1))
    if side > crop:
        return Placement(slice(start, start + kept), slice(0, kept))
    return Placement(slice(0, kept), slice(start, start + kept))


def _jittered_part(image: NDArray[np.uint8], drawn: Drawn, settings: Augment) -> NDArray[np.uint8]:
    """The part that the crop shows, jittered, not mirrored yet: uint8 [rows, columns, 3]."""
    rows, columns = drawn.rows.in_image, drawn.columns.in_image
    if drawn.mirrored:
        columns = slice(drawn.width - columns.stop, drawn.width - columns.start)
    resized = image.shape[:2] != (drawn.height, drawn.width)
    if not resized and not any(settings.jitter):
        return image[rows, columns]
    picture = Image.fromarray(image)
    if resized:
        picture = picture.resize((drawn.width, drawn.height), Image.Resampling.BICUBIC)
    box = (columns.start, rows.start, columns.stop, rows.stop)
    steps = [which for which in drawn.order if settings.jitter[which]]
    # Contrast takes the mean of the whole image; what follows it acts on each pixel alone, and
    # needs to be done only where the crop will show it.
    whole = steps.index(CONTRAST) + 1 if CONTRAST in steps else 0
    for which in steps[:whole]:
        picture = _adjustments()[which](picture, drawn.factors[which])
    picture = picture.crop(box)
    for which in steps[whole:]:
        picture = _adjustments()[which](picture, drawn.factors[which])
    return np.asarray(picture)
