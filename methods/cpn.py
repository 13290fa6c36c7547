"""CPN: Complementary Patch for weakly supervised segmentation (Zhang et al., ICCV 2021).

An image is cut into patches and split into two images that hide each other's patches. The maps of
the three images must agree (TCP, CPCR), and PCM and PRCM refine them. The original and both hidden
images pass the backbone as one batch.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from camsweep.methods import losses as terms
from camsweep.methods.backbones import Features, build_backbone
from camsweep.methods.base import Batch, Method, SuperpixelSettings, TrialConfig, setting
from camsweep.methods.correlation import Correlation, resize
from camsweep.methods.normalize import correlation_input, max_norm
from camsweep.methods.patches import Pair, cell_size, grid_pair, superpixel_pair

# Which part cannot be on without which. CPCR needs PCM because its raw maps are detached.
NEEDS = (("tcp", "pair"), ("cpcr", "pair"), ("prcm", "pcm"), ("cpcr", "pcm"), ("ohem", "cpcr"))


class CpnConfig(TrialConfig):
    """CPN's settings; the defaults gave the published 57.43 as far as paper and code tell.

    Where both disagree: ``s_n`` is the paper's 200 (released file: 300); ``hiding`` is the paper's
    Bernoulli draw, so that ``p_h`` is the hidden share (the code's draw hides 1 - exp(-p_h));
    ``prcm_layout`` is the paper's transpose (the code reinterprets memory, needed for released
    weights); ``min_pool`` is on as in the code that trained the published model (paper: absent).
    ``lam`` is what both do: regions for grids, pixels for superpixels.

    A part that was not named goes off with the part it needs (``pair: false`` takes TCP, CPCR and
    OHEM along); one that is named ``true`` without it is refused.
    """

    method: Literal["cpn"] = setting("cpn", stage="train", help="file in camsweep/methods")
    map: Literal["raw", "refined"] = setting(
        "refined", stage="evaluate", help="the map of the headline metric"
    )

    patches: Literal["grid", "superpixel"] = setting(
        "superpixel", stage="train", help="shape of the patches"
    )
    grid_sizes: tuple[Annotated[int, Field(ge=1, le=448)], ...] = setting(
        (56, 112), stage="train", help="K: cell sides, pixels of a 448 crop", min_length=1
    )
    s_n: int = setting(200, stage="train", help="S_N: superpixels asked for", ge=2)
    compactness: float = setting(10.0, stage="train", help="SLIC compactness", gt=0)
    superpixel_scaling: Literal["modern", "released"] = setting(
        "modern", stage="train", help="SLIC's input range: min-max (skimage >= 0.19) or as it is"
    )
    p_h: float = setting(0.5, stage="train", help="probability that a patch is hidden", gt=0, lt=1)
    hiding: Literal["bernoulli", "with_replacement"] = setting(
        "bernoulli", stage="train", help="hiding of superpixels: paper's or released draw"
    )
    lam: Literal["cells", "pixels"] = setting(
        "pixels", stage="train", help="lambda counts; default cells for grids, else pixels"
    )

    pair: bool = setting(True, stage="train", help="classify the hidden pair too")
    tcp: bool = setting(True, stage="train", help="triplet consistency")
    cpcr: bool = setting(True, stage="train", help="complementary cross regularisation")
    ohem: bool = setting(True, stage="train", help="hardest 20 % only in CPCR")
    pcm: bool = setting(True, stage="train", help="pixel correlation module")
    prcm: bool = setting(True, stage="train", help="pixel-region correlation module")
    min_pool: bool = setting(True, stage="train", help="min-pooling term of the released L_cls")
    w_tcp: float = setting(1.0, stage="train", help="weight of TCP", gt=0)
    w_cpcr: float = setting(1.0, stage="train", help="weight of CPCR", gt=0)
    prcm_layout: Literal["paper", "code"] = setting(
        "paper", stage="train", help="phi(Z) transposed, or memory reinterpreted"
    )
    onehot: Literal["code", "seam", "none"] = setting(
        "code", stage="train", help="CPCR target: max of all channels, of foreground, or as is"
    )
    loss_size: Literal["crop", "map"] = setting(
        "crop", stage="train", help="compare maps at the crop's size, or as the network gives them"
    )

    ramp: float = setting(
        0.0, stage="train", help="TCP and CPCR rise over this share of the training", ge=0, le=1
    )
    renormalise_pair: bool = setting(
        False, stage="train", help="TCP: weighted pair divided by its maximum"
    )
    detach_target: bool = setting(
        True, stage="train", help="CPCR: raw maps give no gradient (released code)"
    )
    centre_features: bool = setting(
        False, stage="train", help="PCM, PRCM: embeddings minus their mean"
    )
    pcm_stride: int = setting(1, stage="train", help="PCM, PRCM on coarser maps", ge=1, le=8)

    @model_validator(mode="before")
    @classmethod
    def _defaults_that_follow(cls, values: Any) -> Any:
        """Fill what nobody named: lambda's rule by the patches, parts off with what they need."""
        if not isinstance(values, dict):
            return values
        filled = dict(values)
        if filled.get("patches") == "grid":
            filled.setdefault("lam", "cells")
        for part, base in NEEDS:
            if filled.get(base, True) is False:
                filled.setdefault(part, False)
        return filled

    @field_validator("grid_sizes")
    @classmethod
    def _ascending(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(sizes))  # each is equally likely, so their order means nothing

    @model_validator(mode="after")
    def _feasible(self) -> CpnConfig:
        for part, base in NEEDS:
            if getattr(self, part) and not getattr(self, base):
                raise ValueError(f"{part}: true needs {base}: true; set {part}: false")
        return self

    @property
    def refines(self) -> bool:
        """PCM gives the refined map."""
        return self.pcm

    def superpixels(self) -> SuperpixelSettings | None:
        """SLIC's settings, where superpixel pairs are drawn."""
        if not self.pair or self.patches == "grid":
            return None
        return SuperpixelSettings(self.s_n, self.compactness, self.superpixel_scaling)

    def inactive(self) -> set[str]:
        """Fields that cannot change the outcome under the other values."""
        names = super().inactive()
        grid, superpixel = {"grid_sizes"}, {"s_n", "compactness", "superpixel_scaling", "hiding"}
        names |= superpixel if self.patches == "grid" else grid
        if not self.pair:
            names |= grid | superpixel | {"patches", "p_h", "lam"}
        elif not (self.tcp or self.cpcr):
            names.add("lam")
        if not self.tcp:
            names |= {"w_tcp", "renormalise_pair"}
        if not self.cpcr:
            names |= {"w_cpcr", "onehot", "detach_target"}
        if not self.pcm:
            names |= {"min_pool", "centre_features", "pcm_stride"}
        if not self.prcm:
            names.add("prcm_layout")
        if not (self.tcp or self.cpcr):
            names.add("ramp")
        return names


class Maps(NamedTuple):
    """What the network gives for a batch: class scores and refined maps, foreground only."""

    scores: Tensor
    refined: Tensor | None


class CpnNet(nn.Module):
    """Backbone, bias-free classifier over the foreground classes, and the correlation head.

    The released classifier has an output for the background as well, which nothing supervises and
    the background map replaces everywhere, so it is left out here.
    """

    def __init__(self, config: CpnConfig, classes: int) -> None:
        super().__init__()
        self.backbone = build_backbone(config.backbone)
        self.classifier = nn.Conv2d(self.backbone.channels, classes - 1, 1, bias=False)
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

    def forward(self, images: Tensor) -> Maps:
        """Scores [N, C-1, h, w] (unbounded) and refined maps of the same shape (>= 0), if any."""
        features: Features = self.backbone(images)
        scores = self.classifier(features.last).float()
        if self.correlation is None:
            return Maps(scores, None)
        refined = self.correlation(correlation_input(scores), images, features)
        return Maps(scores, refined[:, 1:].float())


def build(config: CpnConfig, classes: int) -> nn.Module:
    """The network for ``classes`` classes, background included."""
    return CpnNet(config, classes)


def draw_pair(batch: Batch, config: CpnConfig) -> Pair:
    """The complementary pair of each image of a batch."""
    if config.patches == "grid":
        crop = batch.images.shape[-1]
        sizes = [cell_size(k, crop) for k in config.grid_sizes]
        return grid_pair(batch.images, sizes, config.p_h, config.lam, batch.generator)
    if batch.superpixels is None:
        raise ValueError("patches: superpixel needs superpixels in the batch")
    return superpixel_pair(
        batch.superpixels, config.p_h, config.hiding, config.lam, batch.generator
    )


def losses(net: nn.Module, batch: Batch, config: CpnConfig, progress: float) -> dict[str, Tensor]:
    """L = L_cls + w_tcp L_tcp + w_cpcr L_cpcr and its terms.

    Args:
        net: a ``CpnNet``.
        batch: images, labels, superpixels and the generator of the hiding draws.
        config: which terms, and how.
        progress: share of the training that is done, for ``ramp``.

    Returns:
        ``loss`` and the terms ``cls``, ``min_pool``, ``tcp``, ``cpcr`` that are on, unweighted.
    """
    images, n = batch.images, len(batch.images)
    pair = draw_pair(batch, config) if config.pair else None
    # One batch of 3N: original, shown, hidden.
    views = images if pair is None else torch.cat([images, *pair.split(images)])
    found: Maps = net(views)
    size = images.shape[-2:] if config.loss_size == "crop" else found.scores.shape[-2:]
    scores = resize(found.scores, (size[0], size[1]))
    labels = batch.labels.repeat(len(views) // n, 1)
    mask = labels[:, :, None, None]

    values = {"cls": terms.classification(scores, labels)}
    refined = None
    if found.refined is not None:
        refined = resize(found.refined, (size[0], size[1]))
        if config.min_pool:
            values["min_pool"] = terms.min_pooling(refined * mask)
    total = sum(values.values(), torch.zeros((), device=images.device))

    if pair is not None and (config.tcp or config.cpcr):
        weight = min(1.0, progress / config.ramp) if config.ramp > 0 else 1.0
        share = pair.lam.to(images.device)
        whole = torch.ones_like(share)
        scale = torch.cat([whole, share, 1 - share])[:, None, None, None]
        raw = (max_norm(scores) * mask * scale).chunk(3)
        better = None
        if refined is not None:
            better = (max_norm(refined) * mask * scale).chunk(3)
        if config.tcp:
            values["tcp"] = _tcp(raw, better, config)
            total = total + weight * config.w_tcp * values["tcp"]
        if config.cpcr and better is not None:
            values["cpcr"] = _cpcr(raw, better, config)
            total = total + weight * config.w_cpcr * values["cpcr"]
    return {"loss": total, **values}


def _tcp(raw: tuple[Tensor, ...], refined: tuple[Tensor, ...] | None, config: CpnConfig) -> Tensor:
    """TCP of raw maps (no gradient to the pair, as released) and of refined ones."""
    renormalise = config.renormalise_pair
    value = terms.tcp(raw[0], raw[1].detach(), raw[2].detach(), renormalise=renormalise)
    if refined is not None:
        value = value + terms.tcp(*refined, renormalise=renormalise)
    return value


def _cpcr(raw: tuple[Tensor, ...], refined: tuple[Tensor, ...], config: CpnConfig) -> Tensor:
    whole, first, second = (
        terms.with_background(maps.detach() if config.detach_target else maps) for maps in raw
    )
    others = (terms.with_background(refined[1]), terms.with_background(refined[2]))
    return terms.cpcr(whole, (first, second), others, rule=config.onehot, ohem=config.ohem)


def maps(net: nn.Module, images: Tensor, labels: Tensor, config: CpnConfig) -> dict[str, Tensor]:
    """Raw ReLU(scores) and, with PCM, refined maps, both [N, C-1, h, w]."""
    found: Maps = net(images)
    result = {"raw": F.relu(found.scores)}
    if found.refined is not None:
        result["refined"] = found.refined
    return result


METHOD = Method("cpn", "CPN", CpnConfig, build, losses, maps)
