"""Settings of the segmentation network that is trained on pseudo masks, and of its test."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from camsweep.methods.config import Stage, setting
from camsweep.methods.refine.config import CrfName, NetworkName, RefineConfig

FIELDS = frozenset(
    {
        "segment",
        "segment_backbone",
        "segment_weights_sha256",
        "segment_steps",
        "segment_batch",
        "segment_crop",
        "segment_lr",
        "segment_rescale",
        "segment_jitter",
        "segment_split",
        "segment_scales",
        "segment_flip_test",
        "segment_crf",
    }
)


class SegmentConfig(RefineConfig):
    """Settings of the segmentation network; what is left out is as published for it."""

    segment: Literal["none", "deeplab_v1", "deeplab_v2"] = setting(
        "none", stage="segment", help="segmentation network trained on the pseudo masks"
    )
    segment_backbone: NetworkName = setting(
        "auto", stage="segment", help="auto: resnet38 (deeplab_v1), resnet101 (deeplab_v2), small"
    )
    segment_weights_sha256: str | None = setting(
        None, stage="segment", help="SHA-256 of that network's weight file"
    )
    segment_steps: int = setting(
        20_000, stage="segment", help="optimiser steps, rounded to whole epochs", ge=1
    )
    segment_batch: int = setting(10, stage="segment", help="images a step", ge=1)
    segment_crop: int | None = setting(
        None, stage="segment", help="side of the crop, pixels", ge=16
    )
    segment_lr: float | None = setting(None, stage="segment", help="first learning rate", gt=0)
    segment_rescale: tuple[float, float] = setting(
        (0.5, 1.5), stage="segment", help="range of the training images' scale"
    )
    segment_jitter: bool = setting(
        True, stage="segment", help="jitter colours where the published training does (deeplab_v1)"
    )

    segment_split: str = setting("val", stage="evaluate", help="split it is evaluated on")
    segment_scales: (
        Annotated[tuple[Annotated[float, Field(gt=0, le=4)], ...], Field(min_length=1)] | None
    ) = setting(
        None, stage="evaluate", help="test scales, mean of logits; as published for the network"
    )
    segment_flip_test: bool | None = setting(
        None, stage="evaluate", help="add the mirrored image; as published for the network"
    )
    segment_crf: CrfName = setting("none", stage="evaluate", help="denseCRF at the test, by name")

    @model_validator(mode="after")
    def _needs_masks(self) -> SegmentConfig:
        if self.segment != "none" and self.refine == "none":
            raise ValueError(
                "segment: trains on pseudo masks; set refine: crf, affinity or irn too"
            )
        embedded = self.segment != "none" and self.pretrain == "embedded"
        if embedded and self.segment_network != "small":
            raise ValueError(
                "pretrain: embedded trains the small network alone; set segment_backbone: small"
            )
        low, high = self.segment_rescale
        if not 0 < low <= high:
            raise ValueError("segment_rescale must be a range above 0, such as [0.5, 1.5]")
        return self

    @property
    def segment_network(self) -> str:
        """The backbone of the segmentation network."""
        if self.segment_backbone != "auto":
            return self.segment_backbone
        if self.backbone == "small":
            return "small"
        return "resnet38" if self.segment == "deeplab_v1" else "resnet101"

    def chain(self) -> tuple[Stage, ...]:
        """The stages that this trial has, in order."""
        before = super().chain()
        if self.segment == "none":
            return before
        return (*before[:-1], "segment", "evaluate")

    def inactive(self) -> set[str]:
        """Fields that cannot change the outcome under the other values."""
        names = super().inactive()
        if self.segment == "none":
            return names | FIELDS
        return names if self.pretrain == "weights" else names | {"segment_weights_sha256"}

    def active(self) -> dict[str, object]:
        """JSON-ready values of all fields that matter, the network by its name."""
        found = super().active()
        if "segment_backbone" in found:
            found["segment_backbone"] = self.segment_network
        return found
