"""Augmentation of one training image and its superpixels, as the released CPN code does it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms.v2 import functional

from camsweep.shards.normalisation import IMAGENET_MEAN, IMAGENET_STD

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Augment:
    """What is drawn for a training image. The defaults are the released CPN training's.

    Attributes:
        crop: side of the square crop, in pixels.
        resize: the long side is drawn from these two, both included; None = no resize.
        flip: mirror left to right with probability 1/2.
        jitter: reach of brightness, contrast and saturation (factor U[1-r, 1+r], at least 0) and
            of hue (shift U[-r, r] of a turn, r at most .5), in a drawn order; all 0 = none.
        gain: reach of one factor U[1-g, 1+g] on all values, not clipped; 0 = none.
        mean: subtracted from values in 0..1, by channel.
        std: divides what is left, by channel.
    """

    crop: int = 448
    resize: tuple[int, int] | None = (448, 768)
    flip: bool = True
    jitter: tuple[float, float, float, float] = (0.3, 0.3, 0.3, 0.1)
    gain: float = 0.0
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


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
    """Resize, flip, jitter, normalise and crop, in the released code's order.

    The same numbers are drawn under all settings, so switching one of them off leaves the others'
    draws as they were.

    Args:
        image: uint8 [H, W, 3] RGB.
        superpixels: labels 1..n, [H, W], moved along with the image (nearest); or None.
        settings: what to draw.
        rng: from ``sample_rng``.

    Returns:
        The image, float32 [3, crop, crop], normalised; where the crop reaches beyond it, 0 (the
        mean, as padding comes after normalisation). The labels, int64 [crop, crop], 0 in the
        padding; or None.
    """
    draws = rng.random(9)
    order = rng.permutation(4)
    height, width = image.shape[:2]
    if settings.resize not in (None, (0, 0)):
        target = _long_side(settings.resize, draws[0])
        height, width = long_side_size(height, width, target)
    if any(settings.jitter) or image.shape[:2] != (height, width):
        picture = Image.fromarray(image)
        if image.shape[:2] != (height, width):
            picture = picture.resize((width, height), Image.Resampling.BICUBIC)
        image = np.asarray(_jitter(picture, settings.jitter, draws[2:6], order))
    mirrored = settings.flip and draws[1] < 0.5
    rows = _placement(height, settings.crop, draws[7])
    columns = _placement(width, settings.crop, draws[8])
    part = _cut(image, rows, columns, mirrored)
    gain = 1 + settings.gain * (2 * draws[6] - 1)
    canvas = np.zeros((settings.crop, settings.crop, 3), dtype=np.float32)
    canvas[rows.on_canvas, columns.on_canvas] = normalise(part, settings.mean, settings.std, gain)
    tensor = torch.from_numpy(np.ascontiguousarray(canvas.transpose(2, 0, 1)))
    if superpixels is None:
        return tensor, None
    ids = np.zeros((settings.crop, settings.crop), dtype=np.int64)
    resized = resize_labels(superpixels, height, width)
    ids[rows.on_canvas, columns.on_canvas] = _cut(resized, rows, columns, mirrored)
    return tensor, torch.from_numpy(ids)


def normalise(
    image: NDArray[np.uint8],
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
    gain: float = 1.0,
) -> NDArray[np.float32]:
    """``(gain * image / 255 - mean) / std`` by channel: float32 [H, W, 3] of uint8 [H, W, 3]."""
    scale = (gain / 255 / np.asarray(std)).astype(np.float32)
    shift = (np.asarray(mean) / np.asarray(std)).astype(np.float32)
    return image.astype(np.float32) * scale - shift


def long_side_size(height: int, width: int, target: int) -> tuple[int, int]:
    """(H, W) of an image scaled so that its long side is ``target``; the short one is rounded."""
    if width < height:
        return target, max(1, round(width * target / height))
    return max(1, round(height * target / width)), target


def resize_labels(labels: NDArray[np.uint16], height: int, width: int) -> NDArray[np.uint16]:
    """Nearest-neighbour resize of a label map to [height, width], pixel centres aligned."""
    if labels.shape == (height, width):
        return labels
    rows = ((np.arange(height) + 0.5) * labels.shape[0] / height).astype(np.int64)
    columns = ((np.arange(width) + 0.5) * labels.shape[1] / width).astype(np.int64)
    return labels[rows[:, None], columns]


@dataclass(frozen=True)
class _Placement:
    """Along one axis: which part of the image is kept, and where in the crop it lies."""

    in_image: slice
    on_canvas: slice


def _placement(side: int, crop: int, draw: float) -> _Placement:
    kept = min(side, crop)
    start = int(draw * (abs(side - crop) + 1))
    if side > crop:
        return _Placement(slice(start, start + kept), slice(0, kept))
    return _Placement(slice(0, kept), slice(start, start + kept))


def _cut(array: NDArray, rows: _Placement, columns: _Placement, mirrored: bool) -> NDArray:
    if mirrored:
        array = array[:, ::-1]
    return array[rows.in_image, columns.in_image]


def _long_side(resize: tuple[int, int] | None, draw: float) -> int:
    assert resize is not None
    low, high = resize
    return low + int(draw * (high - low + 1))


def _jitter(
    picture: Image.Image,
    reach: tuple[float, float, float, float],
    draws: Floats,
    order: NDArray[np.int64],
) -> Image.Image:
    """Brightness, contrast, saturation and hue in the drawn order, as torchvision's ColorJitter."""
    adjust = (
        functional.adjust_brightness,
        functional.adjust_contrast,
        functional.adjust_saturation,
    )
    for which in order:
        if not reach[which]:
            continue
        spread = reach[which] * (2 * float(draws[which]) - 1)
        if which == 3:
            picture = functional.adjust_hue(picture, spread)
        else:
            picture = adjust[which](picture, max(0.0, 1 + spread))
    return picture
