"""ResNet-101 with the strides, frozen layers and batch norm of our ResNet-50."""

from __future__ import annotations

from camsweep.methods.backbones.resnet50 import ResNet50


class ResNet101(ResNet50):
    """As ``ResNet50`` with 23 blocks in layer3; torchvision's names, output stride 16."""

    blocks = (3, 4, 23, 3)
