"""SIPE: self-supervised image-specific prototype exploration (Chen et al., CVPR 2022).

The classification network of the baseline, trained with GSC and localized by IPE (methods.ipe,
methods.prototypes). The recipe is the released one, which is IRN's: ResNet-50 at output stride 16.
"""

from __future__ import annotations

from typing import Literal

from camsweep.methods.base import Method
from camsweep.methods.cam import build, losses
from camsweep.methods.config import setting
from camsweep.methods.recipes import IrnRecipe


class SipeConfig(IrnRecipe):
    """SIPE's settings; the defaults gave the published 58.6 as far as paper and code tell.

    Where both disagree: gradients are clipped to norm 1 (code only); the background map is not
    attenuated, but the background's structure similarity is halved (``IpeConfig``); the momentum is
    the weight decay's value (``optimise.make_optimiser``). All but GSC, IPE and the clipping is the
    baseline's recipe, ``cam`` with ``form: resnet50``.
    """

    method: Literal["sipe"] = setting("sipe", stage="train", help="file in camsweep/methods")
    ipe: bool = setting(True, stage="localize", help="make IS-CAMs at test time")
    gsc: bool = setting(True, stage="train", help="consistency of class maps and IS-CAMs")

    clip_norm: float = setting(1.0, stage="train", help="gradient norm limit; 0 = off", ge=0)


METHOD = Method("sipe", "SIPE", SipeConfig, build, losses)
