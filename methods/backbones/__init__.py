"""Feature networks and what the methods ask of them."""

from __future__ import annotations

import importlib
from typing import NamedTuple

from torch import Tensor, nn

from camsweep.shards.errors import InputError, nearest
from camsweep.shards.normalisation import IMAGENET_MEAN, IMAGENET_STD

# What every backbone's input is normalised by. A hidden pixel is 0 after it: the mean colour.
MEAN = IMAGENET_MEAN
STD = IMAGENET_STD

_NETWORKS = {"small": "SmallNet", "resnet50": "ResNet50"}


class Features(NamedTuple):
    """What a backbone returns.

    Attributes:
        side: two inner feature maps, ``side_channels`` channels, each at its own stride.
        last: the final features [N, channels, H/stride, W/stride].
    """

    side: tuple[Tensor, Tensor]
    last: Tensor


class Backbone(nn.Module):
    """A feature network: ``forward(images [N, 3, H, W]) -> Features``.

    Attributes:
        stride: input pixels a cell of ``Features.last``.
        side_channels: channels of the two side features.
        channels: channels of ``Features.last``.
    """

    stride: int
    side_channels: tuple[int, int]
    channels: int

    def load_pretrained(self, state: dict[str, Tensor], source: str = "weights") -> None:
        """Take pretrained weights, all of them.

        Args:
            state: a state dict of this network (``fc.*``, ImageNet's classifier, is left out).
            source: the file the weights came from, for the error line.

        Raises:
            InputError: a weight is missing, unknown or of another shape.
        """
        own = self.state_dict()
        given = {k: v for k, v in state.items() if not k.startswith("fc.")}
        # Counters of frozen batch norm: of no use, and older files lack them.
        given |= {k: v for k, v in own.items() if k.endswith("num_batches_tracked")}
        missing = sorted(own.keys() - given.keys())
        unknown = sorted(given.keys() - own.keys())
        if missing or unknown:
            key, what = (missing[0], "lacks") if missing else (unknown[0], "has the unknown")
            raise InputError(f"{source}: {what} {key}; weights of {type(self).__name__} are needed")
        for key, value in given.items():
            if value.shape != own[key].shape:
                raise InputError(
                    f"{source}: {key} is {list(value.shape)}, it must be {list(own[key].shape)}"
                )
        self.load_state_dict(given)


def build_backbone(name: str) -> Backbone:
    """A new backbone with random weights.

    Raises:
        InputError: no such backbone.
    """
    if name not in _NETWORKS:
        raise InputError(f"backbone: there is no '{name}'{nearest(name, _NETWORKS)}")
    module = importlib.import_module(f"camsweep.methods.backbones.{name}")
    network: Backbone = getattr(module, _NETWORKS[name])()
    return network


def freeze_batch_norm(net: nn.Module) -> nn.Module:
    """Use the stored statistics and train no affine parameter (all CAM methods of this family)."""
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
            module.requires_grad_(False)
    return net
