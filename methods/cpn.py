"""CPN: Complementary Patch for weakly supervised segmentation (Zhang et al., ICCV 2021).

An image is cut into patches and split into two images that hide each other's patches. The maps of
the three images must agree (TCP, CPCR), and PCM and PRCM refine them. The original and both hidden
images pass the backbone as one batch.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from camsweep.methods import losses as terms
from camsweep.methods.base import Batch, Method, Output
from camsweep.methods.config import setting
from camsweep.methods.correlation import resize, resized_mean
from camsweep.methods.correlation_net import CorrelationConfig, build
from camsweep.methods.normalize import max_norm
from camsweep.methods.pair import comparison_size, draw_pair, shares
from camsweep.methods.present import compared, pick


class CpnConfig(CorrelationConfig):
    """CPN's settings; the defaults gave the published 57.43 as far as paper and code tell.

    Where both disagree see ``PairConfig`` and ``CorrelationConfig``. A part that was not named goes
    off with the part it needs (``pair: false`` takes TCP, CPCR and OHEM along); one that is named
    ``true`` without it is refused. CPCR needs PCM because its raw maps are detached; PCM needs a
    term that trains it: CPCR, TCP or the min-pooling term.
    """

    NEEDS: ClassVar[tuple[tuple[str, str], ...]] = (
        *CorrelationConfig.NEEDS,
        ("cpcr", "pair"),
        ("cpcr", "pcm"),
        ("ohem", "cpcr"),
    )
    NEEDS_ANY: ClassVar[tuple[tuple[str, tuple[str, ...]], ...]] = (
        ("pcm", ("min_pool", "tcp", "cpcr")),
    )

    method: Literal["cpn"] = setting("cpn", stage="train", help="file in camsweep/methods")

    pair: bool = setting(True, stage="train", help="classify the hidden pair too")
    cpcr: bool = setting(True, stage="train", help="complementary cross regularisation")
    ohem: bool = setting(True, stage="train", help="hardest 20 % only in CPCR")
    w_cpcr: float = setting(1.0, stage="train", help="weight of CPCR", gt=0)
    onehot: Literal["code", "seam", "none"] = setting(
        "code", stage="train", help="CPCR target: max of all channels, of foreground, or as is"
    )
    detach_target: bool = setting(
        True, stage="train", help="CPCR: raw maps give no gradient (released code)"
    )

    @property
    def consistent(self) -> bool:
        """Whether some term compares maps."""
        return self.cpcr or super().consistent

    def inactive(self) -> set[str]:
        """Fields that cannot change the outcome under the other values."""
        names = super().inactive()
        if not self.cpcr:
            names |= {"w_cpcr", "onehot", "detach_target"}
        return names


def weighted_maps(maps: Tensor, labels: Tensor, share: Tensor) -> Tensor:
    """What TCP and CPCR compare: maps normalised, label-masked and scaled.

    Args:
        maps: foreground scores or refined maps [M, C-1, H, W].
        labels: [M, C-1] of 0 and 1.
        share: 1, lambda or 1 - lambda of each image, [M, 1, 1, 1].
    """
    return max_norm(maps) * labels[:, :, None, None] * share


def losses(net: nn.Module, batch: Batch, config: CpnConfig, progress: float) -> dict[str, Tensor]:
    """L = L_cls + w_tcp L_tcp + w_cpcr L_cpcr and its terms.

    Args:
        net: a ``CorrelationNet``.
        batch: images, labels, superpixels and the generator of the hiding draws.
        config: which terms, and how.
        progress: share of the training that is done, for ``ramp``.

    Returns:
        ``loss`` and the terms ``cls``, ``min_pool``, ``tcp``, ``cpcr`` that are on, unweighted.
    """
    images, n = batch.images, len(batch.images)
    # Before the network, as it waits for what a GPU has to do.
    classes = compared(batch.labels)
    pair = draw_pair(batch, config) if config.pair else None
    # One batch of 3N: original, shown, hidden.
    views = images if pair is None else torch.cat([images, *pair.split(images)])
    found: Output = batch.output(net) if pair is None else net(views)
    size = comparison_size(images, found.scores, config)
    labels = batch.labels.repeat(len(views) // n, 1)
    named = pick(labels, classes)
    scores = resize(pick(found.scores, classes), size)
    means = scores.mean((2, 3)) if classes is None else resized_mean(found.scores, size)

    values = {"cls": terms.classification_of_means(means, labels)}
    refined = None
    if found.refined is not None:
        refined = resize(pick(found.refined[:, 1:], classes), size)
        if config.min_pool:
            values["min_pool"] = terms.min_pooling(refined * named[:, :, None, None])
    total = sum(values.values(), torch.zeros((), device=images.device))

    if pair is not None and (config.tcp or config.cpcr):
        weight = config.ramped(progress)
        share = shares(pair, images.device)
        raw = weighted_maps(scores, named, share).chunk(3)
        better = None if refined is None else weighted_maps(refined, named, share).chunk(3)
        if config.tcp:
            values["tcp"] = _tcp(raw, better, config, labels.shape[1])
            total = total + weight * config.w_tcp * values["tcp"]
        if config.cpcr and better is not None:
            values["cpcr"] = _cpcr(raw, better, config, labels.shape[1])
            total = total + weight * config.w_cpcr * values["cpcr"]
    return {"loss": total, **values}


def _tcp(
    raw: tuple[Tensor, ...], refined: tuple[Tensor, ...] | None, config: CpnConfig, foreground: int
) -> Tensor:
    """TCP of raw maps (no gradient to the pair, as released) and of refined ones."""
    how: Any = {"renormalise": config.renormalise_pair, "channels": foreground}
    value = terms.tcp(raw[0], raw[1].detach(), raw[2].detach(), **how)
    return value if refined is None else value + terms.tcp(*refined, **how)


def _cpcr(
    raw: tuple[Tensor, ...], refined: tuple[Tensor, ...], config: CpnConfig, foreground: int
) -> Tensor:
    whole, first, second = (
        terms.with_background(maps.detach() if config.detach_target else maps) for maps in raw
    )
    others = (terms.with_background(refined[1]), terms.with_background(refined[2]))
    how: Any = {"rule": config.onehot, "ohem": config.ohem, "channels": foreground + 1}
    return terms.cpcr(whole, (first, second), others, **how)


METHOD = Method("cpn", "CPN", CpnConfig, build, losses, owns=frozenset({"pair"}))
