"""Published recipes that several methods share, as configs to derive from."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from camsweep.methods.compose import ComposedConfig
from camsweep.methods.config import Fraction, setting


class IrnRecipe(ComposedConfig):
    """IRN's classifier on ResNet-50, as released; SIPE adds the clipping of gradients."""

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
    bias_decay: bool = setting(True, stage="train", help="decay biases too")
    normalise: Literal["max", "minmax"] = setting(
        "max", stage="localize", help="summed maps by their maximum, or min-max (SEAM, CPN)"
    )
    upsample: Literal["aligned", "irn"] = setting(
        "irn", stage="localize", help="maps to the picture's size: SEAM's and CPN's way, or IRN's"
    )


def recipe_values(recipe: type[BaseModel]) -> dict[str, Any]:
    """What a recipe sets, by field: the defaults of the fields that it declares itself."""
    return {name: recipe.model_fields[name].default for name in recipe.__annotations__}
