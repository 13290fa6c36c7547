"""SIPE's released network, seeds, prototypes, losses and gradients, by our code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from golden_data import Golden, gradients
from torch import Tensor, nn

from camsweep.methods import compose
from camsweep.methods.base import Batch, Output, load_method, make_config
from camsweep.methods.compose import ComposedConfig
from camsweep.methods.ipe import prototype_cams, prototype_features, prototype_localize
from camsweep.methods.normalize import normalise_test
from camsweep.methods.prototypes import (
    class_maps,
    class_mask,
    class_prototypes,
    prototype_maps,
    structure_seeds,
    structure_similarity,
    weigh_background,
)

Found = Iterator[tuple[str, Any]]


def replay(golden: Golden) -> Found:
    """Every array of a ``sipe`` file."""
    yield from replay_modules(golden)
    config = make_config({"method": "sipe"})
    assert isinstance(config, ComposedConfig)
    labels = golden.tensor("in/label")
    net = compose.build(load_method("sipe"), config, labels.shape[1] + 1)
    parameters = golden.load(net)
    yield from replay_pair(golden, net, config)
    with torch.no_grad():
        yield from replay_stages(golden.tensor("in/image"), net)
    for part in ("", "_b"):
        images = golden.tensor(f"in/image{part}")
        valid = inside(golden.array(f"in/valid_box{part}").tolist(), images)
        batch = Batch(images, labels, None, torch.Generator(), valid)
        yield from replay_forward(batch, net, config, part)
        yield from replay_losses(batch, net, config, parameters, part)


def inside(boxes: list[list[int]], images: Tensor) -> Tensor:
    """bool [N, H, W], true within each image's box (y0, y1, x0, x1)."""
    valid = torch.zeros(images.shape[0], *images.shape[2:], dtype=torch.bool)
    for own, (top, bottom, left, right) in zip(valid, boxes, strict=True):
        own[top:bottom, left:right] = True
    return valid


def column(prototypes: Tensor) -> Tensor:
    """Prototypes in the released shape [N, C, D, 1, 1]."""
    return prototypes[:, :, :, None, None]


def released_probabilities(features: Tensor, maps: Tensor) -> Tensor:
    """Softmax over classes of the similarities that seeds are picked by."""
    return weigh_background(structure_similarity(features, maps), 0.5).softmax(1)


def replay_modules(golden: Golden) -> Found:
    """Seeds, prototypes and IS-CAMs alone, on clustered features where several classes win."""
    features, maps = golden.tensor("in/mod_feature"), golden.tensor("in/mod_cam")
    seeds = structure_seeds(features, maps, golden.tensor("in/mod_label"))
    prototypes = class_prototypes(features, seeds)
    yield "mod/probs", released_probabilities(features, maps)
    yield "mod/seeds", seeds
    yield "mod/prototypes", column(prototypes)
    yield "mod/IS_cam", prototype_maps(features, prototypes)


def replay_pair(golden: Golden, net: nn.Module, config: ComposedConfig) -> Found:
    """Inference on an image and its mirror image, with two labels."""
    image, labels = golden.tensor("in/pair_image"), golden.tensor("in/label")[1:]
    with torch.no_grad():
        output = net(compose.views(image, config))
        scores = output.scores
        yield "out/pair_norm_cam", class_maps(scores[:1] + scores[1:].flip(-1))[0]
        for name, chosen in (("pair", labels), ("pair_alllabel", torch.ones_like(labels))):
            cams = prototype_localize(net, output, chosen, config)["is_cam"]
            yield f"out/{name}_IS_cam", cams[0]


def replay_stages(images: Tensor, net: nn.Module) -> Found:
    """The stem's output and those of the four layers."""
    backbone: Any = net.backbone
    yield "out/x0", backbone.advance(images, 0, 1)
    for number, level in enumerate(backbone(images).levels, 1):
        yield f"out/x{number}", level


def replay_forward(batch: Batch, net: nn.Module, config: ComposedConfig, part: str) -> Found:
    """What the released training network returns."""
    with torch.no_grad():
        out: Output = net(batch.images)
        features = prototype_features(net, out, config)
        size = (features.shape[-2], features.shape[-1])
        maps = class_maps(out.scores, batch.labels, batch.valid, config.attenuation, size)
        mask = class_mask(batch.labels, batch.valid, size)
        found = prototype_cams(maps, out.features.last, features, mask, config)
        where = f"out{part}"
        yield f"in{part}/valid_mask_lowres", mask
        yield f"{where}/score", out.scores.mean((2, 3), keepdim=True)
        yield f"{where}/cam", maps
        yield f"{where}/probs", released_probabilities(out.features.last, maps)
        yield f"{where}/seeds", found.seeds
        yield f"{where}/prototypes", column(found.prototypes)
        yield f"{where}/IS_cam", found.maps
        yield f"mid{part}/IS_cam_normed", normalise_test(found.maps, "max")


def replay_losses(
    batch: Batch,
    net: nn.Module,
    config: ComposedConfig,
    parameters: dict[str, nn.Parameter],
    part: str,
) -> Found:
    """Loss terms and gradients of a training step, before clipping."""
    net.zero_grad(set_to_none=True)
    terms = compose.losses(load_method("sipe"), net, batch, config, 0.0)
    terms["loss"].backward()
    for ours, theirs in (("cls", "lossCLS"), ("gsc", "lossGSC"), ("loss", "losses")):
        yield f"loss{part}/{theirs}", terms[ours]
    yield from gradients(parameters, part).items()
