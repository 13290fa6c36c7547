"""SIPE's prototypes and IS-CAMs as matrix products, against the broadcast form of the release.

The peer is written from the facts: every class, feature channel and place gets a product of its
own, [N, C, D, h, w] of them, which are then averaged over places or summed over channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from camsweep.methods.prototypes import argmax_seeds, class_mask, class_prototypes, prototype_maps
from camsweep.platform.bench.rounds import alternate, milliseconds
from camsweep.platform.bench.table import Result, ratio
from camsweep.shards.errors import InputError
from camsweep.shards.places import Place

#: Images, classes with background, channels of the hierarchical feature, side of the maps.
SIZES = (2, 21, 768, 32)
SAME = 1e-6

PRODUCTS, BROADCAST = "matrix products", "broadcast, as released"


def run(data: Place | None, seconds: float, repeat: int) -> Result:
    """Measure both by turns; see ``camsweep.platform.bench.measure``.

    Raises:
        InputError: the two differ by more than ``SAME``.
    """
    features, seeds = drawn()
    gap = float((products(features, seeds) - broadcast(features, seeds)).abs().max())
    if gap > SAME:
        raise InputError(f"bench: prototypes: the two forms differ by {gap:.1e}")
    rounds = alternate(
        {
            PRODUCTS: lambda: milliseconds(lambda: products(features, seeds), seconds),
            BROADCAST: lambda: milliseconds(lambda: broadcast(features, seeds), seconds),
        },
        repeat,
    )
    images, classes, channels, side = SIZES
    return Result(
        name="prototypes",
        unit="milliseconds for a batch",
        rounds=rounds,
        ratios=(ratio(rounds, BROADCAST, PRODUCTS, "at least 8"),),
        notes=(
            f"prototypes and IS-CAMs of {images} images, {classes} classes, {channels} channels, "
            f"{side} x {side} places, float32, {torch.get_num_threads()} threads, seed 0",
            f"largest difference of the maps: {gap:.1e}",
        ),
    )


def drawn() -> tuple[Tensor, Tensor]:
    """Features [N, D, h, w] and one-hot seeds [N, C, h, w] of two classes an image."""
    images, classes, channels, side = SIZES
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(images, channels, side, side, generator=generator).relu_()
    maps = torch.rand(images, classes, side, side, generator=generator)
    labels = torch.zeros(images, classes - 1)
    labels[:, :2] = 1
    mask = class_mask(labels)
    return features, argmax_seeds(maps * mask, mask)


@torch.inference_mode()
def products(features: Tensor, seeds: Tensor) -> Tensor:
    """IS-CAMs as camsweep makes them, [N, C, h, w]."""
    return prototype_maps(features, class_prototypes(features, seeds))


@torch.inference_mode()
def broadcast(features: Tensor, seeds: Tensor) -> Tensor:
    """The same by products of [N, C, D, h, w]."""
    one = features[:, None]
    prototypes = (one * seeds[:, :, None]).mean((3, 4), keepdim=True)
    return F.relu(F.cosine_similarity(one, prototypes, dim=2))
