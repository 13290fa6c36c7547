"""DeepLab-v1 LargeFOV on ResNet-38, as SEAM, CPN and SIPE train it on their pseudo masks.

Facts are of YudeWang/semantic-segmentation-codebase, ``seamv1-pseudovoc``: methods.md section 8.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from camsweep.methods.backbones import Backbone, batch_norms, freeze_affine
from camsweep.methods.parts import dropout

WIDTH = 512
DILATION = 12
#: SmallNet has 48 channels where ResNet-38 has 4096, and 24 cells a side where that has 56.
SMALL_WIDTH = 48
SMALL_DILATION = 6
DROPOUT = 0.5
#: Of batch norm's running statistics, all of the network's.
NORM_MOMENTUM = 3e-4


class DeepLabV1(nn.Module):
    """A dilated 3x3 and a 1x1 convolution with batch norm, dropout, and a 1x1 classifier.

    In training every batch norm, the backbone's too, uses the statistics of what it sees, and its
    running ones move; its affine parameters are fixed. Weights of a CAM network's backbone fit.

    Args:
        backbone: of ``dense_backbone``.
        classes: background included.
        width: channels of the head.
        dilation: of its 3x3 convolution.
        norm_momentum: see ``NORM_MOMENTUM``.

    Attributes:
        batch_statistics: see ``Task.build``.
        terms: names of the maps' losses.
        aligned: whether corners are aligned where the last map is enlarged.
    """

    batch_statistics = True
    terms = ("ce",)
    aligned = True

    def __init__(
        self,
        backbone: Backbone,
        classes: int,
        width: int = WIDTH,
        dilation: int = DILATION,
        norm_momentum: float = NORM_MOMENTUM,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.conv_fov = nn.Conv2d(
            backbone.channels, width, 3, padding=dilation, dilation=dilation, bias=False
        )
        self.bn_fov = nn.BatchNorm2d(width)
        self.conv_fov2 = nn.Conv2d(width, width, 1, bias=False)
        self.bn_fov2 = nn.BatchNorm2d(width)
        self.cls_conv = nn.Conv2d(width, classes, 1)
        for conv in (self.conv_fov, self.conv_fov2, self.cls_conv):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        freeze_affine(self)
        for norm in batch_norms(self):
            assert isinstance(norm, nn.BatchNorm2d)
            norm.momentum = norm_momentum

    def train(self, mode: bool = True) -> DeepLabV1:
        """Set the mode of every part, and really of batch norm too, which the backbones freeze.

        The backbone itself stays in eval: ResNet-38 ends with the dropout of the released
        *classifiers*; the segmentation network has only those inside b6 and b7.
        """
        super().train(mode)
        for norm in batch_norms(self):
            norm.train(mode)
        self.backbone.training = False
        return self

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """Logits at the images' size.

        Args:
            images: normalised, float [N, 3, H, W].

        Returns:
            One map, float32 [N, C, H, W].
        """
        x = self.backbone.advance(images)
        x = F.relu(self.bn_fov(self.conv_fov(x)), inplace=True)
        x = F.relu(self.bn_fov2(self.conv_fov2(x)), inplace=True)
        logits = self.cls_conv(dropout(x, DROPOUT, self.training)).float()
        return (F.interpolate(logits, images.shape[-2:], mode="bilinear", align_corners=True),)


def build_v1(backbone: Backbone, name: str, classes: int, norm_momentum: float) -> DeepLabV1:
    """The network on a backbone of that name; the small one's head is narrower and sees less far.

    Args:
        backbone: of ``dense_backbone``.
        name: its name.
        classes: background included.
        norm_momentum: see ``NORM_MOMENTUM``.
    """
    small = name == "small"
    width, dilation = (SMALL_WIDTH, SMALL_DILATION) if small else (WIDTH, DILATION)
    return DeepLabV1(backbone, classes, width, dilation, norm_momentum)
