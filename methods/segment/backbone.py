"""Backbones of the segmentation networks: stride 8, and of batch norm nothing learns.

Both released codes train every convolution from the first one on, and leave the affine parameters
of batch norm out of their optimisers. The CAM networks' constructors freeze the stem instead, and
those of the ResNet-50 family end at stride 16.
"""

from __future__ import annotations

from torch import nn
from torchvision.models.resnet import Bottleneck

from camsweep.methods.backbones import Backbone, build_backbone, freeze_affine
from camsweep.methods.backbones.resnet50 import ResNet50

#: Dilation of every 3x3 convolution of a stage (DeepLab-v2, deeplab-pytorch).
DILATIONS = {"layer3": 2, "layer4": 4}


def dense_backbone(name: str) -> Backbone:
    """A new backbone for segmentation, with random weights; tensors have their usual names.

    Args:
        name: ``small`` keeps its stride 4; all others have stride 8.

    Raises:
        InputError: no such backbone.
    """
    backbone = build_backbone(name)
    if isinstance(backbone, ResNet50):
        dilate(backbone)
    backbone.requires_grad_(True)
    freeze_affine(backbone)
    return backbone


def dilate(backbone: ResNet50) -> ResNet50:
    """Let a ResNet-50 or -101 end at stride 8: layer3 and layer4 are dilated instead of strided.

    As in deeplab-pytorch the first block of a stage is dilated like the others, and the max pool
    keeps the odd last row and column. What is strided stays the 3x3 convolution of a block, as in
    torchvision, whose weights it takes; Caffe's ResNet strides the 1x1 before it.
    """
    for stage, dilation in DILATIONS.items():
        for block in backbone.get_submodule(stage).children():
            assert isinstance(block, Bottleneck)
            block.conv2.stride = (1, 1)
            block.conv2.dilation = block.conv2.padding = (dilation, dilation)
            if block.downsample is not None:
                conv = block.downsample[0]
                assert isinstance(conv, nn.Conv2d)
                conv.stride = (1, 1)
    pool = backbone.get_submodule("maxpool")
    assert isinstance(pool, nn.MaxPool2d)
    pool.ceil_mode = True
    backbone.stride = 8
    return backbone
