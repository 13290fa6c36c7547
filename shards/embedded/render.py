"""Turns a scene into an image and its mask."""

from __future__ import annotations

import colorsys
import functools
import math

import numpy as np
import numpy.typing as npt

from camsweep.shards.embedded.kinds import BODIES, HEADS, BodyTexture, HeadShape
from camsweep.shards.embedded.scene import SIZE, Backdrop, Blob, Body, Head, Scene

Grid = npt.NDArray[np.float32]

IGNORE = 255
_ROWS, _COLUMNS = (
    grid.astype(np.float32) for grid in np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij")
)


def render(scene: Scene) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Render a scene.

    Args:
        scene: What is to be seen.

    Returns:
        Image uint8 [96, 96, 3] in RGB, and mask uint8 [96, 96] of class indices (0 background,
        1..6 classes, 255 on the one-pixel inner contour of every object, as VOC masks leave
        their contours out).
    """
    image = _backdrop(scene.backdrop)
    mask = np.zeros((SIZE, SIZE), np.uint8)
    for blob in scene.blobs:
        _paint_blob(image, blob)
    owner = np.zeros((SIZE, SIZE), np.uint8)  # which thing is in front, for the contours
    for number, thing in enumerate(scene.things, start=1):
        seen = _paint_body(image, thing.body)
        if thing.head is not None:
            seen = np.maximum(seen, _paint_head(image, thing.head))
        mask[seen > 0.5] = thing.label
        owner[seen > 0.5] = number
    if scene.occluder is not None:
        covered = _paint_blob(image, scene.occluder) > 0.5
        mask[covered] = 0
        owner[covered] = 0
    mask[(mask > 0) & _edge(owner)] = IGNORE
    noise = np.random.RandomState(scene.noise_seed).standard_normal((SIZE, SIZE, 3))
    image = image * np.asarray(scene.gain, np.float32) + scene.noise * noise.astype(np.float32)
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8), mask


def mask_labels(mask: npt.NDArray[np.uint8]) -> tuple[int, ...]:
    """Class indices (>= 1) that a mask uint8 [H, W] shows, in ascending order."""
    return tuple(int(label) for label in np.unique(mask) if label not in (0, IGNORE))


@functools.cache
def _textures() -> tuple[Grid, ...]:
    """The three background textures, float32 [512, 512] with zero mean and unit deviation.

    The files are part of the scikit-image wheel (CC0); nothing is downloaded.
    """
    from skimage import data

    found = []
    for picture in (data.grass(), data.gravel(), data.brick()):
        grey = picture.astype(np.float32) / 255
        found.append((grey - grey.mean()) / grey.std())
    return tuple(found)


_TINTS = np.asarray(  # mean colour of grass, gravel and brick backgrounds
    [[0.36, 0.46, 0.27], [0.50, 0.48, 0.45], [0.55, 0.40, 0.34]], np.float32
)


def _backdrop(backdrop: Backdrop) -> Grid:
    end = SIZE * backdrop.step
    crop = _textures()[backdrop.texture][
        backdrop.row : backdrop.row + end : backdrop.step,
        backdrop.column : backdrop.column + end : backdrop.step,
    ]
    if backdrop.flip:
        crop = crop[:, ::-1]
    colour = _TINTS[backdrop.texture] * np.asarray(backdrop.tint, np.float32)
    relief = 1 + 0.22 * backdrop.contrast * crop
    return np.ascontiguousarray(relief[..., None] * colour)


def _frame(x: float, y: float, angle: float) -> tuple[Grid, Grid]:
    """Pixel coordinates [96, 96] along and across an axis through (x, y)."""
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    dx, dy = _COLUMNS - np.float32(x), _ROWS - np.float32(y)
    return dx * cos + dy * sin, dy * cos - dx * sin


def _blend(image: Grid, colour: Grid, alpha: Grid) -> None:
    image += alpha[..., None] * (colour - image)


def _cover(distance: Grid) -> Grid:
    """Coverage 0..1 of a pixel whose centre lies `distance` pixels outside an outline."""
    return np.clip(np.float32(0.5) - distance, 0, 1)


def _paint_blob(image: Grid, blob: Blob) -> Grid:
    along, across = _frame(blob.x, blob.y, blob.angle)
    radius = np.sqrt((along / blob.a) ** 2 + (across / blob.b) ** 2)
    alpha = _cover((radius - 1) * np.float32(min(blob.a, blob.b)))
    _blend(image, np.full(3, blob.grey, np.float32), alpha)
    return alpha


def _paint_body(image: Grid, body: Body) -> Grid:
    along, across = _frame(body.x, body.y, body.angle)
    power = np.float32(body.exponent)
    radius = (
        np.abs(along / body.half_length) ** power + np.abs(across / body.half_width) ** power
    ) ** (1 / power)
    alpha = _cover((radius - 1) * np.float32(body.half_width))
    tone = _texture(BODIES[body.kind].texture, along, across, body)
    dark = np.asarray(colorsys.hsv_to_rgb(body.hue, 0.45, 0.55 * body.value), np.float32)
    light = np.asarray(colorsys.hsv_to_rgb(body.hue, 0.35, body.value), np.float32)
    _blend(image, dark + tone[..., None] * (light - dark), alpha)
    return alpha


def _texture(texture: BodyTexture, along: Grid, across: Grid, body: Body) -> Grid:
    """Tone 0..1 of a body's texture: softened square waves."""
    rate = np.float32(2 * math.pi / body.period)
    if texture == "lined":
        wave = np.sin(across * rate + np.float32(body.phase[0]))
    elif texture == "banded":
        wave = np.sin(along * rate + np.float32(body.phase[0]))
    else:
        wave = np.sin(across * rate + np.float32(body.phase[0])) * np.sin(
            along * rate + np.float32(body.phase[1])
        )
        wave *= np.float32(1.5)
    return np.clip(np.float32(0.5) + wave, 0, 1)


def _paint_head(image: Grid, head: Head) -> Grid:
    along, across = _frame(head.x, head.y, head.angle)
    alpha = _cover(_outline(HEADS[head.kind].shape, along, across, np.float32(head.radius)))
    colour = np.asarray(colorsys.hsv_to_rgb(head.hue, 0.75, head.value), np.float32)
    _blend(image, colour, alpha)
    return alpha


def _outline(shape: HeadShape, u: Grid, v: Grid, radius: np.float32) -> Grid:
    """Distance (pixels, negative inside, close to Euclidean) to a head's outline.

    All shapes fit into the circle of `radius`, so a head whose circle is inside the image is
    inside the image.
    """
    if shape == "disc":
        return np.hypot(u, v) - radius * np.float32(0.92)
    if shape == "square":
        return np.maximum(np.abs(u), np.abs(v)) - radius * np.float32(0.7)
    if shape == "diamond":
        return (np.abs(u) * np.float32(1.3) + np.abs(v) - radius) * np.float32(0.6)
    if shape == "cross":
        wide, narrow = radius * np.float32(0.92), radius * np.float32(0.36)
        a, b = np.abs(u), np.abs(v)
        return np.minimum(np.maximum(a - wide, b - narrow), np.maximum(b - wide, a - narrow))
    if shape == "triangle":
        half = radius * np.float32(0.5)
        slope = np.float32(math.sqrt(3) / 2)
        return np.maximum(-u - half, u / 2 + np.abs(v) * slope - half)
    rays = np.float32(0.72) + np.float32(0.28) * np.cos(np.arctan2(v, u) * 5)
    return (np.hypot(u, v) - radius * rays) * np.float32(0.7)


def _edge(owner: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Pixels [96, 96] with a 4-neighbour that belongs to something else."""
    edge = np.zeros(owner.shape, bool)
    down = owner[1:] != owner[:-1]
    right = owner[:, 1:] != owner[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge
