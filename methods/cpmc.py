"""CPMC, our reading: classifier-prototype mutual calibration (Wang et al., IEEE TCSVT 2024).

Only the abstract is public: no code, equation, table or number. It claims that (a) classifier CAMs
are refined again and again by context feature dependency, (b) refined CAMs give better prototype
CAMs, and (c) local prototypes from false-negative and false-positive regions, found in the two
CAMs, complete objects and suppress background. Every formula here is ours; network, recipe and
hierarchical feature F are SIPE's, constants where possible those of SFC and POT (same group).

    M = class maps;  R = M, background too, spread T times by cosines of F above tau
    G = IS-CAM of prototypes from the seeds of R
    FN = G high, R low;  FP = G not low, R says background;  G+, G- = maps of their prototypes
    M~ = ReLU(max(G, G+) - gamma G-);  L = L_cls + mu mean |R - M~|;  final map = R + 0.7 M~
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import model_validator
from torch import Tensor, nn

from camsweep.methods import context
from camsweep.methods.base import Batch, Method, Output
from camsweep.methods.cam import CamNet
from camsweep.methods.config import Fraction, Stage, setting
from camsweep.methods.correlation import resize
from camsweep.methods.ipe import own_background, prototype_cams, prototype_features
from camsweep.methods.losses import classification
from camsweep.methods.normalize import normalise_test
from camsweep.methods.pair import PairConfig
from camsweep.methods.prototypes import class_maps, class_mask, weigh_background
from camsweep.methods.sipe import SipeConfig

_LOCAL = frozenset({"t_high", "t_low", "gamma", "min_region"})
_PARTS = _LOCAL | {
    "refine_steps",
    "context",
    "tau",
    "global_prototype",
    "false_negatives",
    "false_positives",
}
_PROTOTYPES = frozenset(
    {"seeds", "seed_threshold", "attenuation", "background_weight", "proto_features", "bpm"}
)


class CpmcConfig(SipeConfig):
    """CPMC's settings; what it shares with SIPE has SIPE's defaults.

    ``gsc`` is the mutual calibration loss here, which takes the place of SIPE's consistency, and
    ``w_gsc`` is its weight mu. Seeds are the refined map's best classes, its background weighed by
    ``background_weight`` 0.3 as in SFC. Context is what is alike in F, above POT's ``tau`` 0.8;
    SFC's learned embedding g of image and last features is the other choice, and spreads maps
    further. A part that was not named goes off with the part it needs (``global_prototype: false``
    takes all but the context refinement along).
    """

    NEEDS: ClassVar[tuple[tuple[str, str], ...]] = (
        *PairConfig.NEEDS,
        ("false_negatives", "global_prototype"),
        ("false_positives", "global_prototype"),
        ("gsc", "global_prototype"),
    )

    method: Literal["cpmc"] = setting(  # type: ignore[assignment]
        "cpmc", stage="train", help="file in camsweep/methods"
    )
    ipe: bool = setting(False, stage="localize", help="off: its own maps take their place")
    gsc: bool = setting(True, stage="train", help="mutual calibration loss")
    w_gsc: float = setting(1.0, stage="train", help="mu: weight of mutual calibration", gt=0)
    seeds: Literal["structure", "threshold", "argmax"] = setting(
        "argmax", stage="train", help="what makes the seeds of the prototypes"
    )
    background_weight: float = setting(
        0.3, stage="train", help="factor on the background before seeds are chosen", ge=0, le=1
    )

    refine_steps: int = setting(
        2,
        stage="train",
        help="T: steps of context refinement; 0 = the classifier's CAM",
        ge=0,
        le=8,
    )
    context: Literal["features", "learned"] = setting(
        "features", stage="train", help="what is alike: the prototypes' features, or g of the last"
    )
    tau: float = setting(
        0.8, stage="train", help="context below this cosine does not count; 0 = all", ge=0, lt=1
    )
    global_prototype: bool = setting(True, stage="train", help="prototype CAM of the whole image")
    false_negatives: bool = setting(
        True, stage="train", help="local prototypes where the classifier misses a class"
    )
    false_positives: bool = setting(
        True, stage="train", help="local prototypes where the prototype leaks on background"
    )
    t_high: Fraction = setting(0.5, stage="train", help="prototype map of a false negative")
    t_low: Fraction = setting(
        0.25,
        stage="train",
        help="classifier map of a false negative; prototype map of a false positive",
    )
    gamma: float = setting(0.5, stage="train", help="factor on what leaked", gt=0, le=4)
    min_region: int = setting(4, stage="train", help="places of a region with a prototype", ge=1)
    w_prototype: float = setting(
        0.7, stage="localize", help="weight of the calibrated map in the final one", ge=0, le=4
    )

    @model_validator(mode="after")
    def _own_maps_in_order(self) -> CpmcConfig:
        if self.ipe:
            raise ValueError("ipe: true is not for cpmc, which makes prototype maps of its own")
        if self.refine_steps and self.context == "learned" and not self.gsc:
            raise ValueError("context: learned needs gsc: true, which trains it; set features")
        if self.false_negatives and self.t_low > self.t_high:
            raise ValueError(f"t_low must be at most t_high ({self.t_high:g})")
        return self

    @property
    def refines(self) -> bool:
        """Whether there is more than the classifier's CAM."""
        return self.refine_steps > 0 or self.global_prototype

    def backed_maps(self) -> tuple[str, ...]:
        """What is calibrated has the background that it began with."""
        return (*super().backed_maps(), "refined") if self.refines else super().backed_maps()

    def stages_now(self) -> dict[str, Stage]:
        """Without the mutual loss its parts change nothing before the localization."""
        found = super().stages_now()
        return found if self.gsc else found | dict.fromkeys(_PARTS, "localize")

    def inactive(self) -> set[str]:
        """Fields that cannot change the outcome under the other values."""
        used = {"attenuation", "pseudo_labels"} if self.refines else set()
        if self.refine_steps:
            used.add("proto_features")  # what the context is made of, and the grid of the maps
        if self.global_prototype:
            used |= {"seeds", "proto_features", "bpm"}
            used.add("seed_threshold" if self.seeds == "threshold" else "background_weight")
        names = (super().inactive() | _PROTOTYPES | {"train_seed_features"}) - used
        if self.refine_steps == 0:
            names |= {"context", "tau"}
        if not self.global_prototype:
            names.add("w_prototype")
        if not self.false_negatives:
            names.add("t_high")
        if not self.false_positives:
            names.add("gamma")
        if not (self.false_negatives or self.false_positives):
            names |= _LOCAL
        return names


class Calibrated(NamedTuple):
    """R and M~, both [N, C, h, w] within 0..1, background first; no M~ without prototypes."""

    classifier: Tensor
    prototype: Tensor | None


def build(config: CpmcConfig, classes: int) -> nn.Module:
    """The baseline's network, with g where the context is learned.

    g (``context``) maps the image (3 channels) and the last features to as many channels as these
    have (SFC).
    """
    net = CamNet(config.backbone, classes)
    if config.refine_steps and config.context == "learned":
        channels = net.backbone.channels
        embed = nn.Conv2d(3 + channels, channels, 1, bias=False)
        nn.init.xavier_uniform_(embed.weight)
        net.add_module("context", embed)
    return net


def calibrate(
    net: nn.Module,
    images: Tensor,
    parts: tuple[Tensor, Tensor, Tensor],
    labels: Tensor,
    config: CpmcConfig,
    valid: Tensor | None = None,
) -> Calibrated:
    """Both maps of a batch, refined and calibrated.

    Args:
        net: with ``context`` where it is learned.
        images: [N, 3, H, W].
        parts: class scores [N, C-1, ., .]; F, the features of prototypes [N, D, h, w], whose grid
            everything else is brought to; and the last features [N, ., ., .]. What the context is
            made of is detached: a loss on R trains the scores (and g), not the features.
        labels: [N, C-1] of 0 and 1.
        config: which parts, and their numbers.
        valid: bool [N, H, W], False in the padding of the crop.
    """
    scores, features, last = parts
    size = (features.shape[-2], features.shape[-1])
    last = resize(last.detach(), size)
    mask = class_mask(labels, valid, size)
    refined = class_maps(scores, labels, valid, config.attenuation, size)
    if config.refine_steps:
        embedded = features.detach()
        if config.context == "learned":
            embed: Any = net.context
            embedded = embed(torch.cat([resize(images, size).to(last.dtype), last], 1))
        refined = context.refine(refined, embedded, config.refine_steps, config.tau) * mask
    if not config.global_prototype:
        return Calibrated(refined, None)

    start = refined.detach()
    if config.seeds == "argmax":
        start = weigh_background(start, config.background_weight)
    cams = prototype_cams(start, last, features, mask, config).maps
    cams = own_background(normalise_test(cams, "max"), config) * mask
    disputed = context.disputed_regions(
        refined.detach(), cams.detach(), mask, config.t_high, config.t_low
    )
    missed, leaked = (
        context.local_maps(features, regions, config.min_region) if used else None
        for regions, used in zip(
            disputed, (config.false_negatives, config.false_positives), strict=True
        )
    )
    prototype = context.calibrated_maps(cams, missed, leaked, config.gamma)
    return Calibrated(refined, own_background(prototype, config) * mask)


def losses(net: nn.Module, batch: Batch, config: CpmcConfig, progress: float) -> dict[str, Tensor]:
    """L = L_cls + mu L_mutual and its terms.

    Mutual calibration asks R to be like M~ held fixed, and M~ to be like R held fixed. The gradient
    of both L1 terms together is that of one mean |R - M~| with neither held fixed (SIPE's form), so
    this is what is computed. Regions and seeds give no gradient; padding is left out of both maps.
    """
    out = batch.output(net)
    total = classification(out.scores, batch.labels)
    values = {"cls": total}
    if config.gsc:
        parts = (out.scores, prototype_features(net, out, config), out.features.last)
        found = calibrate(net, batch.images, parts, batch.labels, config, batch.valid)
        assert found.prototype is not None
        values["mutual"] = (found.classifier - found.prototype).abs().mean()
        total = total + config.w_gsc * values["mutual"]
    return {"loss": total, **values}


def joint_maps(
    net: nn.Module, images: Tensor, out: Output, labels: Tensor, config: CpmcConfig
) -> dict[str, Tensor]:
    """The final map of one scale; scores and features of the mirrored twin are averaged in first.

    Args:
        net: the trained network.
        images: [N, 3, H, W], not mirrored.
        out: of the images, or if ``config.flip_test`` of [images, mirrored images].
        labels: [N, C-1] of 0 and 1.
        config: ``flip_test`` and the parts.

    Returns:
        ``refined``: R + w_prototype M~ [N, C, h, w] >= 0, background first; nothing where no part
        is on.
    """
    if not config.refines:
        return {}
    parts = (out.scores, prototype_features(net, out, config), out.features.last)
    if config.flip_test:
        halves = (part.chunk(2) for part in parts)
        scores, features, last = ((first + second.flip(-1)) / 2 for first, second in halves)
        parts = (scores, features, last)
    found = calibrate(net, images, parts, labels, config)
    if found.prototype is None:
        return {"refined": found.classifier}
    return {"refined": found.classifier + config.w_prototype * found.prototype}


METHOD = Method(
    "cpmc",
    "CPMC (our reading)",
    CpmcConfig,
    build,
    losses,
    joint_maps,
    owns=frozenset({"gsc"}),
)
