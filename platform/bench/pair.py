"""The complementary pair of superpixels against that of grid cells, as training draws them."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from camsweep.methods.cpn import CpnConfig
from camsweep.methods.patches import Pair, cell_size, grid_pair, superpixel_pair
from camsweep.platform.bench.photos import SPLIT, photos
from camsweep.platform.bench.rounds import alternate
from camsweep.platform.bench.table import Result, ratio
from camsweep.shards.augment import Augment, Drawn, draw, move_image, move_labels, sample_rng
from camsweep.shards.places import Place
from camsweep.shards.reader import SplitReader, open_split
from camsweep.shards.superpixels import SuperpixelReader, open_superpixels
from camsweep.shards.superpixels.slic import segment

IMAGES = 32
BATCH = 8
CROP = 448
RELEASED_IMAGES = 2  # half a second each

GRID = "grid pair"
SUPERPIXEL = "superpixel pair"
ANEW = "superpixel pair, SLIC anew for every crop"
RELEASED = "superpixel pair, as released"


def run(data: Place | None, seconds: float, repeat: int) -> Result:
    """Measure both by turns; see ``camsweep.platform.bench.measure``."""
    config = CpnConfig(patches="superpixel")
    with photos(data, IMAGES) as made:
        reader = open_split(made.data, SPLIT)
        superpixels = open_superpixels(made.data, SPLIT, config.s_n, reader=reader, workers=2)
        batches = _batches(reader)
        given = _Given(config, reader, superpixels, torch.Generator().manual_seed(0))
        for chosen in batches:
            given.superpixel(chosen)  # labels are decoded once a node, not once an epoch
        rounds = alternate(
            {
                GRID: lambda: _cost(given.grid, batches, seconds),
                SUPERPIXEL: lambda: _cost(given.superpixel, batches, seconds),
                ANEW: lambda: _cost(given.anew, batches[:1], 0),
                RELEASED: lambda: _cost(given.released, [batches[0][:RELEASED_IMAGES]], 0),
            },
            repeat,
        )
    return Result(
        name="pair",
        unit="milliseconds an image",
        rounds=rounds,
        ratios=(
            ratio(rounds, SUPERPIXEL, GRID, "at most 1.3"),
            ratio(rounds, ANEW, GRID),
            ratio(rounds, RELEASED, SUPERPIXEL, "at least 200"),
        ),
        notes=(
            f"{made.what}; crops of {CROP} pixels, batches of {BATCH}, S_N {config.s_n}, "
            f"{torch.get_num_threads()} threads",
            "a pair: its region ids, what is hidden, and both images of it; superpixels are read "
            "from the decoded cache and moved with the image's augmentation",
            "as released: SLIC on the normalised crop at every step, and a loop in Python over all "
            "pixels that marks the hidden ones",
            "published (CPN): 1.45 s an image for superpixels, 0.006 s for the grid",
        ),
    )


Chosen = list[tuple[int, Drawn]]


def _batches(reader: SplitReader) -> list[Chosen]:
    settings = Augment(crop=CROP)
    drawn = []
    for index in range(len(reader)):
        height, width = reader.sizes[index].tolist()
        drawn.append((index, draw(height, width, settings, sample_rng(0, 0, index))))
    return [drawn[start : start + BATCH] for start in range(0, len(drawn), BATCH)]


def _cost(make: Callable[[Chosen], object], batches: Sequence[Chosen], seconds: float) -> float:
    """Milliseconds an image: the median of the batches made within ``seconds``, at least one."""
    costs: list[float] = []
    begun = time.perf_counter()
    for chosen in itertools.cycle(batches):
        started = time.perf_counter()
        make(chosen)
        ended = time.perf_counter()
        costs.append(1000 * (ended - started) / len(chosen))
        if ended - begun >= seconds:
            break
    return statistics.median(costs)


class _Given:
    """What a pair is made from; each method makes the pairs of one batch."""

    def __init__(
        self,
        config: CpnConfig,
        reader: SplitReader,
        superpixels: SuperpixelReader,
        generator: torch.Generator,
    ) -> None:
        self.config, self.reader, self.superpixels = config, reader, superpixels
        self.generator = generator
        self.images = torch.rand(BATCH, 3, CROP, CROP, generator=generator)
        self.sizes = [cell_size(size, CROP) for size in CpnConfig(patches="grid").grid_sizes]

    def grid(self, chosen: Chosen) -> tuple[Tensor, Tensor]:
        images = self.images[: len(chosen)]
        return grid_pair(images, self.sizes, self.config.p_h, "cells", self.generator).split(images)

    def superpixel(self, chosen: Chosen) -> tuple[Tensor, Tensor]:
        ids = [move_labels(self.superpixels[index], drawn) for index, drawn in chosen]
        return self._pair(torch.stack(ids)).split(self.images[: len(chosen)])

    def anew(self, chosen: Chosen) -> tuple[Tensor, Tensor]:
        """As the released loader: SLIC sees the augmented crop."""
        ids = []
        for index, drawn in chosen:
            crop = _pixels(move_image(self.reader.image(index), drawn, Augment(crop=CROP)))
            labels = segment(crop, self.config.s_n).astype(np.int32)
            ids.append(torch.from_numpy(labels))
        return self._pair(torch.stack(ids)).split(self.images[: len(chosen)])

    def released(self, chosen: Chosen) -> tuple[Tensor, Tensor]:
        """The cost of the released loader, in words of our own: nothing of it is a batch."""
        pairs = []
        for index, drawn in chosen:
            crop = move_image(self.reader.image(index), drawn, Augment(crop=CROP))
            pairs.append(hide_by_pixel(crop, self.config, self.generator))
        first, second = zip(*pairs, strict=True)
        return torch.stack(first), torch.stack(second)

    def _pair(self, ids: Tensor) -> Pair:
        config = self.config
        return superpixel_pair(ids, config.p_h, config.hiding, "pixels", self.generator)


def hide_by_pixel(
    image: Tensor, config: CpnConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The pair of one normalised image [3, H, W], its pixels looked at one by one."""
    from skimage.segmentation import slic

    scaled = image.permute(1, 2, 0).numpy()
    labels = slic(scaled, n_segments=config.s_n, compactness=config.compactness, start_label=1)
    last = int(labels.max())
    drawn = torch.randint(last + 1, ((last + 1) // 2,), generator=generator)
    hidden = dict.fromkeys(drawn.tolist())
    kept = torch.ones_like(image)
    height, width = labels.shape
    for row in range(height):
        for column in range(width):
            if labels[row, column] in hidden:
                kept[:, row, column] = 0
    return image * kept, image * (1 - kept)


def _pixels(image: Tensor) -> np.ndarray:
    """A normalised image as uint8 [H, W, 3] again, for SLIC."""
    low, high = image.amin(), image.amax()
    scaled = (image - low) / (high - low).clamp(min=1e-6) * 255
    return scaled.byte().permute(1, 2, 0).contiguous().numpy()
