"""PPL: Progressive Patch Learning (Li et al., IEEE TMM 2022, arXiv 2209.07828).

The code was never released. From the abstract and the two overview figures: a feature map is cut
into a grid of patches after some block, every patch goes through the remaining blocks on its own
(same weights, no context across patches), and the results are pasted back in place. A path without
cuts is joined by channels, then comes one classifier. *Implicit*: one cut, moved deeper from stage
to stage of one training. *Explicit*: all cuts at once, the gradient blocked before each of them, so
that a branch trains only the blocks after its cut.

Our reading, as nothing published says it: the backbone and recipe (ResNet-38 as in SEAM), three
cuts (after b4, b5 and b6), a 2 x 2 grid, equal stages with a new poly schedule each and the
classifier kept across them, the multi-label soft margin loss alone, and maps of the last stage.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from camsweep.methods.backbones import Backbone, Features, build_backbone
from camsweep.methods.base import Batch, Method, Output
from camsweep.methods.compose import ComposedConfig
from camsweep.methods.config import setting
from camsweep.methods.losses import classification
from camsweep.methods.parts import rows_an_image

# Every backbone has at least five stages, and the first one cannot be cut before.
DEEPEST = 4


class PplConfig(ComposedConfig):
    """PPL's settings; shared defaults are SEAM's recipe (batch 8, 8 epochs, lr 0.01, crop 448)."""

    method: Literal["ppl"] = setting("ppl", stage="train", help="file in camsweep/methods")
    batch: int = setting(8, stage="train", help="images a step", ge=1)

    mode: Literal["implicit", "explicit", "none"] = setting(
        "implicit", stage="train", help="cuts one after the other, all at once, or none"
    )
    cuts: tuple[Annotated[int, Field(ge=1, le=DEEPEST)], ...] = setting(
        (3, 2, 1), stage="train", help="backbone stages left after each cut", min_length=1
    )
    grid: tuple[Annotated[int, Field(ge=1, le=16)], ...] = setting(
        (2,), stage="train", help="g of the g x g patches; one number, or one a cut", min_length=1
    )
    global_path: bool = setting(
        True, stage="train", help="join the features that were not cut, by channels"
    )

    @field_validator("grid", mode="before")
    @classmethod
    def _one_number(cls, grid: Any) -> Any:
        return (grid,) if isinstance(grid, int) else grid

    @field_validator("grid")
    @classmethod
    def _shortest(cls, grid: tuple[int, ...]) -> tuple[int, ...]:
        return grid[:1] if len(set(grid)) == 1 else grid

    @model_validator(mode="after")
    def _cuts_fit(self) -> PplConfig:
        if len(set(self.cuts)) != len(self.cuts):
            raise ValueError("cuts names a cut twice")
        if len(self.grid) not in (1, len(self.cuts)):
            raise ValueError(f"grid must be one number, or {len(self.cuts)}, one for each of cuts")
        return self

    @property
    def cycles(self) -> int:
        """Implicit: the stages of the training, each with its own schedule."""
        return len(self.cuts) if self.mode == "implicit" else 1

    def inactive(self) -> set[str]:
        """Without cuts nothing of PPL matters."""
        names = super().inactive()
        return names | {"cuts", "grid", "global_path"} if self.mode == "none" else names


def split_patches(x: Tensor, grid: int, step: int = 1) -> Tensor:
    """Cut maps into patches, all in one batch (the figures' P).

    Args:
        x: [N, C, H, W]; padded with zeros on the right and below to a multiple of grid * step.
        grid: patches a side; 1 leaves ``x`` as it is.
        step: what the stages after the cut divide the size by. Every patch then begins where the
            strided stages put a cell, so that merged cells lie where uncut ones do.

    Returns:
        [N * grid * grid, C, h, w], the patches of an image one after the other, row by row.
    """
    if grid == 1:
        return x
    n, channels, height, width = x.shape
    unit = grid * step
    x = F.pad(x, (0, -width % unit, 0, -height % unit))
    h, w = x.shape[-2] // grid, x.shape[-1] // grid
    cells = x.reshape(n, channels, grid, h, grid, w).permute(0, 2, 4, 1, 3, 5)
    return cells.reshape(n * grid * grid, channels, h, w)


def merge_patches(patches: Tensor, grid: int, size: tuple[int, int]) -> Tensor:
    """Paste patches back in place (the figures' M).

    Args:
        patches: [N * grid * grid, C, h, w], in the order of ``split_patches``.
        grid: patches a side.
        size: (H, W) to cut the result to, which takes the padding away.

    Returns:
        [N, C, H, W].
    """
    count, channels, h, w = patches.shape
    cells = patches.reshape(count // grid**2, grid, grid, channels, h, w)
    whole = cells.permute(0, 3, 1, 4, 2, 5).reshape(-1, channels, grid * h, grid * w)
    return whole[..., : size[0], : size[1]]


def stage_at(progress: float, stages: int) -> int:
    """Index of the training stage at ``progress`` 0..1, in ``stages`` equal ones."""
    # The addition is for steps that begin a stage and come out just below the whole number.
    return min(int(progress * stages + 1e-9), stages - 1)


class PplNet(nn.Module):
    """A backbone, the paths through its patches, and one bias-free classifier.

    Attributes:
        stage: implicit: index of the cut in use. The last one, unless a training sets another.
    """

    def __init__(self, config: PplConfig, classes: int) -> None:
        super().__init__()
        self.backbone: Backbone = build_backbone(config.backbone)
        count = len(self.backbone.stages)
        self.cuts = () if config.mode == "none" else tuple(count - left for left in config.cuts)
        self.grids = config.grid * len(self.cuts) if len(config.grid) == 1 else config.grid
        self.explicit = config.mode == "explicit"
        self.global_path = config.global_path or not self.cuts
        self.stage = max(0, len(self.cuts) - 1)
        paths = len(self.cuts) if self.explicit else min(1, len(self.cuts))
        channels = self.backbone.channels * (paths + self.global_path)
        self.classifier = nn.Conv2d(channels, classes - 1, 1, bias=False)
        nn.init.xavier_uniform_(self.classifier.weight)

    def forward(self, images: Tensor) -> Output:
        """Scores [N, C-1, h, w] of images [N, 3, H, W]; the features are those without cuts."""
        used = range(len(self.cuts)) if self.explicit else range(len(self.cuts))[self.stage :][:1]
        features, inputs = _features_and_inputs(self.backbone, images, [self.cuts[i] for i in used])
        joined = [self._merged(i, inputs[self.cuts[i]], features.last) for i in used]
        if self.global_path:
            joined.append(features.last)
        return Output(self.classifier(torch.cat(joined, 1)).float(), features)

    def _merged(self, which: int, x: Tensor, uncut: Tensor) -> Tensor:
        """Final features [N, channels, h, w] of patches of ``x``, the input of a cut's stage."""
        size = (uncut.shape[-2], uncut.shape[-1])
        step = 1
        while -(-x.shape[-2] // step) > size[0] or -(-x.shape[-1] // step) > size[1]:
            step *= 2  # all strides are 2
        grid = self.grids[which]
        patches = split_patches(x.detach() if self.explicit else x, grid, step)
        with rows_an_image(grid**2):
            return merge_patches(self.backbone.advance(patches, self.cuts[which]), grid, size)


def _features_and_inputs(
    backbone: Backbone, images: Tensor, stages: list[int]
) -> tuple[Features, dict[int, Tensor]]:
    """The features of images, and what went into some stages on the way, in one pass.

    Args:
        backbone: its stages but the first are modules of that name that take the stage's input.
        images: [N, 3, H, W].
        stages: indices above 0.
    """
    inputs: dict[int, Tensor] = {}

    def keep(index: int) -> Any:
        return lambda module, given: inputs.__setitem__(index, given[0])

    hooks = [
        backbone.get_submodule(backbone.stages[i]).register_forward_pre_hook(keep(i))
        for i in stages
    ]
    try:
        return backbone(images), inputs
    finally:
        for hook in hooks:
            hook.remove()


def build(config: PplConfig, classes: int) -> nn.Module:
    """The network for ``classes`` classes, background included."""
    return PplNet(config, classes)


def losses(net: nn.Module, batch: Batch, config: PplConfig, progress: float) -> dict[str, Tensor]:
    """Multi-label soft margin loss on globally averaged scores, with the cut of the stage."""
    if config.mode == "implicit":
        net.stage = stage_at(progress, config.cycles)  # type: ignore[assignment]
    value = classification(batch.output(net).scores, batch.labels)
    return {"loss": value, "cls": value}


METHOD = Method("ppl", "PPL (our reading)", PplConfig, build, losses)
