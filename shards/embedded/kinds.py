"""The six classes of the embedded data set: what their heads and bodies look like.

Classes come in pairs that share a body texture family; only the head tells the two members of a
pair apart for certain. That makes the head the discriminative part a plain CAM fires on, and the
body the part a better localisation method has to add.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

HeadShape = Literal["disc", "square", "star", "diamond", "cross", "triangle"]
BodyTexture = Literal["lined", "checked", "banded"]


@dataclass(frozen=True)
class HeadKind:
    """Appearance of a head: outline and hue (a fraction of the colour circle)."""

    shape: HeadShape
    hue: float


@dataclass(frozen=True)
class BodyKind:
    """Appearance of a body.

    Attributes:
        texture: ``lined`` = stripes along the body, ``banded`` = across, ``checked`` = both.
        hue: Mean hue, a fraction of the colour circle.
        period: Mean period of the texture in pixels of the 96-pixel image.
    """

    texture: BodyTexture
    hue: float
    period: float


HEADS: tuple[HeadKind, ...] = (
    HeadKind("disc", 0.00),
    HeadKind("square", 0.50),
    HeadKind("star", 0.15),
    HeadKind("diamond", 0.67),
    HeadKind("cross", 0.33),
    HeadKind("triangle", 0.84),
)

BODIES: tuple[BodyKind, ...] = (
    BodyKind("lined", 0.045, 6.0),
    BodyKind("lined", 0.105, 7.6),
    BodyKind("checked", 0.545, 8.4),
    BodyKind("checked", 0.605, 10.4),
    BodyKind("banded", 0.385, 6.0),
    BodyKind("banded", 0.325, 7.6),
)

CLASS_COUNT = len(HEADS)
NO_HEAD = CLASS_COUNT  # the seventh head id of pretraining

CLASSES: tuple[str, ...] = (
    "background",
    *(f"{body.texture}-{head.shape}" for head, body in zip(HEADS, BODIES, strict=True)),
)

# The first seven colours of the VOC palette, so that masks look familiar.
COLOURS: tuple[tuple[int, int, int], ...] = (
    (0, 0, 0),
    (128, 0, 0),
    (0, 128, 0),
    (128, 128, 0),
    (0, 0, 128),
    (128, 0, 128),
    (0, 128, 128),
)


def partner(kind: int) -> int:
    """The other member of a kind's pair (0-based kinds; 0 and 1, 2 and 3, 4 and 5)."""
    return kind ^ 1


def context(kind: int) -> int:
    """Index of the background texture a class is seen on most often.

    The members of a pair prefer different textures, so context carries class evidence, as it does
    for boats on water.
    """
    return (kind // 2 + kind % 2) % 3
