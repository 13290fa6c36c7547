"""The fully connected CRF (Kraehenbuehl and Koltun 2011): mean field with two Gaussian kernels.

Energies are unary terms plus Potts terms whose weight falls with the distance of two pixels, in
place alone (`spatial`) and in place and colour (`bilateral`). Kernels are normalised on both sides
(K 1)^-1/2, as pydensecrf does by default; the golden file crf.seed0 holds its numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from camsweep.methods.refine.lattice import Lattice, blur, blurred, lattice, level


@dataclass(frozen=True)
class Crf:
    """Settings, named as in the released codes.

    Attributes:
        steps: mean-field iterations t.
        spatial: standard deviation in pixels of the kernel on place alone, sxy.
        spatial_weight: its weight, compat.
        place: standard deviation in pixels of the bilateral kernel, sxy.
        colour: its standard deviation in 0..255 of each colour channel, srgb.
        bilateral_weight: its weight, compat.
    """

    steps: int
    spatial: float
    spatial_weight: float
    place: float
    colour: float
    bilateral_weight: float

    def within(self, reach: float) -> Crf:
        """The same with all distances in place times ``reach``: for images of another size."""
        return replace(self, spatial=self.spatial * reach, place=self.place * reach)


#: Where each setting is used: methods.md section 7.3.
SETTINGS = {
    "seam": Crf(10, 3, 3, 80, 13, 10),  # psa's and SEAM's alpha-CRF
    "cpn": Crf(5, 3, 3, 50, 13, 10),  # CPN's crf_inference
    "shown": Crf(1, 3, 3, 80, 13, 10),  # pictures while SEAM, SIPE and CPN train
    "label": Crf(10, 3, 3, 50, 5, 10),  # IRN's and SIPE's, on labels with gt_prob 0.7
    "seamv1": Crf(1, 3, 3, 32, 13, 10),  # test of DeepLab-v1
    "deeplab": Crf(10, 1, 3, 67, 3, 4),  # test of DeepLab-v2 (deeplab-pytorch), image in BGR
}

#: Probabilities below are raised to it before their logarithm is taken.
LEAST = 1e-5
#: Labels up to which a softmax is quicker by columns.
SHORT = 7


def unary_of_probabilities(probabilities: Tensor) -> Tensor:
    """Energies -log p of class scores ``[L, H, W]``, with p raised to `LEAST`; not normalised."""
    return -probabilities.clamp(min=LEAST).log()


def unary_of_labels(labels: Tensor, number: int, certainty: float = 0.7) -> Tensor:
    """Energies ``[L, H, W]`` of hard labels: -log certainty for the label, the rest shared.

    Args:
        labels: int64 [H, W], 0..L-1.
        number: L, at least 2 to share anything.
        certainty: how far the labels are believed (IRN, SIPE: 0.7).
    """
    other = (1 - certainty) / max(number - 1, 1)
    chosen = torch.nn.functional.one_hot(labels, number).permute(2, 0, 1).bool()
    values = torch.where(chosen, certainty, other)
    return -values.float().log()


@dataclass(frozen=True)
class Kernel:
    """A normalised kernel on an image's pixels; its weight and norms are in the matrices.

    Attributes:
        read: sparse CSR float32 [N, M + 1], see `Lattice`.
        spread: sparse CSR float32 [M + 1, N].
        beside: int64 [d + 1, 2, M].
    """

    read: Tensor
    spread: Tensor
    beside: Tensor

    def __call__(self, values: Tensor) -> Tensor:
        """Messages ``[N, L] -> [N, L]``."""
        return self.read @ blurred(self.spread @ values, self.beside)


def normalised(on: Lattice, weight: float) -> Kernel:
    """The kernel K of a lattice as weight (K 1)^-1/2 K (K 1)^-1/2."""
    ones = torch.ones(on.read.shape[0], 1, device=on.beside.device)
    norm = (blur(ones, on) + 1e-20).rsqrt()[:, 0]
    # Into the matrices, once: an image's messages are filtered ten times.
    read = _times(on.read, weight * level(on) * norm.repeat_interleave(len(on.beside)))
    spread = _times(on.spread, norm[on.spread.col_indices()])
    return Kernel(read, spread, on.beside)


def _times(matrix: Tensor, factors: Tensor) -> Tensor:
    """A sparse CSR matrix with each of its values multiplied."""
    return torch.sparse_csr_tensor(
        matrix.crow_indices(),
        matrix.col_indices(),
        matrix.values() * factors,
        size=matrix.shape,
    )


def kernels(image: Tensor, crf: Crf) -> list[Kernel]:
    """The two kernels of an image; they serve any number of unary terms.

    Args:
        image: uint8 [H, W, 3].
        crf: settings.
    """
    height, width = image.shape[:2]
    y, x = torch.meshgrid(
        torch.arange(height, device=image.device, dtype=torch.float32),
        torch.arange(width, device=image.device, dtype=torch.float32),
        indexing="ij",
    )
    place = torch.stack([x, y], -1).reshape(-1, 2)
    colours = image.reshape(-1, 3).float() / crf.colour
    found = []
    for features, weight in (
        (place / crf.spatial, crf.spatial_weight),
        (torch.cat([place / crf.place, colours], 1), crf.bilateral_weight),
    ):
        if weight:
            found.append(normalised(lattice(features), weight))
    return found


def mean_field(unary: Tensor, using: list[Kernel], steps: int) -> Tensor:
    """Marginal probabilities ``[L, H, W]`` of the labels of every pixel.

    Args:
        unary: energies [L, H, W]; only the labels that an image can have, which is what makes 81
            classes affordable.
        using: of `kernels`, of the image.
        steps: iterations; 0 gives the softmax of the unary terms.
    """
    labels = unary.shape[0]
    energy = unary.reshape(labels, -1).T.float().contiguous()
    found = softmax(-energy)
    for _ in range(steps):
        message = -energy
        for kernel in using:
            message += kernel(found)
        found = softmax(message)
    return found.T.reshape(unary.shape)


def softmax(values: Tensor) -> Tensor:
    """Softmax over the few values of each row, [N, L].

    Short rows are turned into columns: torch takes three times as long over them.
    """
    if values.shape[1] > SHORT:
        return values.softmax(1)
    return values.T.contiguous().softmax(0).T.contiguous()


def dense_crf(image: Tensor, unary: Tensor, crf: Crf) -> Tensor:
    """Marginal probabilities ``[L, H, W]`` of an image's labels; see `mean_field`."""
    return mean_field(unary, kernels(image, crf), crf.steps)
