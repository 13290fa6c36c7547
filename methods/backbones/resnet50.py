"""ResNet-50 as IRN and SIPE use it: strides 2, 2, 2, 1, frozen batch norm, output stride 16."""

from __future__ import annotations

from torch import Tensor
from torchvision.models.resnet import Bottleneck, ResNet

from camsweep.methods.backbones import Backbone, Features, freeze_batch_norm


class ResNet50(Backbone):
    """torchvision's layers under torchvision's names.

    layer4 keeps layer3's resolution (its stride becomes 1, dilation stays 1), so 448 pixels give
    28 x 28. Side features are layer2 (512 channels, stride 8) and layer3 (1024, stride 16). conv1
    to layer2 get no gradient. Unlike IRN's code the affine parameters of batch norm are frozen with
    the statistics, as in the ResNet-38 recipes.
    """

    stride = 16
    side_channels = (512, 1024)
    channels = 2048

    def __init__(self) -> None:
        super().__init__()
        source = ResNet(Bottleneck, [3, 4, 6, 3])
        source.layer4[0].conv2.stride = (1, 1)
        source.layer4[0].downsample[0].stride = (1, 1)
        for name, child in source.named_children():
            if name not in {"avgpool", "fc"}:
                self.add_module(name, child)
        for name in ("conv1", "bn1", "layer1", "layer2"):
            self.get_submodule(name).requires_grad_(False)
        freeze_batch_norm(self)

    def train(self, mode: bool = True) -> ResNet50:
        """Set the mode of everything but batch norm, which stays in eval."""
        super().train(mode)
        freeze_batch_norm(self)
        return self

    def forward(self, images: Tensor) -> Features:
        """Features of [N, 3, H, W]: side [N, 512, H/8, W/8], [N, 1024, H/16, W/16] and last."""
        low = images
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2"):
            low = self.get_submodule(name)(low)
        high = self.get_submodule("layer3")(low)
        last = self.get_submodule("layer4")(high)
        return Features((low, high), last)
