"""Draws what is in an embedded image: objects, distractors, occluder and background.

A scene is a plain description; `render` turns it into pixels. Every draw comes from one
`numpy.random.RandomState`, whose stream numpy keeps frozen across releases.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np

from camsweep.shards.embedded.kinds import BODIES, CLASS_COUNT, HEADS, context, partner

SIZE = 96  # pixels a side

OBJECT_COUNTS = (0.5, 0.38, 0.12)  # probability of 1, 2, 3 objects
BODY_AGREES = 0.9  # how often a body shows its own class rather than its partner's
CONTEXT_AGREES = 0.6  # how often the background is the one its first object prefers
DISTRACTOR_RATE = 0.15  # headless bodies an image
BLOB_RATE = 1.0  # grey blobs an image
OCCLUDER_RATE = 0.1
BACKGROUNDS = 3


@dataclass(frozen=True)
class Body:
    """A superellipse: centre, half axes, period and phases in pixels; angle in radians."""

    kind: int
    x: float
    y: float
    angle: float
    half_width: float
    half_length: float
    exponent: float
    period: float
    phase: tuple[float, float]
    hue: float
    value: float


@dataclass(frozen=True)
class Head:
    """A small saturated shape of one kind; centre and radius in pixels, angle in radians."""

    kind: int
    x: float
    y: float
    radius: float
    angle: float
    hue: float
    value: float


@dataclass(frozen=True)
class Thing:
    """A body with its head; `label` is the class index (>= 1), or 0 for a headless distractor."""

    label: int
    body: Body
    head: Head | None


@dataclass(frozen=True)
class Blob:
    """A grey ellipse: centre and half axes in pixels, angle in radians, grey level 0..1."""

    x: float
    y: float
    a: float
    b: float
    angle: float
    grey: float


@dataclass(frozen=True)
class Backdrop:
    """A crop of a bundled texture: which one, corner and pixel step in it, and its tint."""

    texture: int
    row: int
    column: int
    step: int
    flip: bool
    tint: tuple[float, float, float]
    contrast: float


@dataclass(frozen=True)
class Scene:
    """All that `render` needs; things are listed back to front."""

    backdrop: Backdrop
    blobs: tuple[Blob, ...]
    things: tuple[Thing, ...]
    occluder: Blob | None
    gain: tuple[float, float, float]
    noise: float
    noise_seed: int


def scene_rng(seed: int, stream: str, index: int) -> np.random.RandomState:
    """The generator of one image: a pure function of data seed, stream (split) name and index."""
    words = np.random.SeedSequence([seed, zlib.crc32(stream.encode()), index])
    return np.random.RandomState(np.random.MT19937(words))


def draw_scene(rng: np.random.RandomState) -> Scene:
    """Draw a scene of the segmentation data set.

    Args:
        rng: Generator of this image, see `scene_rng`.

    Returns:
        A scene with one to three objects of the six classes (a class may occur twice).
    """
    count = 1 + int(rng.choice(len(OBJECT_COUNTS), p=OBJECT_COUNTS))
    kinds = [int(rng.randint(CLASS_COUNT)) for _ in range(count)]
    preferred = context(kinds[0])
    others = [texture for texture in range(BACKGROUNDS) if texture != preferred]
    texture = preferred if rng.rand() < CONTEXT_AGREES else others[rng.randint(len(others))]
    backdrop = _draw_backdrop(rng, texture)
    things = [
        Thing(0, _draw_loose_body(rng, int(rng.randint(len(BODIES)))), None)
        for _ in range(rng.poisson(DISTRACTOR_RATE))
    ]
    placed: list[Thing] = []
    for kind in kinds:
        body_kind = kind if rng.rand() < BODY_AGREES else partner(kind)
        placed.append(_place(rng, kind + 1, kind, body_kind, placed))
    return _finish(rng, backdrop, (*things, *placed))


def draw_single(rng: np.random.RandomState, head: int, body: int) -> Scene:
    """Draw a scene with one object whose head and body are given, for pretraining.

    Args:
        rng: Generator of this image.
        head: Head kind, or `kinds.NO_HEAD` for a headless body.
        body: Body kind, independent of the head.

    Returns:
        A scene on a background that tells nothing about either.
    """
    backdrop = _draw_backdrop(rng, int(rng.randint(BACKGROUNDS)))
    if head >= CLASS_COUNT:
        thing = Thing(0, _draw_loose_body(rng, body), None)
    else:
        thing = _place(rng, head + 1, head, body, [])
    return _finish(rng, backdrop, (thing,))


def body_offset(body: Body, x: float, y: float) -> float:
    """Superellipse value of a point: below 1 inside the body, above 1 outside."""
    cos, sin = math.cos(body.angle), math.sin(body.angle)
    along = abs((x - body.x) * cos + (y - body.y) * sin) / body.half_length
    across = abs(-(x - body.x) * sin + (y - body.y) * cos) / body.half_width
    return float((along**body.exponent + across**body.exponent) ** (1 / body.exponent))


def _finish(rng: np.random.RandomState, backdrop: Backdrop, things: tuple[Thing, ...]) -> Scene:
    blobs = tuple(_draw_blob(rng, 4.0, 11.0) for _ in range(rng.poisson(BLOB_RATE)))
    occluder = _draw_occluder(rng) if rng.rand() < OCCLUDER_RATE else None
    gain = rng.uniform(0.85, 1.15) * rng.uniform(0.93, 1.07, 3)
    return Scene(
        backdrop=backdrop,
        blobs=blobs,
        things=things,
        occluder=occluder,
        gain=(float(gain[0]), float(gain[1]), float(gain[2])),
        noise=float(rng.uniform(0.015, 0.045)),
        noise_seed=int(rng.randint(2**31 - 1)),
    )


def _draw_backdrop(rng: np.random.RandomState, texture: int) -> Backdrop:
    step = int(rng.randint(1, 4))
    room = 512 - SIZE * step
    tint = rng.uniform(0.82, 1.18, 3)
    return Backdrop(
        texture=texture,
        row=int(rng.randint(room + 1)),
        column=int(rng.randint(room + 1)),
        step=step,
        flip=bool(rng.rand() < 0.5),
        tint=(float(tint[0]), float(tint[1]), float(tint[2])),
        contrast=float(rng.uniform(0.6, 1.1)),
    )


def _draw_body(rng: np.random.RandomState, kind: int, scale: float) -> Body:
    """A body at the origin; `_place` and `_draw_loose_body` move it."""
    look = BODIES[kind]
    half_width = float(rng.uniform(15, 25) * 0.62 * scale)
    return Body(
        kind=kind,
        x=0.0,
        y=0.0,
        angle=float(rng.uniform(0, 2 * math.pi)),
        half_width=half_width,
        half_length=float(half_width * rng.uniform(1.7, 2.6)),
        exponent=float(rng.uniform(2.2, 3.5)),
        period=float(look.period * rng.uniform(0.92, 1.08)),
        phase=(float(rng.uniform(0, 2 * math.pi)), float(rng.uniform(0, 2 * math.pi))),
        hue=float((look.hue + rng.normal(0, 0.015)) % 1.0),
        value=float(rng.uniform(0.6, 0.85)),
    )


def _draw_loose_body(rng: np.random.RandomState, kind: int) -> Body:
    body = _draw_body(rng, kind, float(rng.uniform(0.85, 1.2)))
    x, y = rng.uniform(0.15 * SIZE, 0.85 * SIZE, 2)
    return Body(**{**vars(body), "x": float(x), "y": float(y)})


def _place(
    rng: np.random.RandomState, label: int, head_kind: int, body_kind: int, before: list[Thing]
) -> Thing:
    """Place an object: its head inside the image, and covering no head that is there already."""
    thing = _draw_thing(rng, label, head_kind, body_kind)
    for _ in range(20):
        if not any(_collide(thing, other) for other in before):
            break
        thing = _draw_thing(rng, label, head_kind, body_kind)
    return thing


def _draw_thing(rng: np.random.RandomState, label: int, head_kind: int, body_kind: int) -> Thing:
    body = _draw_body(rng, body_kind, float(rng.uniform(0.85, 1.2)))
    radius = float(body.half_width * rng.uniform(0.6, 0.75))
    reach = body.half_length + 0.35 * radius
    margin = radius + 1.0
    head_x, head_y = (float(v) for v in rng.uniform(margin, SIZE - 1 - margin, 2))
    angle = body.angle
    for _ in range(20):  # most of the body should be seen: its centre lies inside the image
        x, y = head_x - reach * math.cos(angle), head_y - reach * math.sin(angle)
        if 6 <= x <= SIZE - 6 and 6 <= y <= SIZE - 6:
            break
        angle = float(rng.uniform(0, 2 * math.pi))
    placed = Body(**{**vars(body), "x": x, "y": y, "angle": angle})
    head = Head(
        kind=head_kind,
        x=head_x,
        y=head_y,
        radius=radius,
        angle=float(angle + rng.normal(0, 0.3)),
        hue=float((HEADS[head_kind].hue + rng.normal(0, 0.02)) % 1.0),
        value=float(rng.uniform(0.65, 0.9)),
    )
    return Thing(label, placed, head)


def _collide(thing: Thing, other: Thing) -> bool:
    """Whether a thing would cover the head of one behind it, or the two heads touch."""
    if thing.head is None or other.head is None:
        return False
    apart = math.hypot(thing.head.x - other.head.x, thing.head.y - other.head.y)
    return (
        apart < thing.head.radius + other.head.radius
        or body_offset(thing.body, other.head.x, other.head.y) < 1.2
    )


def _draw_blob(rng: np.random.RandomState, smallest: float, largest: float) -> Blob:
    x, y = rng.uniform(0, SIZE, 2)
    a, b = rng.uniform(smallest, largest, 2)
    return Blob(
        float(x), float(y), float(a), float(b), float(rng.uniform(0, math.pi)),
        float(rng.uniform(0.25, 0.75)),
    )  # fmt: skip


def _draw_occluder(rng: np.random.RandomState) -> Blob:
    """A long grey bar across the image."""
    bar = _draw_blob(rng, 3.0, 6.0)
    return Blob(**{**vars(bar), "a": float(2 * SIZE)})
