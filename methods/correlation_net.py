"""What SEAM and CPN share: a classifier with a correlation head, and its settings."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from camsweep.methods.backbones import Backbone, build_backbone
from camsweep.methods.base import Output
from camsweep.methods.compose import ComposedConfig
from camsweep.methods.config import setting
from camsweep.methods.correlation import Correlation
from camsweep.methods.normalize import correlation_input
from camsweep.methods.pair import PairConfig


class CorrelationConfig(ComposedConfig):
    """Settings of PCM, PRCM and the terms that read their maps.

    Where CPN's paper and code disagree: ``prcm_layout`` is the paper's transpose (the code
    reinterprets memory, which released weights need); ``min_pool`` is on as in the code that
    trained the published models of SEAM and CPN (papers: absent).
    """

    NEEDS: ClassVar[tuple[tuple[str, str], ...]] = (*PairConfig.NEEDS, ("prcm", "pcm"))

    pcm: bool = setting(True, stage="train", help="pixel correlation module")
    prcm: bool = setting(True, stage="train", help="pixel-region correlation module")
    prcm_layout: Literal["paper", "code"] = setting(
        "paper", stage="train", help="phi(Z) transposed, or memory reinterpreted"
    )
    min_pool: bool = setting(True, stage="train", help="min-pooling term of the released L_cls")
    centre_features: bool = setting(
        False, stage="train", help="PCM, PRCM: embeddings minus their mean"
    )
    pcm_stride: int = setting(1, stage="train", help="PCM, PRCM on coarser maps", ge=1, le=8)

    @property
    def refines(self) -> bool:
        """PCM gives the refined map."""
        return self.pcm

    def inactive(self) -> set[str]:
        """Fields that cannot change the outcome under the other values."""
        # The classification averages scores that are resized to the size of comparison.
        names = super().inactive() - {"loss_size"}
        if not self.pcm:
            names |= {"min_pool", "centre_features", "pcm_stride"}
        if not self.prcm:
            names.add("prcm_layout")
        return names


class CorrelationNet(nn.Module):
    """Backbone, bias-free 1 x 1 classifier and the correlation head.

    As released, the classifier has an output for the background too. Nothing supervises it, and the
    background map 1 - best foreground takes its place everywhere; it is here so that published
    checkpoints fit.
    """

    def __init__(self, config: CorrelationConfig, classes: int) -> None:
        """Build the network with random weights.

        Args:
            config: which backbone and head.
            classes: C, background included.
        """
        super().__init__()
        self.backbone: Backbone = build_backbone(config.backbone)
        self.classifier = nn.Conv2d(self.backbone.channels, classes, 1, bias=False)
        nn.init.xavier_uniform_(self.classifier.weight)
        self.correlation = (
            Correlation(
                self.backbone.side_channels,
                use_prcm=config.prcm,
                layout=config.prcm_layout,
                centre=config.centre_features,
                stride=config.pcm_stride,
            )
            if config.pcm
            else None
        )

    def forward(self, images: Tensor) -> Output:
        """Scores and, with PCM, refined maps of images [N, 3, H, W]."""
        features = self.backbone(images)
        scores = self.classifier(features.last).float()[:, 1:]
        if self.correlation is None:
            return Output(scores, features)
        refined = self.correlation(correlation_input(scores), images, features)
        return Output(scores, features, refined.float())


def build(config: CorrelationConfig, classes: int) -> nn.Module:
    """The network for ``classes`` classes, background included."""
    return CorrelationNet(config, classes)
