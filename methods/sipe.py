"""SIPE: self-supervised image-specific prototype exploration (Chen et al., CVPR 2022).

The classification network of the baseline, trained with GSC and localized by IPE (methods.ipe,
methods.prototypes). The recipe is the released one, which is IRN's: ResNet-50 at output stride 16.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from camsweep.methods.base import Fraction, Method, setting
from camsweep.methods.cam import build, losses
from camsweep.methods.compose import ComposedConfig


class SipeConfig(ComposedConfig):
    """SIPE's settings; the defaults gave the published 58.6 as far as paper and code tell.

    Where both disagree: gradients are clipped to norm 1 (code only); the background map is not
    attenuated, but the background's structure similarity is halved (``IpeConfig``); the momentum is
    the weight decay's value (``optimise.make_optimiser``). All but GSC, IPE and the clipping is the
    baseline's recipe, ``cam`` with ``form: resnet50``.
    """

    method: Literal["sipe"] = setting("sipe", stage="train", help="file in camsweep/methods")
    ipe: bool = setting(True, stage="localize", help="make IS-CAMs at test time")
    gsc: bool = setting(True, stage="train", help="consistency of class maps and IS-CAMs")

    backbone: Literal["small", "resnet38", "resnet50", "resnet101"] = setting(
        "resnet50", stage="pretrain", help="feature network"
    )
    crop: int = setting(512, stage="train", help="side of the training crop, pixels", ge=16)
    resize_min: int = setting(320, stage="train", help="long side from, pixels", ge=0)
    resize_max: int = setting(640, stage="train", help="long side to, pixels; 0 = no resize", ge=0)
    jitter: tuple[Fraction, Fraction, Fraction, Annotated[float, Field(ge=0, le=0.5)]] = setting(
        (0.0, 0.0, 0.0, 0.0), stage="train", help="brightness, contrast, saturation, hue"
    )
    epochs: int = setting(
        5, stage="train", help="passes over the training split; 0 = the weights as given", ge=0
    )
    batch: int = setting(16, stage="train", help="images a step", ge=1)
    lr: float = setting(0.1, stage="train", help="first learning rate of pretrained weights", gt=0)
    momentum: float = setting(
        0.0001,
        stage="train",
        help="SGD momentum; papers say 0.9, the released optimiser uses the weight decay's value",
        ge=0,
        lt=1,
    )
    weight_decay: float = setting(0.0001, stage="train", help="L2 decay of weights", ge=0)
    bias_lr_factor: float = setting(1.0, stage="train", help="lr factor of biases", gt=0)
    bias_decay: bool = setting(True, stage="train", help="decay biases and norm parameters too")
    clip_norm: float = setting(1.0, stage="train", help="gradient norm limit; 0 = off", ge=0)
    normalise: Literal["max", "minmax"] = setting(
        "max", stage="localize", help="summed maps by their maximum, or min-max (SEAM, CPN)"
    )


METHOD = Method("sipe", "SIPE", SipeConfig, build, losses)
