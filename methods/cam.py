"""Baseline: class activation maps of an image classifier (Zhou et al. 2016)."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from camsweep.methods.backbones import Features, build_backbone
from camsweep.methods.base import Batch, Method, TrialConfig, setting


class CamConfig(TrialConfig):
    """The baseline has no settings of its own."""

    method: Literal["cam"] = setting("cam", stage="train", help="file in camsweep/methods")


class CamNet(nn.Module):
    """A backbone and a bias-free 1 x 1 classifier over the foreground classes."""

    def __init__(self, backbone: str, classes: int) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.classifier = nn.Conv2d(self.backbone.channels, classes - 1, 1, bias=False)
        nn.init.xavier_uniform_(self.classifier.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores by place [N, C-1, h, w], unbounded, before any ReLU."""
        features: Features = self.backbone(images)
        scores: Tensor = self.classifier(features.last)
        return scores


def build(config: CamConfig, classes: int) -> nn.Module:
    """The network for ``classes`` classes, background included."""
    return CamNet(config.backbone, classes)


def losses(net: nn.Module, batch: Batch, config: CamConfig, progress: float) -> dict[str, Tensor]:
    """Multi-label soft margin loss on globally averaged scores."""
    scores = net(batch.images).float().mean((2, 3))
    loss = F.multilabel_soft_margin_loss(scores, batch.labels)
    return {"loss": loss, "cls": loss}


def maps(net: nn.Module, images: Tensor, labels: Tensor, config: CamConfig) -> dict[str, Tensor]:
    """Raw maps ReLU(scores) [N, C-1, h, w]."""
    return {"raw": F.relu(net(images).float())}


METHOD = Method("cam", "CAM", CamConfig, build, losses, maps)
