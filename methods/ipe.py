"""IPE and GSC: SIPE's two parts, for any method.

IPE (image-specific prototype exploration) localizes with prototypes that each image gives itself:
seeds, one prototype a class, and maps of likeness to them, the IS-CAMs (methods.prototypes). It
needs no training, so ``ipe: true`` on a trained baseline only changes how it is localized. GSC
(general-specific consistency) is the loss that pulls class maps and IS-CAMs together in training.

Source: Chen et al., CVPR 2022, and the authors' code; it is said where the two differ.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from pydantic import model_validator
from torch import Tensor, nn

from camsweep.methods.base import Batch, Output
from camsweep.methods.config import Stage, TrialConfig, setting, switched
from camsweep.methods.correlation import resize
from camsweep.methods.normalize import background, normalise_test
from camsweep.methods.prototypes import (
    HierarchicalFeature,
    argmax_seeds,
    class_maps,
    class_mask,
    class_prototypes,
    joined_levels,
    prototype_maps,
    structure_seeds,
    threshold_seeds,
)

FeatureKind = Literal["semantic", "levels", "hierarchical"]

# What makes seeds, prototypes and IS-CAMs: part of the training only where GSC trains on them.
_PROTOTYPES = frozenset(
    {"seeds", "seed_threshold", "attenuation", "background_weight", "proto_features", "bpm"}
)


class IpeConfig(TrialConfig):
    """Settings of IPE and GSC; the defaults are those of SIPE's released code.

    ``proto_features`` follows ``gsc``, which alone trains the hierarchical feature; without it
    IPE uses the last features (``semantic``), as the row "CAM + IPE" of SIPE's table 4. ``levels``
    is ours: the hierarchical feature without its convolutions, so with nothing to train.
    ``seed_features`` follows ``proto_features``, as in the released inference, whose training takes
    the last features (``train_seed_features``).
    """

    ipe: bool = setting(False, stage="localize", help="make IS-CAMs at test time")
    gsc: bool = setting(False, stage="train", help="consistency of class maps and IS-CAMs")
    w_gsc: float = setting(1.0, stage="train", help="weight of GSC", gt=0)
    seeds: Literal["structure", "threshold", "argmax"] = setting(
        "structure", stage="train", help="what makes the seeds of the prototypes"
    )
    seed_threshold: float = setting(
        0.3, stage="train", help="a seed's class map is above this (seeds: threshold)", ge=0, lt=1
    )
    attenuation: float = setting(
        1.0, stage="train", help="alpha of the background map; paper < 1, code 1", gt=0, le=1
    )
    background_weight: float = setting(
        0.5, stage="train", help="factor on the background's structure similarity", ge=0, le=1
    )
    proto_features: FeatureKind = setting(
        "semantic", stage="train", help="features of prototypes; default hierarchical with gsc"
    )
    bpm: bool = setting(True, stage="train", help="background prototype modelling")
    train_seed_features: Literal["semantic", "prototypes"] = setting(
        "semantic", stage="train", help="features of seeds in training; or as proto_features"
    )
    seed_features: FeatureKind = setting(
        "semantic", stage="localize", help="features of seeds at test time; as proto_features"
    )
    pseudo_labels: Literal["estimated", "threshold"] = setting(
        "estimated", stage="evaluate", help="background from the IS-CAMs' own, or a threshold"
    )

    @model_validator(mode="before")
    @classmethod
    def _features_that_follow(cls, values: Any) -> Any:
        """Fill the features that nobody named."""
        if not isinstance(values, dict):
            return values
        filled = dict(values)
        trained = switched(cls, filled, "gsc")
        kind = filled.setdefault("proto_features", "hierarchical" if trained else "semantic")
        filled.setdefault("seed_features", kind)
        return filled

    @model_validator(mode="after")
    def _hierarchy_is_trained(self) -> IpeConfig:
        if self.proto_features == "hierarchical" and not self.gsc:
            raise ValueError("proto_features: hierarchical needs gsc: true; set semantic or levels")
        if self.seed_features == "hierarchical" and self.proto_features != "hierarchical":
            raise ValueError(
                "seed_features: hierarchical needs proto_features: hierarchical; set levels"
            )
        return self

    def map_names(self) -> tuple[str, ...]:
        """The maps made at test time; IS-CAMs come last."""
        return (*super().map_names(), "is_cam") if self.ipe else super().map_names()

    def backed_maps(self) -> tuple[str, ...]:
        """IS-CAMs have a prototype of the background."""
        return (*super().backed_maps(), "is_cam") if self.ipe else super().backed_maps()

    def stages_now(self) -> dict[str, Stage]:
        """Without GSC the prototypes change nothing before the localization."""
        found = super().stages_now()
        return found if self.gsc else found | dict.fromkeys(_PROTOTYPES, "localize")

    def inactive(self) -> set[str]:
        """Fields that cannot change the outcome under the other values."""
        names = super().inactive()
        if not self.gsc:
            names |= {"w_gsc", "train_seed_features"}
        if self.seeds != "structure" or self.proto_features == "semantic":
            names.add("train_seed_features")
        if not self.ipe:
            names |= {"seed_features", "pseudo_labels"}
        if not (self.ipe or self.gsc):
            names |= _PROTOTYPES
        if self.seeds != "threshold":
            names.add("seed_threshold")
        elif not self.gsc:
            names.add("attenuation")
        if self.seeds != "structure":
            names |= {"background_weight", "seed_features"}
        return names


class Prototyped(NamedTuple):
    """Seeds [N, C, h, w], prototypes [N, C, D] and IS-CAMs [N, C, h, w] of a batch."""

    seeds: Tensor
    prototypes: Tensor
    maps: Tensor


def attach(net: nn.Module, config: IpeConfig) -> None:
    """Give the network ``hierarchy``, the hierarchical feature, where the config uses it."""
    if config.proto_features == "hierarchical":
        backbone: Any = net.backbone
        net.add_module("hierarchy", HierarchicalFeature(backbone.level_channels))


def features_of(net: nn.Module, out: Output, kind: FeatureKind) -> Tensor:
    """The last features, the four levels joined, or SIPE's hierarchical feature.

    The last features are not detached: where prototypes are made of them in training (SIPE's table
    5, "semantic"), GSC reaches the backbone from both sides. The paper does not say; our reading.

    Returns:
        Float32 [N, D, h, w].
    """
    if kind == "semantic":
        return out.features.last.float()
    if kind == "levels":
        return joined_levels([level.detach() for level in out.features.levels])
    hierarchy: Any = net.hierarchy
    features: Tensor = hierarchy(out.features.levels)
    return features


def prototype_features(net: nn.Module, out: Output, config: IpeConfig) -> Tensor:
    """F: the features of the prototypes and IS-CAMs, see ``features_of``."""
    return features_of(net, out, config.proto_features)


def prototype_cams(
    maps: Tensor, seed_features: Tensor, features: Tensor, mask: Tensor, config: IpeConfig
) -> Prototyped:
    """Seeds, prototypes and IS-CAMs of class maps.

    Without ``bpm`` there are no background seeds, so the background's prototype and IS-CAM are 0
    (``own_background`` fills the map).

    Args:
        maps: M [N, C, h, w].
        seed_features: what structure-aware seeds compare, [N, ., h, w].
        features: F, what prototypes are made of, [N, D, h, w].
        mask: which class may have seeds where, [N, C, h, w] or [N, C, 1, 1].
        config: the rule of the seeds, its numbers, ``bpm``.
    """
    if config.seeds == "structure":
        seeds = structure_seeds(seed_features, maps, mask, config.background_weight)
    elif config.seeds == "threshold":
        seeds = threshold_seeds(maps, mask, config.seed_threshold)
    else:
        seeds = argmax_seeds(maps, mask)
    if not config.bpm:
        seeds = torch.cat([torch.zeros_like(seeds[:, :1]), seeds[:, 1:]], 1)
    prototypes = class_prototypes(features, seeds)
    return Prototyped(seeds, prototypes, prototype_maps(features, prototypes))


def own_background(cams: Tensor, config: IpeConfig) -> Tensor:
    """IS-CAMs [N, C, h, w] with their background: the prototype's, or else what is left over.

    Without background prototype modelling it is 1 - the best foreground IS-CAM, each divided by
    its maximum: eq. 2 applied to the IS-CAMs. The paper does not say; our reading.
    """
    if config.bpm:
        return cams
    foreground = cams[:, 1:]
    return torch.cat([background(normalise_test(foreground, "max")), foreground], 1)


def gsc_term(net: nn.Module, out: Output, batch: Batch, config: IpeConfig) -> Tensor:
    """L_GSC: mean |M - IS-CAM| over images, all classes and places (SIPE eq. 8).

    Neither side is detached. As released, M is 0 in the padding of a crop while the IS-CAM, divided
    by its maximum, is compared there too. Not weighted; ``out`` is the output for the batch.
    """
    features = prototype_features(net, out, config)
    size = (features.shape[-2], features.shape[-1])
    maps = class_maps(out.scores, batch.labels, batch.valid, config.attenuation, size)
    mask = class_mask(batch.labels, batch.valid, size)
    same = config.train_seed_features == "prototypes"
    seed_features = features if same else resize(out.features.last, size)
    cams = prototype_cams(maps, seed_features, features, mask, config).maps
    return (maps - own_background(normalise_test(cams, "max"), config)).abs().mean()


def prototype_localize(
    net: nn.Module, out: Output, labels: Tensor, config: IpeConfig
) -> dict[str, Tensor]:
    """IS-CAMs of one test scale; scores and features of the mirrored twin are added before seeds.

    As released, absent classes compete for seeds but keep none.

    Args:
        net: with ``hierarchy`` if the config uses it.
        out: of the images, or if ``config.flip_test`` of [images, mirrored images].
        labels: [N, C-1] of 0 and 1.
        config: ``flip_test``, and how seeds and prototypes are made.

    Returns:
        ``is_cam`` [N, C, h, w] within 0..1, background first; 0 for absent classes.
    """
    kinds = (config.proto_features, config.seed_features)
    found = [out.scores, *(features_of(net, out, kind) for kind in dict.fromkeys(kinds))]
    if config.flip_test:
        found = [first + second.flip(-1) for first, second in (part.chunk(2) for part in found)]
    features = found[1]
    size = (features.shape[-2], features.shape[-1])
    maps = class_maps(found[0], attenuation=config.attenuation, size=size)
    seed_features = resize(found[-1], size)
    cams = prototype_cams(maps, seed_features, features, class_mask(labels), config).maps
    return {"is_cam": own_background(cams, config)}
