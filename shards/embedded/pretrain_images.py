"""Single-object images on which the embedded profile's network is pretrained."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from camsweep.shards.embedded.kinds import BODIES, CLASS_COUNT
from camsweep.shards.embedded.render import render
from camsweep.shards.embedded.scene import SIZE, draw_single, scene_rng

HEAD_WAYS = CLASS_COUNT + 1  # six heads and "none"
BODY_WAYS = len(BODIES)


def pretrain_set(
    n: int = 2000, seed: int = 0
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Render the pretraining images, which stand in for ImageNet.

    Head and body are drawn independently of each other and of the background, so nothing of the
    class structure of the segmentation data (which body belongs to which head) can leak.

    Args:
        n: Number of images.
        seed: Data seed.

    Returns:
        Images uint8 [n, 96, 96, 3]; head ids int64 [n] in 0..6, 6 = no head; body ids int64 [n]
        in 0..5.
    """
    images = np.empty((n, SIZE, SIZE, 3), np.uint8)
    heads = np.empty(n, np.int64)
    bodies = np.empty(n, np.int64)
    for index in range(n):
        rng = scene_rng(seed, "pretrain", index)
        heads[index], bodies[index] = rng.randint(HEAD_WAYS), rng.randint(BODY_WAYS)
        images[index], _ = render(draw_single(rng, int(heads[index]), int(bodies[index])))
    return images, heads, bodies
