"""Replay of ``seam.seedS``: features, maps, PCM, the losses of the Siamese pair and gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from golden_data import Golden, gradients
from torch import Tensor

from camsweep.methods import losses as terms
from camsweep.methods import seam
from camsweep.methods.base import Batch, make_config
from camsweep.methods.correlation import pcm, resize
from camsweep.methods.correlation_net import CorrelationNet

CLASSES = 21
LEVELS = ("conv3", "conv4", "conv5", "conv6")


def replay(golden: Golden) -> Iterator[tuple[str, Any]]:
    config = make_config({"method": "seam"})
    assert isinstance(config, seam.SeamConfig)
    net = CorrelationNet(config, CLASSES)
    parameters = golden.load(net)
    yield from forward_pass(golden, net)
    yield from pixel_correlation(golden, net)

    batch = Batch(golden.tensor("in/image"), golden.tensor("in/label"), None, torch.Generator())
    yield from _parts(net, batch, config)
    net.zero_grad()
    found = seam.losses(net, Batch(batch.images, batch.labels, None, torch.Generator()), config, 1)
    yield "loss/loss_cls_norvmin", found["cls"]
    yield "loss/loss_cls", found["cls"] + found["min_pool"]
    yield "loss/loss_er", found["er"]
    yield "loss/loss_ecr", found["ecr"]
    yield "loss/loss", found["loss"]
    found["loss"].backward()
    yield from gradients(parameters).items()


def forward_pass(golden: Golden, net: CorrelationNet) -> Iterator[tuple[str, Any]]:
    """Features and maps of both images of a SEAM or CPN file."""
    for image, prefix in (("in/image", "out"), ("in/image2", "out/image2")):
        images = golden.tensor(image)
        size = (images.shape[-2], images.shape[-1])
        with torch.no_grad():
            found = net(images)
            lowres = all_scores(net, found.features.last)
        assert torch.equal(lowres[:, 1:], found.scores)
        for name, level in zip(LEVELS, found.features.levels, strict=True):
            yield f"{prefix}/{name}", level
        yield f"{prefix}/cam_lowres", lowres
        yield f"{prefix}/cam", resize(lowres, size)
        yield f"{prefix}/cam_rv", resize(found.refined, size)


def all_scores(net: CorrelationNet, last: Tensor) -> Tensor:
    """Scores [N, C, h, w] with the unsupervised background, which ``Output`` leaves out."""
    scores: Tensor = net.classifier(last)
    return scores


def pixel_correlation(golden: Golden, net: CorrelationNet) -> Iterator[tuple[str, Any]]:
    """PCM of the stored features and maps."""
    assert net.correlation is not None
    with torch.no_grad():
        embedded = net.correlation.g(golden.tensor("in/pcm_f"))
    yield "out/pcm", pcm(golden.tensor("in/pcm_cam"), embedded)
    yield "out/pcm_11x13", pcm(golden.tensor("in/pcm_cam_11x13"), embedded)


@torch.no_grad()
def _parts(net: CorrelationNet, batch: Batch, config: seam.SeamConfig) -> Iterator[tuple[str, Any]]:
    """What the losses compare, and their terms one by one."""
    views = (batch.images, seam.smaller(batch.images, config.scale))
    sizes = [(view.shape[-2], view.shape[-1]) for view in views]
    branches = []
    for i, (view, size) in enumerate(zip(views, sizes, strict=True), 1):
        found = net(view)
        scores = resize(found.scores, size)
        yield f"loss/loss_cls{i}", terms.classification(scores, batch.labels)
        best = resize(found.refined[:, 1:], size) * batch.labels[:, :, None, None]
        yield f"loss/loss_rvmin{i}", terms.min_pooling(best)
        pooled = resize(all_scores(net, found.features.last), size).mean((2, 3), keepdim=True)
        yield f"mid/label{i}", pooled
        branches.append(seam.branch(found, batch.labels, size, sizes[1]))
    # The script's one-hot writes into the raw maps, so the stored ones are ECR's targets.
    targets = [terms.one_hot(terms.with_background(maps.raw), config.onehot) for maps in branches]
    for i, maps in enumerate(branches, 1):
        assert maps.refined is not None
        yield f"mid/cam{i}", targets[i - 1]
        yield f"mid/cam_rv{i}", maps.refined
        yield f"loss/loss_ecr{i}", terms.mean_hardest((targets[2 - i] - maps.refined).abs())
