"""What every trial's config is made of: fields that know their stage, and the shared settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

Stage = Literal["pretrain", "train", "localize", "affinity", "refine", "segment", "evaluate"]
Fraction = Annotated[float, Field(ge=0, le=1)]

_SWITCH = TypeAdapter(bool)

#: Backbones with a bias that learns: that of batch norm, frozen in the others.
TRAINED_BIASES = ("resnet50", "resnet101")


def setting(default: Any, *, stage: Stage, help: str, **constraints: Any) -> Any:
    """A config field that knows which stage of a trial it can change.

    Args:
        default: the value where a sweep says nothing.
        stage: the first stage whose outcome depends on the field.
        help: one line for ``camsweep sweeps`` and the docs, with the unit.
        **constraints: pydantic constraints (``ge``, ``lt``, ...).

    Returns:
        A pydantic field.
    """
    return Field(default, description=help, json_schema_extra={"stage": stage}, **constraints)


def switched(model: type[BaseModel], values: Mapping[str, Any], name: str) -> bool:
    """Whether a switch is on in values that are not checked yet; its default where it is not named.

    ``1`` and ``"true"`` are on, as they will be after the check; what is no switch at all counts as
    on and is refused there.
    """
    value = values.get(name, model.model_fields[name].default)
    try:
        return _SWITCH.validate_python(value)
    except ValidationError:
        return True


@dataclass(frozen=True)
class SuperpixelSettings:
    """What the training needs from ``camsweep.shards.superpixels``."""

    s_n: int
    compactness: float
    scaling: str


class TrialConfig(BaseModel):
    """The settings that all methods share; one flat, frozen model a trial.

    The defaults are the training and test settings of CPN's released code: lr 0.01, crop 448, long
    side 448..768, batch 4, 8 epochs, tests at 4 scales. SEAM and its baseline differ by their batch
    of 8; SIPE and the ResNet-50 baseline have a recipe of their own (``methods.recipes``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: str = setting(..., stage="train", help="file in camsweep/methods")
    seed: int = setting(0, stage="train", help="seed of every draw of the training", ge=0)

    backbone: Literal["small", "resnet38", "resnet50", "resnet101"] = setting(
        "resnet38", stage="pretrain", help="feature network"
    )
    pretrain: Literal["none", "embedded", "weights"] = setting(
        "weights", stage="pretrain", help="where the backbone's first weights come from"
    )
    weights_sha256: str | None = setting(
        None, stage="pretrain", help="SHA-256 of the weight file (pretrain: weights)"
    )
    pretrain_images: int = setting(2000, stage="pretrain", help="images of the pretraining", ge=1)
    pretrain_epochs: int = setting(12, stage="pretrain", help="epochs of the pretraining", ge=1)
    pretrain_seed: int = setting(0, stage="pretrain", help="seed of the pretraining", ge=0)

    train_split: str = setting("train_aug", stage="train", help="split that is trained on")
    crop: int = setting(448, stage="train", help="side of the training crop, pixels", ge=16)
    resize_min: int = setting(448, stage="train", help="long side from, pixels", ge=0)
    resize_max: int = setting(768, stage="train", help="long side to, pixels; 0 = no resize", ge=0)
    flip: bool = setting(True, stage="train", help="mirror half of the training images")
    jitter: tuple[Fraction, Fraction, Fraction, Annotated[float, Field(ge=0, le=0.5)]] = setting(
        (0.3, 0.3, 0.3, 0.1), stage="train", help="brightness, contrast, saturation, hue"
    )
    gain: float = setting(0.0, stage="train", help="colour gain drawn from 1 +- gain", ge=0, lt=1)
    epochs: int = setting(
        8, stage="train", help="passes over the training split; 0 = the weights as given", ge=0
    )
    batch: int = setting(4, stage="train", help="images a step", ge=1)
    lr: float = setting(0.01, stage="train", help="first learning rate of pretrained weights", gt=0)
    lr_new_factor: float = setting(10.0, stage="train", help="lr factor of new layers", gt=0)
    momentum: float = setting(
        0.0005,
        stage="train",
        help="SGD momentum; papers say 0.9, the released optimiser uses the weight decay's value",
        ge=0,
        lt=1,
    )
    weight_decay: float = setting(0.0005, stage="train", help="L2 decay of weights", ge=0)
    bias_lr_factor: float = setting(2.0, stage="train", help="lr factor of biases", gt=0)
    bias_decay: bool = setting(False, stage="train", help="decay biases too")
    poly_power: float = setting(0.9, stage="train", help="exponent of the lr schedule", ge=0)
    clip_norm: float = setting(0.0, stage="train", help="gradient norm limit; 0 = off", ge=0)
    precision: Literal["fp32", "bf16"] = setting("fp32", stage="train", help="training precision")

    eval_split: str = setting("train", stage="localize", help="split whose maps are evaluated")
    scales: tuple[Annotated[float, Field(gt=0, le=4)], ...] = setting(
        (0.5, 1.0, 1.5, 2.0), stage="localize", help="test scales, summed", min_length=1
    )
    flip_test: bool = setting(True, stage="localize", help="add the mirrored image's maps")
    max_side: int = setting(0, stage="localize", help="shrink test images to; 0 = never", ge=0)
    normalise: Literal["max", "minmax"] = setting(
        "minmax", stage="localize", help="summed maps by their maximum, or min-max (SEAM, CPN)"
    )
    upsample: Literal["aligned", "irn"] = setting(
        "aligned",
        stage="localize",
        help="maps to the picture's size: SEAM's and CPN's way, or IRN's",
    )

    map: Literal["final", "raw", "refined", "is_cam"] = setting(
        "final", stage="evaluate", help="map of the headline metric; final = the last one made"
    )
    thresholds: tuple[float, float, float] = setting(
        (0.0, 0.99, 0.01), stage="evaluate", help="background thresholds: start, stop, step"
    )

    @model_validator(mode="after")
    def _shared_checks(self) -> TrialConfig:
        if self.resize_max and not 1 <= self.resize_min <= self.resize_max:
            raise ValueError("resize_min must be 1..resize_max; resize_max: 0 for no resize")
        if self.pretrain == "embedded" and self.backbone != "small":
            raise ValueError("pretrain: embedded trains the small network; set backbone: small")
        start, stop, step = self.thresholds
        if not (0 <= start <= stop <= 2 and step > 0):
            raise ValueError("thresholds must be start <= stop within 0..2 and a step above 0")
        if len(set(self.scales)) != len(self.scales):
            raise ValueError("scales names a scale twice")
        return self

    @property
    def refines(self) -> bool:
        """Whether the method gives a refined map beside the raw one."""
        return False

    def map_names(self) -> tuple[str, ...]:
        """The maps that are made at test time, the final one last."""
        return ("raw", "refined") if self.refines else ("raw",)

    def backed_maps(self) -> tuple[str, ...]:
        """Those of the maps that come with a background of their own."""
        return ()

    @property
    def headline(self) -> str:
        """The map of the headline metric: ``map`` where the method makes it, else the final one."""
        names = self.map_names()
        return self.map if self.map in names else names[-1]

    @property
    def cycles(self) -> int:
        """How often the poly schedule starts anew, at equal distances."""
        return 1

    def superpixels(self) -> SuperpixelSettings | None:
        """The superpixels that the training needs, or None."""
        return None

    @property
    def needs_regions(self) -> bool:
        """Whether training steps need the superpixels' ids."""
        return self.superpixels() is not None

    @property
    def lr_factors(self) -> tuple[tuple[str, float], ...]:
        """Rate factors by the beginning of a parameter's name (``methods.task``)."""
        return ()

    @property
    def rescale(self) -> None:
        """Methods resize by the long side alone (``methods.task``)."""
        return

    def inactive(self) -> set[str]:
        """Names of the fields that cannot change the outcome under the other values."""
        names: set[str] = set()
        if self.pretrain != "embedded":
            names |= {"pretrain_images", "pretrain_epochs", "pretrain_seed"}
        if self.pretrain != "weights":
            names.add("weights_sha256")
        if self.resize_max == 0:
            names.add("resize_min")
        if self.backbone not in TRAINED_BIASES:
            names |= {"bias_lr_factor", "bias_decay"}
        if len(self.map_names()) == 1:
            names.add("map")
        return names

    def active(self) -> dict[str, Any]:
        """JSON-ready values of all fields that matter: what ids are made of."""
        found = self.model_dump(mode="json", exclude=self.inactive())
        if "map" in found:
            found["map"] = self.headline  # `final` is one of the others
        return found

    @classmethod
    def stages(cls) -> dict[str, Stage]:
        """The stage of every field."""
        found: dict[str, Stage] = {}
        for name, declared in cls.model_fields.items():
            extra = declared.json_schema_extra
            if not isinstance(extra, dict) or "stage" not in extra:
                raise TypeError(f"{cls.__name__}.{name} was not declared with setting(...)")
            found[name] = extra["stage"]  # type: ignore[assignment]
        return found

    def chain(self) -> tuple[Stage, ...]:
        """The stages that this trial has, in order; each sees what those before it made."""
        return ("pretrain", "train", "localize", "evaluate")

    def stages_now(self) -> dict[str, Stage]:
        """The stage of every field under this config's other values."""
        return self.stages()
