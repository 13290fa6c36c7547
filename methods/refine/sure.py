"""Labels of sure pixels as they are stored for each image, and as a training crop sees them.

They are stored for the whole image, because crops are drawn anew in every epoch: for IRN the labels
themselves, for AffinityNet the scores of both CRFs, as the released code keeps them, since there
means of scores over a crop's cells are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from camsweep.methods.refine.config import RefineConfig
from camsweep.methods.refine.irn_masks import with_constant
from camsweep.methods.refine.labels import affinity_labels, alpha_scores, ir_labels, of_classes
from camsweep.methods.refine.learning import recipe_of
from camsweep.methods.refine.pairs import IGNORE
from camsweep.methods.refine.published import Affinity, Irn
from camsweep.shards.augment import Drawn, move_labels

#: Scores are stored as multiples of 1 / LEVELS.
LEVELS = 255


class Stacks(Protocol):
    """Stored stacks by the index of their image; what ``stacks[index]`` raises passes through."""

    def __getitem__(self, index: int, /) -> NDArray[np.uint8]:
        """uint8 [K, H, W]."""


def stored_labels(
    config: RefineConfig,
    image: NDArray[np.uint8],
    maps: Tensor,
    own_background: bool,
    device: torch.device | str = "cpu",
) -> NDArray[np.uint8]:
    """What is stored of an image, as grey pictures.

    Args:
        config: ``refine`` is ``affinity`` or ``irn``.
        image: uint8 [H, W, 3].
        maps: of the image's classes, float32 [P, H, W] in 0..1.
        own_background: whether the first map is the maps' own background. IRN's recipe ``sipe``
            compares with it; all others leave it out.
        device: where the CRFs run.

    Returns:
        uint8 [K, H, W]. IRN: K = 1, rows 0..C of the classes present (0 = background), 255 where
        undecided. AffinityNet: K = 2 (1 + C), scores times 255 with the low alpha, then with the
        high one, each with the background first; the released code keeps them unrounded.

    Raises:
        ValueError: the maps lack the background that the recipe asks for.
    """
    recipe = recipe_of(config)
    picture = torch.as_tensor(image, device=device)
    maps = maps.to(device)
    if isinstance(recipe, Irn):
        found = _sure_rows(recipe, picture, maps, own_background)[None]
    else:
        found = _scores(recipe, picture, maps[int(own_background) :])
    return np.asarray(found.cpu().numpy(), dtype=np.uint8)


def _sure_rows(recipe: Irn, image: Tensor, maps: Tensor, own_background: bool) -> Tensor:
    """IRN's labels, uint8 [H, W]."""
    foreground = maps[int(own_background) :]
    if len(foreground) == 0:  # its CRFs would have one label to choose from
        return torch.zeros_like(image[..., 0])
    if recipe.sure_class is not None and recipe.sure_background is not None:
        careful = with_constant(foreground, recipe.sure_class)
        generous = with_constant(foreground, recipe.sure_background)
    elif own_background:
        careful = maps
        generous = torch.cat([maps[:1] * recipe.own_factor, foreground])
    else:
        raise ValueError("this recipe of IRN needs maps with a background of their own")
    return ir_labels(image, careful, generous, recipe.crf)


def _scores(recipe: Affinity, image: Tensor, maps: Tensor) -> Tensor:
    """Both CRFs' scores in steps of 1 / LEVELS, uint8 [2 (1 + C), H, W]."""
    alphas = (recipe.low_alpha, recipe.high_alpha)
    if len(maps) == 0:  # all that is left is background
        return torch.full((2, *image.shape[:2]), LEVELS, dtype=torch.uint8)
    scores = torch.cat([alpha_scores(image, maps, alpha, recipe.crf) for alpha in alphas])
    return (scores * LEVELS).round().to(torch.uint8)


class MovedLabels:
    """Stored labels as a training crop sees them: what ``TrainingSet`` takes as superpixels."""

    def __init__(self, stacks: Stacks, classes: Sequence[Sequence[int]], cell: int) -> None:
        """Remember where they come from.

        Args:
            stacks: of ``stored_labels``, by image.
            classes: numbers of the foreground classes of each image's maps, in their order.
            cell: image pixels a cell of the network's grid, ``learning.cell_of``.
        """
        self.stacks, self.classes, self.cell = stacks, classes, cell

    def moved(self, index: int, drawn: Drawn) -> Tensor:
        """The labels of a crop's cells, moved as its image is.

        IRN's are resized, mirrored and cropped by the nearest pixel, of which one in the middle of
        each cell is taken (released: PIL's nearest). AffinityNet's scores are cropped and mirrored
        and their means over the cells compared; released trainings resize no image for it, here
        its scores would be those of the nearest pixels.

        Args:
            index: of the image.
            drawn: its augmentation.

        Returns:
            int32 [h, w], class + 1, 0 where undecided or beyond the image; h = crop / cell, rounded
            up.

        Raises:
            DamagedSample: the image's stack can't be read.
        """
        stack, classes = self.stacks[index], list(self.classes[index])
        if len(stack) == 1:
            return self._rows(stack[0], classes, drawn)
        if len(stack) != 2 * (1 + len(classes)):
            raise ValueError(f"{len(stack)} pictures are no labels of {len(classes)} classes")
        means = torch.stack([self._means(scores, drawn) for scores in stack])
        low, high = means.chunk(2)
        rows = affinity_labels(low, high, pool=1)
        return _known(of_classes(rows, classes))

    def _rows(self, rows: NDArray[np.uint8], classes: list[int], drawn: Drawn) -> Tensor:
        known = _known(of_classes(torch.from_numpy(rows), classes))
        whole = move_labels(known.numpy().astype(np.uint16), drawn)
        middle = torch.arange(self.cell // 2, drawn.crop + self.cell // 2, self.cell)
        middle = middle.clamp(max=drawn.crop - 1)
        return whole[middle][:, middle].contiguous()

    def _means(self, scores: NDArray[np.uint8], drawn: Drawn) -> Tensor:
        """Means over the cells, float32 [h, w]; what lies beyond the image counts as 0."""
        whole = move_labels(scores.astype(np.uint16), drawn).float() / LEVELS
        beyond = -drawn.crop % self.cell
        return F.avg_pool2d(F.pad(whole[None], (0, beyond, 0, beyond)), self.cell)[0]


def _known(labels: Tensor) -> Tensor:
    """Class + 1, int32, 0 where undecided, of uint8 labels."""
    numbers = labels.int()
    return torch.where(numbers == IGNORE, 0, numbers + 1)
