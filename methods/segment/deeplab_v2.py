"""DeepLab-v2 on ResNet-101 with multi-scale inputs (Chen et al. 2018), as deeplab-pytorch has it.

Facts are of kazuto1011/deeplab-pytorch: methods.md section 8.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camsweep.methods.backbones import MEAN, STD, Backbone, freeze_affine, freeze_batch_norm

RATES = (6, 12, 18, 24)
#: SmallNet has 24 cells a side in training where ResNet-101 has 41.
SMALL_RATES = (3, 6, 9, 12)
#: Further sizes of the input, as shares of its sides.
PYRAMID = (0.5, 0.75)
#: Mean of blue, green and red in 0..255 that Caffe's networks are trained with.
CAFFE_MEAN = (104.008, 116.669, 122.675)


def to_caffe(images: Tensor) -> Tensor:
    """What networks from Caffe see: BGR in 0..255 less the mean, not divided by a deviation.

    Args:
        images: normalised by our mean and deviation, float [N, 3, H, W]; padding, which is 0,
            becomes our mean colour, up to half a grey level from 0.

    Returns:
        Of the same shape.
    """
    # Both in one step: x std + mean - caffe mean / 255, times 255.
    scale = images.new_tensor(STD) * 255
    shift = images.new_tensor(MEAN) * 255 - images.new_tensor(CAFFE_MEAN[::-1])
    return (images * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)).flip(1)


class Aspp(nn.ModuleList):
    """Classifiers that look 3x3 far apart at several rates; their logits are summed.

    Args:
        channels: of the features.
        classes: background included.
        rates: dilations.
    """

    def __init__(self, channels: int, classes: int, rates: tuple[int, ...]) -> None:
        super().__init__(
            nn.Conv2d(channels, classes, 3, padding=rate, dilation=rate) for rate in rates
        )
        for conv in self:
            assert isinstance(conv, nn.Conv2d)
            assert conv.bias is not None
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(conv.bias)

    def forward(self, features: Tensor) -> Tensor:
        """[N, channels, h, w] to logits [N, classes, h, w]."""
        first, *others = self
        logits: Tensor = first(features)
        for branch in others:
            logits = logits + branch(features)
        return logits


class DeepLabV2(nn.Module):
    """A backbone with ASPP on the image and on two smaller copies of it; the largest logit counts.

    Batch norm is frozen. Weights of a CAM network's backbone fit.

    Args:
        backbone: of ``dense_backbone``.
        classes: background included.
        rates: of ASPP.
        caffe_input: the backbone's weights are from Caffe and see ``to_caffe`` of the images, as
            in deeplab-pytorch. torchvision's, which are all that ``pretrained`` knows, see images
            normalised as they arrive; with batch norm frozen, they fail on the others.

    Attributes:
        batch_statistics: see ``Task.build``.
        terms: names of the maps' losses.
        aligned: whether corners are aligned where the last map is enlarged.
    """

    batch_statistics = False
    terms = ("ce_100", "ce_50", "ce_75", "ce_max")
    aligned = False

    def __init__(
        self,
        backbone: Backbone,
        classes: int,
        rates: tuple[int, ...] = RATES,
        caffe_input: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.aspp = Aspp(backbone.channels, classes, rates)
        self.caffe_input = caffe_input
        freeze_affine(self)

    def train(self, mode: bool = True) -> DeepLabV2:
        """Set the mode of everything but batch norm, which stays in eval.

        Of ResNet-38, where it is the backbone, the classifiers' dropout at the end stays off.
        """
        super().train(mode)
        freeze_batch_norm(self)
        self.backbone.training = False
        return self

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Logits of each copy at its own size, and their largest at the first one's.

        Args:
            images: normalised, float [N, 3, H, W].

        Returns:
            Four maps, float32 [N, C, h, w] (sizes rounded up): of the image, of its copies of
            0.5 and 0.75 of the sides (rounded down, at least 1 pixel), and the maximum.
        """
        if self.caffe_input:
            images = to_caffe(images)
        found = [self._logits(images)]
        for share in PYRAMID:
            size = [max(1, int(side * share)) for side in images.shape[-2:]]
            found.append(self._logits(_resized(images, size)))
        size = list(found[0].shape[-2:])
        largest = found[0]
        for logits in found[1:]:
            largest = torch.maximum(largest, _resized(logits, size))
        return (*found, largest)

    def _logits(self, images: Tensor) -> Tensor:
        logits: Tensor = self.aspp(self.backbone.advance(images))
        return logits.float()


def _resized(x: Tensor, size: list[int]) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def build_v2(backbone: Backbone, name: str, classes: int, caffe_input: bool = False) -> DeepLabV2:
    """The network on a backbone of that name; the small one's rates are halved.

    Args:
        backbone: of ``dense_backbone``.
        name: its name.
        classes: background included.
        caffe_input: see ``DeepLabV2``.
    """
    return DeepLabV2(backbone, classes, SMALL_RATES if name == "small" else RATES, caffe_input)
