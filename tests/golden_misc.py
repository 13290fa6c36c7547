"""Replay of ``misc.seedS``: optimisers, normalisations, resizing, cropping, hiding."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from golden_data import Array, Golden
from torch import nn

from camsweep.methods.base import make_config
from camsweep.methods.inference import rescale
from camsweep.methods.losses import min_pooling
from camsweep.methods.normalize import EPS, keep_max, max_norm, normalise_test
from camsweep.methods.optimise import make_optimiser, poly_factor, set_rate
from camsweep.methods.patches import Pair, cell_size, grid_ids, make_pair, mark_hidden
from camsweep.shards.augment import Augment, augment, normalise

CROP = 448


def replay(golden: Golden) -> Iterator[tuple[str, Any]]:
    yield from _optimiser(golden, "cpn", ("weight", "bias"))
    yield from _optimiser(golden, "sipe", ("weight",))
    yield from _normalisations(golden)
    yield from _augmentation(golden)
    image = golden.array("in/aug_image")
    for name in golden.keys:
        if name.startswith(("out/cpn_msf_resized_", "out/sipe_pil_rescale_")):
            yield name, rescale(image, float(name.rsplit("_", 1)[1]))
    yield from _superpixels(golden)
    yield from _grids(golden)


def _optimiser(golden: Golden, method: str, leaves: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Ten steps of a network of one layer within the backbone and one new one."""
    config = make_config({"method": method})
    net = nn.Module()
    for part in ("backbone", "classifier"):
        layer = nn.Module()
        for leaf in leaves:
            layer.register_parameter(leaf, nn.Parameter(torch.empty(3)))
        net.add_module(part, layer)
    parameters = list(net.parameters())
    for i, parameter in enumerate(parameters):
        parameter.data = _draw(golden.seed + 20 + i)
    optimiser = make_optimiser(net, config)
    groups = [
        next(g for g in optimiser.param_groups if any(p is q for q in g["params"]))
        for p in parameters
    ]
    total = int(golden.array(f"opt_{method}/max_step"))
    rates, values = [], [_values(parameters)]
    for step in range(10):
        set_rate(optimiser, poly_factor(step, total, config.poly_power))
        rates.append([group["lr"] for group in groups])
        for i, parameter in enumerate(parameters):
            parameter.grad = _draw(1000 * golden.seed + 10 * step + i)
        optimiser.step()
        values.append(_values(parameters))
    yield f"opt_{method}/lr_used", np.array(rates)
    yield f"opt_{method}/params", np.stack(values)
    kept = ("weight_decay", "momentum", "dampening", "nesterov")
    yield f"opt_{method}/sgd_group_settings", [{k: g[k] for k in kept} for g in groups]
    # The schedule has as many different rates as steps: it stands still from then on.
    yield (
        f"opt_{method}/max_step",
        len({poly_factor(step, total, config.poly_power) for step in range(3 * total)}),
    )


def _draw(seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(3).astype(np.float32))


def _values(parameters: list[nn.Parameter]) -> Array:
    return np.stack([p.detach().numpy().copy() for p in parameters])


def _normalisations(golden: Golden) -> Iterator[tuple[str, Any]]:
    maps = golden.tensor("in/norm_x")
    yield "out/cpn_max_norm_4d", max_norm(maps)
    yield "out/cpn_max_norm_3d", max_norm(maps[0])
    yield "out/max_norm_numpy_4d", _picture_norm(maps)
    yield "out/max_norm_numpy_3d", _picture_norm(maps[0])
    yield "out/cpn_max_onehot", keep_max(golden.tensor("in/onehot_x"))
    yield "out/seam_max_onehot", keep_max(golden.tensor("in/onehot_x"), spare=1)
    yield "out/adaptive_min_pooling_loss(norm_x)", min_pooling(maps)

    summed = golden.tensor("in/infer_cam_list").sum(0)
    present = normalise_test(summed[golden.tensor("in/infer_label") > 0], "minmax")
    yield "out/seam_infer_norm_cam", present
    yield "out/cpn_infer_norm_cam", present / 2  # the released file halves them, see normalise_test


def _picture_norm(maps: torch.Tensor) -> torch.Tensor:
    """What the released max_norm does to NumPy arrays: over the maximum, not the range.

    Only its drawing code calls it so, hence it has no place among the methods: constant maps give
    -1. Positive ones are ``normalise_test(..., "max")`` less their own minimum.
    """
    scaled = normalise_test(maps, "max")
    shift = EPS / (maps.clamp(min=0).amax((-2, -1), keepdim=True) + EPS)
    low = scaled.amin((-2, -1), keepdim=True) + shift
    return torch.where(scaled < low, torch.zeros_like(scaled), scaled) - low


class _Drawn:
    """In place of a generator: draws that put the crop where the stored box has it."""

    def __init__(self, row: float, column: float) -> None:
        self.draws = np.array([0.5] * 7 + [row, column])

    def random(self, count: int) -> Array:
        assert count == len(self.draws)
        return self.draws

    def permutation(self, count: int) -> Array:
        return np.arange(count)


def _augmentation(golden: Golden) -> Iterator[tuple[str, Any]]:
    image = golden.array("in/aug_image")
    mean, std = (tuple(golden.array(f"aug/{k}").tolist()) for k in ("mean", "std"))
    yield "out/normalized", normalise(image, mean, std)
    for kind in ("up", "down"):
        target = int(golden.array(f"aug/{kind}_target_long"))
        crop = int(golden.array(f"aug/{kind}_cropsize"))
        box = golden.array(next(k for k in golden.keys if k.startswith(f"aug/{kind}_crop_box")))
        shape = golden.array(f"out/resized_{kind}").shape[:2]
        settings = {"resize": (target, target), "flip": False, "jitter": (0, 0, 0, 0)}
        settings |= {"mean": mean, "std": std}

        # The resized picture: a crop that holds all of it, normalisation undone.
        whole, _ = augment(image, None, Augment(crop=target, **settings), _Drawn(0, 0))  # type: ignore
        wide = whole.permute(1, 2, 0).numpy().astype(np.float64)[: shape[0], : shape[1]]
        yield f"out/resized_{kind}", np.rint((wide * std + mean) * 255).astype(np.uint8)

        starts = [max(box[axis], box[axis + 4]) for axis in (0, 2)]
        draws = [(s + 0.5) / (abs(side - crop) + 1) for s, side in zip(starts, shape, strict=True)]
        found, _ = augment(image, None, Augment(crop=crop, **settings), _Drawn(*draws))  # type: ignore
        yield f"out/crop_{kind}", found.permute(1, 2, 0)


def _superpixels(golden: Golden) -> Iterator[tuple[str, Any]]:
    ids = golden.tensor("hide/ss_slic_labels").long()[None]
    most = int(ids.max())
    yield "hide/ss_n_labels", most
    pair = _superpixel_pair(ids, golden.array("hide/ss_drawn_ids"))
    yield "hide/ss_mask_img1_kept", pair.kept[0, 0].to(torch.uint8)
    yield "hide/ss_ctri", pair.lam.item()
    yield "hide/ss_uctri", 1 - pair.lam.item()
    name = "hide/ss_ctri_mean_std_200"
    if name in golden:
        # 200 draws of seeds from 0 or from the file's own: the file does not say which.
        found = [_shares(ids, range(first, first + 200)) for first in (0, golden.seed)]
        yield name, min(found, key=lambda pair: float(np.abs(pair - golden.array(name)).max()))


def _superpixel_pair(ids: torch.Tensor, drawn: Array) -> Pair:
    hidden = torch.zeros(1, int(ids.max()) + 1, dtype=torch.bool)
    return make_pair(ids, mark_hidden(hidden, torch.from_numpy(drawn).long()[None]), "pixels")


def _shares(ids: torch.Tensor, seeds: range) -> Array:
    """Mean and deviation of lambda over the released draw (with replacement, 0..max id)."""
    count = int(ids.max()) + 1
    found = [
        _superpixel_pair(ids, np.random.RandomState(s).randint(0, count, count // 2)).lam.item()
        for s in seeds
    ]
    return np.array([np.mean(found), np.std(found)])


def _grids(golden: Golden) -> Iterator[tuple[str, Any]]:
    for name in golden.keys:
        if name.startswith("hide/grid_448_random"):
            first, last = (int(v) for v in re.findall(r"seed(\d+)-(\d+)", name)[0])
            cases = [_grid_pair(seed, CROP, CROP, "cells") for seed in range(first, last + 1)]
            yield (
                name,
                [
                    [
                        pair.kept[0, 0, :: CROP // 2, :: CROP // 2].flatten().int().tolist(),
                        pair.lam.item(),
                        1 - pair.lam.item(),
                    ]
                    for pair in cases
                ],
            )
        found = re.match(r"(hide/grid_(\d+)x(\d+))_seed(\d+)_mask_stride(\d+)$", name)
        if found:
            height, width, seed, stride = (int(found[i]) for i in range(2, 6))
            pair = _grid_pair(seed, height, width, "cells")
            yield name, pair.kept[0, 0, ::stride, ::stride].to(torch.uint8)
            yield f"{found[1]}_ctri", pair.lam.item()
            yield f"{found[1]}_area", _grid_pair(seed, height, width, "pixels").lam.item()


def _grid_pair(seed: int, height: int, width: int, lam: str) -> Pair:
    """The released draw: a cell size, then a number a cell, row by row, hidden up to 0.5."""
    draws = random.Random(seed)
    ids = grid_ids([cell_size(draws.choice((CROP // 2, CROP)), CROP)], height, width)
    hidden = [False] + [draws.random() <= 0.5 for _ in range(int(ids.max()))]
    return make_pair(ids, torch.tensor([hidden]), lam)
