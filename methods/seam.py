"""SEAM: Self-supervised Equivariant Attention Mechanism (Wang et al., CVPR 2020).

The network sees an image and a smaller copy of it. The maps of both must agree (ER), and each map
refined by PCM must agree with the other image's raw map (ECR). Sizes, normalisation and the
min-pooling term follow the released training; the paper leaves them open.
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from camsweep.methods import losses as terms
from camsweep.methods.base import Batch, Method, Output
from camsweep.methods.config import setting
from camsweep.methods.correlation import resize
from camsweep.methods.correlation_net import CorrelationConfig, build
from camsweep.methods.normalize import max_norm
from camsweep.methods.pair import comparison_size


class SeamConfig(CorrelationConfig):
    """SEAM's settings; the defaults are the released recipe (55.41 on VOC train).

    ``prcm: true`` is SEAM* of CPN's table 1 (55.71). A part that was not named goes off with the
    part it needs; one that is named ``true`` without it is refused. ECR needs PCM because its raw
    maps give no gradient; PCM needs a term that trains it, ECR or the min-pooling term.
    """

    NEEDS: ClassVar[tuple[tuple[str, str], ...]] = (
        *CorrelationConfig.NEEDS,
        ("er", "siamese"),
        ("ecr", "siamese"),
        ("ecr", "pcm"),
        ("ohem", "ecr"),
    )
    #: Composed TCP (``pair: true``) compares raw maps.
    NEEDS_ANY: ClassVar[tuple[tuple[str, tuple[str, ...]], ...]] = (("pcm", ("min_pool", "ecr")),)

    method: Literal["seam"] = setting("seam", stage="train", help="file in camsweep/methods")
    batch: int = setting(8, stage="train", help="images a step", ge=1)

    siamese: bool = setting(True, stage="train", help="classify the smaller copy too")
    scale: float = setting(0.3, stage="train", help="side of the smaller copy", gt=0, le=1)
    er: bool = setting(True, stage="train", help="equivariant regularisation of raw maps")
    ecr: bool = setting(True, stage="train", help="equivariant cross regularisation")
    ohem: bool = setting(True, stage="train", help="hardest 20 % only in ECR")
    onehot: Literal["seam", "code", "none"] = setting(
        "seam", stage="train", help="ECR target: max of foreground, of all channels, or as is"
    )
    w_er: float = setting(1.0, stage="train", help="weight of ER", gt=0)
    w_ecr: float = setting(1.0, stage="train", help="weight of ECR", gt=0)
    prcm: bool = setting(False, stage="train", help="pixel-region correlation module (SEAM*)")

    @property
    def consistent(self) -> bool:
        """Whether some term compares maps."""
        return self.er or self.ecr or super().consistent

    def inactive(self) -> set[str]:
        """Fields that cannot change the outcome under the other values."""
        names = super().inactive()
        if not self.siamese:
            names.add("scale")
        if not self.er:
            names.add("w_er")
        if not self.ecr:
            names |= {"w_ecr", "onehot"}
        if not self.tcp:
            names.add("lam")
        return names


class Branch(NamedTuple):
    """The maps of one image of the Siamese pair, as the losses compare them.

    Attributes:
        raw: [N, C-1, h, w] within 0..1, absent classes 0.
        refined: [N, C, h, w], background first and normalised by itself; None without PCM.
    """

    raw: Tensor
    refined: Tensor | None


def smaller(images: Tensor, scale: float) -> Tensor:
    """The second image: bilinear, corners aligned, sides rounded down (448 -> 134 at 0.3)."""
    height, width = images.shape[-2:]
    return resize(images, (max(1, int(height * scale)), max(1, int(width * scale))))


def branch(output: Output, labels: Tensor, at: tuple[int, int], to: tuple[int, int]) -> Branch:
    """Normalise the maps of one image at one size, bring them to the other and mask them.

    Args:
        output: of the network.
        labels: [N, C-1] of 0 and 1.
        at: (H, W) where the maps are normalised: the image's size as released.
        to: (H, W) where they are compared: the smaller image's.
    """
    mask = labels[:, :, None, None]
    raw = resize(max_norm(resize(output.scores, at)), to) * mask
    if output.refined is None:
        return Branch(raw, None)
    refined = resize(max_norm(resize(output.refined, at)), to)
    return Branch(raw, torch.cat([refined[:, :1], refined[:, 1:] * mask], 1))


def losses(net: nn.Module, batch: Batch, config: SeamConfig, progress: float) -> dict[str, Tensor]:
    """L = L_cls + w_er L_ER + w_ecr L_ECR and its terms.

    Args:
        net: a ``CorrelationNet``.
        batch: images and labels.
        config: which terms, and how.
        progress: share of the training that is done, for ``ramp``.

    Returns:
        ``loss`` and the terms ``cls``, ``min_pool``, ``er``, ``ecr`` that are on, unweighted.
    """
    views, outputs = [batch.images], [batch.output(net)]
    if config.siamese:
        views.append(smaller(batch.images, config.scale))
        outputs.append(net(views[1]))
    labels = batch.labels
    sizes = [
        comparison_size(view, out.scores, config) for view, out in zip(views, outputs, strict=True)
    ]

    pairs = list(zip(outputs, sizes, strict=True))
    values = {
        "cls": _mean([terms.classification(resize(o.scores, size), labels) for o, size in pairs])
    }
    if config.min_pool and config.pcm:
        mask = labels[:, :, None, None]
        values["min_pool"] = _mean(
            [
                terms.min_pooling(resize(o.refined[:, 1:], size) * mask)
                for o, size in pairs
                if o.refined is not None
            ]
        )
    total = torch.stack(list(values.values())).sum()

    if config.er or config.ecr:
        weight = config.ramped(progress)
        first, second = (branch(o, labels, size, sizes[1]) for o, size in pairs)
        if config.er:
            values["er"] = terms.er(first.raw, second.raw)
            total = total + weight * config.w_er * values["er"]
        if config.ecr and first.refined is not None and second.refined is not None:
            one, other = (terms.with_background(maps.raw.detach()) for maps in (first, second))
            values["ecr"] = terms.cross(
                (other, one),
                (first.refined, second.refined),
                rule=config.onehot,
                ohem=config.ohem,
            )
            total = total + weight * config.w_ecr * values["ecr"]
    return {"loss": total, **values}


def _mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean()


METHOD = Method("seam", "SEAM", SeamConfig, build, losses)
