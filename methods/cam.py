"""Baseline: class activation maps of an image classifier (Zhou et al. 2016).

Two forms are in use. ``resnet38`` is the baseline of SEAM and CPN (psa's network under SEAM's
recipe, 47.84 in CPN's table 1); ``resnet50`` is IRN's, the baseline of SIPE (50.1 there).
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator
from torch import Tensor, nn

from camsweep.methods.backbones import build_backbone
from camsweep.methods.base import Batch, Method, Output
from camsweep.methods.compose import ComposedConfig
from camsweep.methods.config import setting
from camsweep.methods.losses import classification
from camsweep.methods.recipes import IrnRecipe, recipe_values


class CamConfig(ComposedConfig):
    """The baseline's settings: those of its form, where nothing else is said."""

    method: Literal["cam"] = setting("cam", stage="train", help="file in camsweep/methods")
    batch: int = setting(8, stage="train", help="images a step", ge=1)
    form: Literal["resnet38", "resnet50"] = setting(
        "resnet38", stage="train", help="whose recipe fills what was not set: SEAM's or IRN's"
    )

    @model_validator(mode="before")
    @classmethod
    def _recipe_of_the_form(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("form") == "resnet50":
            return {**recipe_values(IrnRecipe), **values}
        return values

    def inactive(self) -> set[str]:
        """``form`` only fills in other fields, so it is no part of what ids are made of."""
        return super().inactive() | {"form"}


class CamNet(nn.Module):
    """A backbone and a bias-free 1 x 1 classifier over the foreground classes."""

    def __init__(self, backbone: str, classes: int) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.classifier = nn.Conv2d(self.backbone.channels, classes - 1, 1, bias=False)
        nn.init.xavier_uniform_(self.classifier.weight)

    def forward(self, images: Tensor) -> Output:
        """Class scores by place [N, C-1, h, w] of images [N, 3, H, W]."""
        features = self.backbone(images)
        return Output(self.classifier(features.last).float(), features)


def build(config: CamConfig, classes: int) -> nn.Module:
    """The network for ``classes`` classes, background included."""
    return CamNet(config.backbone, classes)


def losses(net: nn.Module, batch: Batch, config: CamConfig, progress: float) -> dict[str, Tensor]:
    """Multi-label soft margin loss on globally averaged scores."""
    value = classification(batch.output(net).scores, batch.labels)
    return {"loss": value, "cls": value}


METHOD = Method("cam", "CAM", CamConfig, build, losses)
