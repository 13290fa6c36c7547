"""Complementary pairs as a component: settings, draws, and the terms that any method can add.

CPN owns the full use of pairs (methods.cpn). Any other method gets the pair's classification and
triplet consistency on its raw maps by ``pair: true``, which no released code offers.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from camsweep.methods import losses as terms
from camsweep.methods.base import Batch, Output
from camsweep.methods.config import SuperpixelSettings, TrialConfig, setting, switched
from camsweep.methods.correlation import resize
from camsweep.methods.normalize import max_norm
from camsweep.methods.patches import Pair, cell_size, grid_pair, superpixel_pair

_GRID = frozenset({"grid_sizes"})
_SUPERPIXEL = frozenset({"s_n", "compactness", "superpixel_scaling", "hiding"})


class PairConfig(TrialConfig):
    """Settings of complementary pairs.

    Where CPN's paper and code disagree: ``s_n`` is the paper's 200 (released file: 300); ``hiding``
    is the paper's Bernoulli draw, so that ``p_h`` is the hidden share (the code's draw hides
    1 - exp(-p_h)). ``lam`` is what both do: regions for grids, pixels for superpixels.

    A part that was not named goes off with the part it needs (``pair: false`` takes TCP along); one
    that is named ``true`` without it is refused.
    """

    #: Which part cannot be on without which, and which not without any of several.
    NEEDS: ClassVar[tuple[tuple[str, str], ...]] = (("tcp", "pair"),)
    NEEDS_ANY: ClassVar[tuple[tuple[str, tuple[str, ...]], ...]] = ()

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

    pair: bool = setting(False, stage="train", help="classify the hidden pair too")
    tcp: bool = setting(True, stage="train", help="triplet consistency; off without pair")
    w_tcp: float = setting(1.0, stage="train", help="weight of TCP", gt=0)
    renormalise_pair: bool = setting(
        False, stage="train", help="TCP: weighted pair divided by its maximum"
    )
    ramp: float = setting(
        0.0, stage="train", help="consistency terms rise over this share of training", ge=0, le=1
    )
    loss_size: Literal["crop", "map"] = setting(
        "crop", stage="train", help="compare maps at the crop's size, or as the network gives them"
    )

    @model_validator(mode="before")
    @classmethod
    def _parts_that_follow(cls, values: Any) -> Any:
        """Fill what nobody named: lambda's rule by the patches, parts off with what they need."""
        if not isinstance(values, dict):
            return values
        filled = dict(values)
        if filled.get("patches") == "grid":
            filled.setdefault("lam", "cells")
        for part, bases in (*_single(cls.NEEDS), *cls.NEEDS_ANY, *_single(cls.NEEDS)):
            if not any(switched(cls, filled, base) for base in bases):
                filled.setdefault(part, False)
        return filled

    @field_validator("grid_sizes")
    @classmethod
    def _ascending(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(sizes))  # each is equally likely, so their order means nothing

    @model_validator(mode="after")
    def _parts_with_what_they_need(self) -> PairConfig:
        for part, bases in (*_single(self.NEEDS), *self.NEEDS_ANY):
            if getattr(self, part) and not any(getattr(self, base) for base in bases):
                wanted = " or ".join(f"{base}: true" for base in bases)
                raise ValueError(f"{part}: true needs {wanted}; set {part}: false")
        return self

    def superpixels(self) -> SuperpixelSettings | None:
        """SLIC's settings, where superpixel pairs are drawn."""
        if not self.pair or self.patches == "grid" or self.epochs == 0:
            return None
        return SuperpixelSettings(self.s_n, self.compactness, self.superpixel_scaling)

    def inactive(self) -> set[str]:
        """Fields that cannot change the outcome under the other values."""
        names = super().inactive()
        names |= _SUPERPIXEL if self.patches == "grid" else _GRID
        if not self.pair:
            names |= _GRID | _SUPERPIXEL | {"patches", "p_h", "lam", "tcp"}
        if not self.tcp:
            names |= {"w_tcp", "renormalise_pair"}
        if not self.consistent:
            names |= {"lam", "ramp", "loss_size"}
        return names

    @property
    def consistent(self) -> bool:
        """Whether some term compares maps, so that lambda, ramp and loss size matter."""
        return self.tcp

    def ramped(self, progress: float) -> float:
        """The factor 0..1 of the consistency terms at ``progress`` 0..1 of the training."""
        return min(1.0, progress / self.ramp) if self.ramp > 0 else 1.0


def _single(rules: tuple[tuple[str, str], ...]) -> list[tuple[str, tuple[str, ...]]]:
    return [(part, (base,)) for part, base in rules]


def draw_pair(batch: Batch, config: PairConfig) -> Pair:
    """The complementary pair of each image of a batch."""
    if config.patches == "grid":
        crop = batch.images.shape[-1]
        sizes = [cell_size(k, crop) for k in config.grid_sizes]
        return grid_pair(batch.images, sizes, config.p_h, config.lam, batch.generator, batch.part)
    if batch.superpixels is None:
        raise ValueError("patches: superpixel needs superpixels in the batch")
    return superpixel_pair(
        batch.superpixels,
        config.p_h,
        config.hiding,
        config.lam,
        batch.generator,
        batch.part,
        batch.regions,
    )


def shares(pair: Pair, device: torch.device) -> Tensor:
    """1, lambda and 1 - lambda of the batch [original, shown, hidden], [3N, 1, 1, 1]."""
    share = pair.lam.to(device)
    return torch.cat([torch.ones_like(share), share, 1 - share])[:, None, None, None]


def comparison_size(images: Tensor, scores: Tensor, config: PairConfig) -> tuple[int, int]:
    """(H, W) at which maps are compared: the crop's, or the network's own."""
    size = images.shape[-2:] if config.loss_size == "crop" else scores.shape[-2:]
    return size[0], size[1]


def pair_terms(
    net: nn.Module, batch: Batch, config: PairConfig, progress: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """What a pair adds to a method's loss: classification of both halves, and TCP of raw maps.

    Args:
        net: any method's network.
        batch: with superpixels where the patches are some.
        config: which patches and terms.
        progress: share of the training that is done, for ``ramp``.

    Returns:
        The weighted sum, and the unweighted terms ``pair_cls`` and ``tcp``.
    """
    pair = draw_pair(batch, config)
    whole: Output = batch.output(net)
    halves: Output = net(torch.cat(pair.split(batch.images)))
    labels = batch.labels.repeat(2, 1)
    total = terms.classification(halves.scores, labels)
    values = {"pair_cls": total}
    if config.tcp:
        size = comparison_size(batch.images, halves.scores, config)
        scores = resize(torch.cat([whole.scores, halves.scores]), size)
        mask = batch.labels.repeat(3, 1)[:, :, None, None]
        maps = max_norm(scores) * mask * shares(pair, scores.device)
        first, second, third = maps.chunk(3)
        values["tcp"] = terms.tcp(
            first, second.detach(), third.detach(), renormalise=config.renormalise_pair
        )
        total = total + config.ramped(progress) * config.w_tcp * values["tcp"]
    return total, values
