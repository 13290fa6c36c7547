"""Replay of ``crf.seedS``: the fully connected CRF of pydensecrf in the settings of each code.

Every line's note has our time for it, on two threads; the times of the released code are in the
golden data's README, for images of 375x500.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import golden as base
import numpy as np
import torch
from golden_data import Golden

from camsweep.methods.refine.densecrf import (
    SETTINGS,
    Crf,
    dense_crf,
    unary_of_labels,
    unary_of_probabilities,
)

#: Probabilities: largest and mean absolute error, and the share of equal labels.
LARGEST, MEAN, LABELS = 1e-2, 1e-3, 0.995
_took: dict[str, float] = {}


def replay(golden: Golden) -> Iterator[tuple[str, Any]]:
    yield "params", _settings()
    names = dict.fromkeys(k.split("/")[1] for k in golden.keys if k.startswith("in/"))
    for name in names:
        image = golden.tensor(f"in/{name}/image")
        maps = golden.tensor(f"in/{name}/cam")
        labels = golden.tensor(f"in/{name}/labels").long()
        soft = unary_of_probabilities(_scores(maps, 4))
        hard = unary_of_labels(labels, len(maps) + 1)
        yield f"unary/{name}/softmax_alpha4#head", soft.flatten(1)[:, :200]
        yield f"unary/{name}/labels_gt0.7#values", hard.unique()
        for alpha in (4, 24):
            unary = unary_of_probabilities(_scores(maps, alpha))
            yield _timed(f"out/{name}/seam_t10_alpha{alpha}", image, unary, SETTINGS["seam"])
        yield _timed(f"out/{name}/seam_t1_alpha4", image, soft, SETTINGS["shown"])
        yield _timed(f"out/{name}/cpn_t5_alpha4", image, soft, SETTINGS["cpn"])
        shown = SETTINGS["shown"]
        alone = {
            "gauss": replace(shown, bilateral_weight=0),
            "bilateral": replace(shown, spatial_weight=0),
            "unary": replace(shown, spatial_weight=0, bilateral_weight=0),
        }
        for part, settings in alone.items():
            yield _timed(f"out/{name}/t1_{part}_only", image, soft, settings)
        scores = _scores(maps, 4)
        normalised = unary_of_probabilities(scores / scores.sum(0))
        yield _timed(
            f"out/{name}/deeplab_pytorch_t10", image.flip(-1), normalised, SETTINGS["deeplab"]
        )
        key, found = _timed(f"out/{name}/sipe_label_Q_t10", image, hard, SETTINGS["label"])
        yield key, found
        yield f"out/{name}/sipe_label_argmax", found.argmax(0)


def compare(golden: Golden, name: str, ours: Any) -> base.Line:
    """Probabilities by their own tolerances, all else as usual."""
    if not name.startswith("out/"):
        return base.compare(golden, name, ours)
    stored = golden.array(name)
    found = np.asarray(ours)
    if found.shape != stored.shape:
        return base.Line(name, np.inf, np.inf, False, f"shape {list(found.shape)}")
    if stored.dtype.kind in "iu":
        same = float((found == stored).mean())
        return base.Line(name, 1 - same, 1 - same, same >= LABELS, "share of other labels")
    gap = np.abs(found.astype(np.float64) - stored.astype(np.float64))
    same = float((found.argmax(0) == stored.argmax(0)).mean())
    passed = gap.max() <= LARGEST and gap.mean() <= MEAN and same >= LABELS
    note = f"mean {gap.mean():.1e}, labels {100 * same:.2f} %, {_took[name]:.3f} s"
    return base.Line(name, float(gap.max()), float(gap.max() / stored.max()), passed, note)


def _scores(maps: torch.Tensor, alpha: int) -> torch.Tensor:
    background = (1 - maps.amax(0, keepdim=True)) ** alpha
    return torch.cat([background, maps])


def _timed(name: str, image: torch.Tensor, unary: torch.Tensor, crf: Crf) -> tuple[str, Any]:
    begin = time.perf_counter()
    found = dense_crf(image, unary, crf)
    _took[name] = time.perf_counter() - begin
    return name, found


def _settings() -> dict[str, Any]:
    def told(crf: Crf) -> dict[str, Any]:
        return {
            "t": crf.steps,
            "gauss": {"sxy": crf.spatial, "compat": crf.spatial_weight},
            "bilateral": {
                "sxy": crf.place,
                "srgb": crf.colour,
                "compat": crf.bilateral_weight,
            },
        }

    seam = SETTINGS["seam"]
    assert SETTINGS["shown"] == replace(seam, steps=1)
    return {
        "seam_t10": told(seam) | {"unary": "unary_from_softmax(clip 1e-5)"},
        "seam_t1": "same with t=1",
        "cpn_t5": told(SETTINGS["cpn"]),
        "sipe_label/irn_label": told(SETTINGS["label"])
        | {"unary": "unary_from_labels(gt_prob=0.7,zero_unsure=False)"},
        "deeplab_pytorch": told(SETTINGS["deeplab"])
        | {"unary": "unary_from_softmax of normalised probs; image given BGR"},
    }
