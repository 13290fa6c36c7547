"""What the released codes set for the segmentation networks, by name: methods.md section 8."""

from __future__ import annotations

from dataclasses import dataclass

#: Optimiser steps of both.
STEPS = 20_000


@dataclass(frozen=True)
class Recipe:
    """A network's training and test.

    Attributes:
        lr: first rate of the backbone; what is new learns ten times as fast, biases twice as fast
            again and without decay.
        crop: side of the training crops, pixels.
        rescale_step: distance of the training images' scales; 0 = any of the range.
        jitter: brightness, contrast, saturation, hue.
        scales: of the test; the mean of their logits counts.
        flip: of the test, add the mirrored image.
        momentum: of SGD, true momentum here.
        weight_decay: L2 decay of weights.
        power: of the poly schedule.
    """

    lr: float
    crop: int
    rescale_step: float
    jitter: tuple[float, float, float, float]
    scales: tuple[float, ...]
    flip: bool
    momentum: float = 0.9
    weight_decay: float = 5e-4
    power: float = 0.9


#: Released: up to 10 is added to hue (of 180), saturation and value (of 255). Ours are factors of
#: saturation and brightness, by which values in the middle of their range move as far.
HSV_10 = (10 / 127.5, 0.0, 10 / 127.5, 10 / 180)

RECIPES = {
    "deeplab_v1": Recipe(1e-3, 448, 0, HSV_10, (0.5, 0.75, 1.0, 1.25, 1.5, 1.75), True),
    "deeplab_v2": Recipe(2.5e-4, 321, 0.25, (0.0, 0.0, 0.0, 0.0), (1.0,), False),
}
