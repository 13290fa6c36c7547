"""What the released codes set for the affinity networks, by name: methods.md, 4, 7.1 and 7.2.

All of them train with the optimiser of methods.md 0.1, whose momentum is the weight decay's value;
the papers say 0.9. Rates fall by the power 0.9 of what is left of the steps.
"""

from __future__ import annotations

from dataclasses import dataclass

from camsweep.methods.refine.densecrf import SETTINGS, Crf


@dataclass(frozen=True)
class Affinity:
    """AffinityNet's recipe.

    Attributes:
        low_alpha: background's power for labels of sure classes.
        high_alpha: background's power for labels of sure background.
        lr: first rate of the backbone; the head learns ten times as fast.
        alpha: background's power in the random walk.
        beta: power of the affinities.
        doublings: the walk takes 2^doublings steps, ``logt``.
        final_crf: an optional CRF on the scores after the walk; None where there is none.
        crf: of the labels.
        crop: side of the training crops, pixels.
        batch: images a step.
        epochs: passes over the training images.
        weight_decay: L2 decay of weights.
        momentum: of SGD, as in effect in the released code.
        jitter: brightness, contrast, saturation, hue.
        radius: of the pairs, in cells.
    """

    low_alpha: float
    high_alpha: float
    lr: float
    alpha: float
    beta: float
    doublings: int
    final_crf: Crf | None = None
    crf: Crf = SETTINGS["seam"]
    crop: int = 448
    batch: int = 8
    epochs: int = 8
    weight_decay: float = 5e-4
    momentum: float = 5e-4
    jitter: tuple[float, float, float, float] = (0.3, 0.3, 0.3, 0.1)
    radius: int = 5


@dataclass(frozen=True)
class Irn:
    """IRN's recipe.

    Attributes:
        sure_class: constant background for labels of sure classes; None = the maps' own background.
        sure_background: constant background for labels of sure background; None = the maps' own,
            times ``own_factor``.
        background: constant background of the masks; None = the maps' own, which walks with them.
        power: of the maps before the walk, their own background's too.
        own_factor: see ``sure_background``.
        beta: power of the affinities.
        doublings: the walk takes 2^doublings steps, ``exp_times``.
        radius: of the neighbours in the walk, in cells.
        crf: of the labels.
        train_radius: of the pairs in training, in cells.
        crop: side of the training crops, and what images are padded to, pixels.
        rescale: range of the training images' scale.
        batch: images a step.
        epochs: passes over the training images.
        lr: first rate of the edge head.
        displacement_lr: that of the displacement head.
        weight_decay: L2 decay, of both.
        momentum: of SGD, as in effect in the released code.
    """

    sure_class: float | None
    sure_background: float | None
    background: float | None
    power: float = 1.0
    own_factor: float = 0.5
    beta: float = 10
    doublings: int = 8
    radius: int = 5
    crf: Crf = SETTINGS["label"]
    train_radius: int = 10
    crop: int = 512
    rescale: tuple[float, float] = (0.5, 1.5)
    batch: int = 32
    epochs: int = 3
    lr: float = 0.1
    displacement_lr: float = 1.0
    weight_decay: float = 1e-4
    momentum: float = 1e-4


AFFINITY = {
    "psa": Affinity(4, 32, 0.1, 16, 8, 8),  # 61.0 mIoU on train, as released
    "seam": Affinity(4, 24, 0.01, 6, 8, 6, final_crf=SETTINGS["shown"]),
}
IRN = {
    "irn": Irn(0.30, 0.05, 0.25),
    "sipe": Irn(None, None, None, power=1.5),
}
