"""ResNet-50 as IRN and SIPE use it: strides 2, 2, 2, 1, fixed batch norm, output stride 16."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet

from camsweep.methods.backbones import Backbone, Features, freeze_batch_norm
from camsweep.methods.backbones.norm import BatchNorm2d

FROZEN = ("conv1", "bn1", "layer1", "layer2")
CLOSING_GAIN = 0.3


class ResNet50(Backbone):
    """torchvision's layers under torchvision's names.

    layer4 keeps layer3's resolution (its stride becomes 1, dilation stays 1), so 512 pixels give
    32 x 32. Side features are layer2 (512 channels, stride 8) and layer3 (1024, stride 16); levels
    are layer1 to layer4. conv1 to layer2 get no gradient. Batch norm uses the stored statistics
    everywhere, and in layer3 and layer4 its affine parameters learn, as in IRN's and SIPE's code.
    """

    stride = 16
    side_channels = (512, 1024)
    channels = 2048
    level_channels = (256, 512, 1024, 2048)
    stages = ("stem", "layer1", "layer2", "layer3", "layer4")
    blocks: tuple[int, ...] = (3, 4, 6, 3)

    def __init__(self) -> None:
        super().__init__()
        source = ResNet(Bottleneck, list(self.blocks), norm_layer=BatchNorm2d)
        source.layer4[0].conv2.stride = (1, 1)
        source.layer4[0].downsample[0].stride = (1, 1)
        for name, child in source.named_children():
            if name not in {"avgpool", "fc"}:
                self.add_module(name, child)
        for name, parameter in self.named_parameters():
            # Without pretrained weights nothing normalises, and unscaled residuals would double
            # the variance in every block.
            if name.endswith("bn3.weight"):
                nn.init.constant_(parameter, CLOSING_GAIN)
            if name.startswith(FROZEN):
                parameter.requires_grad_(False)
        freeze_batch_norm(self)

    def train(self, mode: bool = True) -> ResNet50:
        """Set the mode of everything but batch norm, which stays in eval."""
        super().train(mode)
        freeze_batch_norm(self)
        return self

    def run_stage(self, name: str, x: Tensor) -> Tensor:
        """One stage's output, all >= 0; ``stem`` is conv1 to the max pool (stride 4)."""
        for part in ("conv1", "bn1", "relu", "maxpool") if name == "stem" else (name,):
            x = self.get_submodule(part)(x)
        return x

    def forward(self, images: Tensor) -> Features:
        """Features of [N, 3, H, W]: side [N, 512, H/8, W/8], [N, 1024, H/16, W/16] and last.

        Levels have 256, 512, 1024 and 2048 channels at strides 4, 8, 16, 16; sizes round up.
        """
        x = self.run_stage("stem", images)
        levels = []
        for name in self.stages[1:]:
            x = self.run_stage(name, x)
            levels.append(x)
        return Features((levels[1], levels[2]), x, tuple(levels))
