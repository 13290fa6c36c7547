"""Replay of ``cpn.seedS``: features, maps, PCM, PRCM, the losses of the pair and gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import torch
from golden_data import Golden, gradients
from golden_seam import CLASSES, all_scores, forward_pass, pixel_correlation
from torch import Tensor
from torch.nn import functional

from camsweep.methods import cpn
from camsweep.methods import losses as terms
from camsweep.methods.base import Batch, make_config
from camsweep.methods.correlation import prcm, resize, spatial_gather
from camsweep.methods.correlation_net import CorrelationNet
from camsweep.methods.pair import shares
from camsweep.methods.patches import Pair


def replay(golden: Golden) -> Iterator[tuple[str, Any]]:
    config = make_config({"method": "cpn", "prcm_layout": "code"})
    assert isinstance(config, cpn.CpnConfig)
    net = CorrelationNet(config, CLASSES)
    parameters = golden.load(net)
    yield from forward_pass(golden, net)
    yield from pixel_correlation(golden, net)
    yield from _region_correlation(golden, net)

    pair = _pair(golden)
    batch = Batch(golden.tensor("in/image"), golden.tensor("in/label"), None, torch.Generator())
    yield from _parts(net, batch, pair, config)
    net.zero_grad()
    with patch.object(cpn, "draw_pair", lambda batch, config: pair):
        found = cpn.losses(net, batch, config, 1)
    yield "loss/loss_cls_norvmin", found["cls"]
    yield "loss/loss_cls", found["cls"] + found["min_pool"]
    yield "loss/loss_tcp_all", found["tcp"]
    yield "loss/loss_cpcr", found["cpcr"]
    yield "loss/loss", found["loss"]
    found["loss"].backward()
    yield from gradients(parameters).items()


def _pair(golden: Golden) -> Pair:
    """The stored pair; its lambda is counted from the stored mask by our code's own rule."""
    kept = golden.tensor("in/mask8x8").bool()
    image = golden.array("in/image").shape
    cell = image[-1] // kept.shape[-1]
    full = kept.repeat_interleave(cell, 1).repeat_interleave(cell, 2)[:, None]
    return Pair(full, golden.tensor("in/ctri").float())


@torch.no_grad()
def _region_correlation(golden: Golden, net: CorrelationNet) -> Iterator[tuple[str, Any]]:
    head = net.correlation
    assert head is not None
    features = golden.tensor("in/pcm_f")
    gathered = spatial_gather(features, golden.tensor("in/pcm_cam"))[..., None]
    yield "out/spatial_gather", gathered
    classes = functional.relu(head.phi(gathered))[..., 0]
    yield "out/prcm", prcm(classes, functional.relu(head.g(features)), head.layout)


@torch.no_grad()
def _parts(
    net: CorrelationNet, batch: Batch, pair: Pair, config: cpn.CpnConfig
) -> Iterator[tuple[str, Any]]:
    """What the losses compare, and their terms one by one."""
    images = batch.images
    size = (images.shape[-2], images.shape[-1])
    found = net(torch.cat([images, *pair.split(images)]))
    labels, mask = batch.labels, batch.labels[:, :, None, None]
    scores, refined = resize(found.scores, size), resize(found.refined[:, 1:], size)
    pooled = resize(all_scores(net, found.features.last), size).mean((2, 3), keepdim=True)
    for tail, own, best, every in zip(
        ("", "1", "2"), scores.chunk(3), refined.chunk(3), pooled.chunk(3), strict=True
    ):
        yield f"loss/cls_img{tail}", terms.classification(own, labels)
        yield f"loss/loss_rvmin{tail}", terms.min_pooling(best * mask)
        yield f"mid/l{tail}", every

    share = shares(pair, images.device)
    thrice = labels.repeat(3, 1)
    raw, better = (cpn.weighted_maps(m, thrice, share).chunk(3) for m in (scores, refined))
    yield "loss/loss_tcp", terms.tcp(*raw)
    yield "loss/loss_tcp_improved", terms.tcp(*better)
    whole, *halves = (terms.with_background(m) for m in raw)
    others = [terms.with_background(m) for m in better]
    for tail, own, other in zip(("", "1", "2"), (whole, *halves), others, strict=True):
        yield f"mid/cam{tail}", own
        yield f"mid/cam_improved{tail}", other
    yield "loss/loss_cpcr1_ohem", _cross(whole - halves[0], others[2], config)
    yield "loss/loss_cpcr2_ohem", _cross(whole - halves[1], others[1], config)


def _cross(target: Tensor, refined: Tensor, config: cpn.CpnConfig) -> Tensor:
    return terms.mean_hardest((terms.one_hot(target, config.onehot) - refined).abs())
