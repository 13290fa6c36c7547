"""The segmentation networks by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from camsweep.methods.segment.backbone import dense_backbone
from camsweep.methods.segment.deeplab_v1 import NORM_MOMENTUM, DeepLabV1, build_v1
from camsweep.methods.segment.deeplab_v2 import DeepLabV2, build_v2


@dataclass(frozen=True)
class Network:
    """Which network it is.

    Attributes:
        name: ``deeplab_v1`` or ``deeplab_v2``.
        backbone: its backbone's name.
        norm_momentum: of DeepLab-v1's running statistics.
        caffe_input: see ``DeepLabV2``.
    """

    name: Literal["deeplab_v1", "deeplab_v2"]
    backbone: str
    norm_momentum: float = NORM_MOMENTUM
    caffe_input: bool = False


def build_network(network: Network, classes: int) -> DeepLabV1 | DeepLabV2:
    """A new network with random weights.

    Args:
        network: which.
        classes: background included.

    Raises:
        InputError: no such backbone.
    """
    backbone = dense_backbone(network.backbone)
    if network.name == "deeplab_v1":
        return build_v1(backbone, network.backbone, classes, network.norm_momentum)
    return build_v2(backbone, network.backbone, classes, network.caffe_input)
