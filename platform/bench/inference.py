"""Maps of four scales, mirrored too: images of one size together, against one image and view each.

The peer is what the released inferences do, in words of our own: every image, scale and view passes
the network alone and in the default memory layout, the maps of all classes are brought to the
picture's size, and only their sum is masked by the image's labels.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camsweep.methods.base import load_method, make_config
from camsweep.methods.correlation import resize
from camsweep.methods.inference import localize, rescale, to_input
from camsweep.methods.normalize import normalise_test
from camsweep.methods.training import build_net
from camsweep.platform.bench.rounds import alternate, milliseconds
from camsweep.platform.bench.table import Result, ratio
from camsweep.shards.embedded.render import render
from camsweep.shards.embedded.scene import draw_scene, scene_rng
from camsweep.shards.places import Place

#: What is measured: backbone, (H, W) of the images, how many, foreground classes, threads of torch.
CASES: dict[str, tuple[str, tuple[int, int], int, int, int]] = {
    "embedded profile": ("small", (96, 96), 32, 6, 1),
    "photograph, ResNet-50": ("resnet50", (375, 500), 1, 20, 2),
}
SCALES = (0.5, 1.0, 1.5, 2.0)
SAME = 1e-4


def run(data: Place | None, seconds: float, repeat: int) -> Result:
    """Measure both by turns in each case; see ``camsweep.platform.bench.measure``."""
    rounds: dict[str, tuple[float, ...]] = {}
    ratios, notes = [], []
    before = torch.get_num_threads()
    try:
        for name, (backbone, size, images, classes, threads) in CASES.items():
            torch.set_num_threads(threads)
            made = Made(backbone, size, images, classes)
            ours, theirs = f"{name}: together", f"{name}: one by one"
            found = alternate(
                {
                    ours: lambda made=made: milliseconds(made.together, seconds) / len(made),  # type: ignore[misc]
                    theirs: lambda made=made: milliseconds(made.one_by_one, seconds) / len(made),  # type: ignore[misc]
                },
                repeat,
            )
            rounds |= found
            ratios.append(ratio(found, theirs, ours, "at least 2"))
            notes.append(
                f"{name}: {images} images of {size[1]} x {size[0]}, {classes} classes, {backbone}, "
                f"{threads} threads; scales {', '.join(f'{scale:g}' for scale in SCALES)}, mirrored"
                f" too; largest difference of the maps {made.gap():.1e}"
            )
    finally:
        torch.set_num_threads(before)
    return Result("inference", "milliseconds an image", rounds, tuple(ratios), tuple(notes))


class Made:
    """Rendered images with labels, in memory, and an untrained CAM network; seed 0."""

    def __init__(self, backbone: str, size: tuple[int, int], images: int, classes: int) -> None:
        self.images = [picture(index, size) for index in range(images)]
        rng = np.random.default_rng(0)
        self.labels = np.zeros((images, classes), np.float32)
        for row in self.labels:
            row[rng.choice(classes, 2, replace=False)] = 1
        values = {"method": "cam", "backbone": backbone, "pretrain": "none"}
        self.config: Any = make_config(values | {"scales": list(SCALES), "flip_test": True})
        self.method = load_method("cam")
        self.net = build_net(self.method, self.config, classes + 1, None).eval()
        self.plain = build_net(self.method, self.config, classes + 1, None).eval()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> SimpleNamespace:
        """As a reader gives a sample."""
        return SimpleNamespace(image=self.images[index], mask=None)

    def together(self) -> list[Tensor]:
        """The maps of the labels' classes of every image, as camsweep makes them."""
        made = localize(self.method, self.net, self, self.config)
        return [maps["raw"]["all"].values for _, maps, _ in made]

    def one_by_one(self) -> list[Tensor]:
        """The same by the peer."""
        return [
            one_image(self.plain, image, torch.from_numpy(labels), self.config.normalise)
            for image, labels in zip(self.images, self.labels, strict=True)
        ]

    def gap(self) -> float:
        """The largest difference of both.

        Raises:
            AssertionError: it is more than ``SAME``.
        """
        pairs = zip(self.together(), self.one_by_one(), strict=True)
        found = max(float((one - other).abs().max()) for one, other in pairs)
        assert found <= SAME, f"the maps differ by {found}"
        return found


def picture(index: int, size: tuple[int, int]) -> np.ndarray:
    """A rendered image, uint8 [H, W, 3]."""
    from PIL import Image

    image, _ = render(draw_scene(scene_rng(0, "bench", index)))
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC))


@torch.inference_mode()
def one_image(net: nn.Module, image: np.ndarray, labels: Tensor, how: str) -> Tensor:
    """Normalised maps of the labels' classes of one image, [P, H, W]."""
    height, width = image.shape[:2]
    summed = torch.zeros(len(labels), height, width)
    for scale in SCALES:
        inputs = to_input(rescale(image, scale))[None]
        for mirrored in (False, True):
            maps = F.relu(net(inputs.flip(-1) if mirrored else inputs).scores)
            maps = resize(maps.flip(-1) if mirrored else maps, (inputs.shape[2], inputs.shape[3]))
            whole = F.interpolate(maps, (height, width), mode="bilinear", align_corners=False)
            summed += whole[0]
    return normalise_test(summed[labels > 0], how)
