"""denseCRF on the probabilities of all classes, at the cost of those that an image may have.

Labels that are improbable at every pixel stay so: what they give to each other and to the others
is of the order of their probability. They are run as one label that has their joint probability and
whose message is that of a single one, and share its marginal as they shared that probability.
Where all of them lie at or below ``densecrf.LEAST``, to which they are raised, their energies are
equal and this is the full CRF exactly. Measured on smooth random scores of 81 classes, with all of
them below 1e-4 the largest difference of a marginal was below 1e-5, up to ``RARE`` 4e-5 (mean
2e-9), and up to 0.03 still 9e-4, with the same argmax everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from camsweep.methods.refine.densecrf import LEAST, Crf, Kernel, kernels, mean_field

#: A label that exceeds it nowhere in the image is one of the improbable ones.
RARE = 1e-3


@dataclass(frozen=True)
class _Shared(Kernel):
    """A kernel whose messages are multiplied, label by label.

    Attributes:
        share: float32 [L].
    """

    share: Tensor

    def __call__(self, values: Tensor) -> Tensor:
        return super().__call__(values) * self.share


def crf_probabilities(image: Tensor, probabilities: Tensor, crf: Crf) -> Tensor:
    """Marginal probabilities of every class.

    Args:
        image: uint8 [H, W, 3], on the device of the probabilities.
        probabilities: float32 [C, H, W].
        crf: settings.

    Returns:
        float32 [C, H, W].
    """
    raised = probabilities.clamp(min=LEAST)
    rare = probabilities.flatten(1).amax(1) <= RARE
    number = int(rare.sum())
    using = kernels(image, crf)
    if number < 2:
        return mean_field(-raised.log(), using, crf.steps)
    likely, others = raised[~rare], raised[rare]
    joint = others.sum(0, keepdim=True)
    share = torch.ones(len(likely) + 1, device=raised.device)
    share[-1] = 1 / number
    shared: list[Kernel] = [_Shared(**vars(kernel), share=share) for kernel in using]
    marginals = mean_field(-torch.cat([likely, joint]).log(), shared, crf.steps)
    found = torch.empty_like(raised)
    found[~rare] = marginals[:-1]
    found[rare] = marginals[-1:] * others / joint
    return found
