"""The fully connected CRF against pydensecrf: in the same run where it is installed, else recorded.

Both on one thread, as pydensecrf has no more.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from camsweep.methods.refine.densecrf import SETTINGS, Crf, dense_crf, unary_of_probabilities
from camsweep.platform.bench.photos import photo
from camsweep.platform.bench.rounds import alternate, milliseconds
from camsweep.platform.bench.table import Result, ratio
from camsweep.shards.embedded.render import render
from camsweep.shards.embedded.scene import draw_scene, scene_rng
from camsweep.shards.places import Place

SIZE = (375, 500)
#: Settings and labels that are measured, and milliseconds that pydensecrf took for them (commit
#: 2723c7f, 2 quiet cores of another day; README of the golden files), at 375 x 500 only.
CASES: Mapping[tuple[str, int], float] = {
    ("cpn", 3): 190,
    ("seam", 3): 290,
    ("label", 3): 330,
    ("cpn", 21): 310,
    ("seam", 21): 500,
    ("label", 21): 600,
}
GOAL = "at most 1.5"


def run(data: Place | None, seconds: float, repeat: int) -> Result:
    """Measure ours, and the peer where it is, by turns; see ``camsweep.platform.bench.measure``."""
    installed = peer_module() is not None
    measured: dict[str, Any] = {}
    notes = [
        f"a rendered photograph of {SIZE[1]} x {SIZE[0]} pixels with grain, kernels and mean field,"
        " 1 thread; settings as in methods/refine/densecrf.py",
    ]
    ratios, gaps = [], []
    image = picture()
    with one_thread():
        for name, labels in CASES:
            unary, crf = unary_of(labels), SETTINGS[name]
            ours, theirs = _names(name, labels)
            measured[ours] = lambda unary=unary, crf=crf: milliseconds(
                lambda: dense_crf(image, unary, crf), seconds
            )
            if installed:
                measured[theirs] = lambda unary=unary, crf=crf: milliseconds(
                    lambda: by_peer(image, unary, crf), seconds
                )
                found = dense_crf(image, unary, crf) - by_peer(image, unary, crf)
                gaps.append(float(found.abs().max()))
        rounds = alternate(measured, repeat)
    if installed:
        notes.append(f"pydensecrf in the same run; largest difference {max(gaps):.1e}")
    elif SIZE == (375, 500):
        notes.append("pydensecrf is not installed: its recorded times, of another machine and day")
        for (name, labels), recorded in CASES.items():
            rounds[_names(name, labels)[1]] = (recorded,) * repeat
    else:
        notes.append("pydensecrf is not installed, and nothing is recorded for this size")
    for ours, theirs in (_names(*case) for case in CASES):
        if theirs in rounds:
            ratios.append(ratio(rounds, ours, theirs, GOAL))
    return Result("crf", "milliseconds an image", rounds, tuple(ratios), tuple(notes))


def _names(settings: str, labels: int) -> tuple[str, str]:
    """What ours and the peer's are called."""
    what = f"{settings} settings, {labels} labels"
    return what, f"pydensecrf, {what}"


def picture() -> Tensor:
    """The image, uint8 [H, W, 3]."""
    scene, _ = render(draw_scene(scene_rng(0, "bench", 0)))
    with Image.open(io.BytesIO(photo(scene, 0))) as opened:
        return torch.from_numpy(np.array(opened.convert("RGB").resize(SIZE[::-1])))


def unary_of(labels: int) -> Tensor:
    """Energies of smooth random scores, [labels, H, W], seed 0."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, labels, 8, 10, generator=generator) * 6
    scores = torch.nn.functional.interpolate(coarse, SIZE, mode="bicubic")[0]
    return unary_of_probabilities(scores.softmax(0))


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def peer_module() -> Any:
    """``pydensecrf.densecrf``, or None where it is not installed."""
    try:
        return importlib.import_module("pydensecrf.densecrf")
    except ImportError:
        return None


def by_peer(image: Tensor, unary: Tensor, crf: Crf) -> Tensor:
    """What pydensecrf makes of the same, [L, H, W]."""
    labels, height, width = unary.shape
    field = peer_module().DenseCRF2D(width, height, labels)
    field.setUnaryEnergy(np.ascontiguousarray(unary.reshape(labels, -1).numpy()))
    field.addPairwiseGaussian(sxy=crf.spatial, compat=crf.spatial_weight)
    field.addPairwiseBilateral(
        sxy=crf.place, srgb=crf.colour, rgbim=image.numpy(), compat=crf.bilateral_weight
    )
    found = np.array(field.inference(crf.steps)).reshape(labels, height, width)
    return torch.from_numpy(found)
