"""CPN against the authors' released code: PCM, PRCM, the network, its losses and gradients."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from camsweep.methods import cpn, losses
from camsweep.methods.backbones import Backbone, Features
from camsweep.methods.base import Batch, make_config
from camsweep.methods.correlation import pcm, prcm, resize, spatial_gather
from camsweep.methods.normalize import keep_max, max_norm
from camsweep.methods.patches import Pair, cell_size, grid_ids, make_pair, mark_hidden

Golden = Any
FULL_NET_BLOCKS = {"b2": 3, "b3": 3, "b4": 6, "b5": 3}


@pytest.fixture(scope="module")
def golden(shared: Path) -> Golden:
    return np.load(shared / "golden" / "cpn.seed0.npz")


@pytest.fixture(scope="module")
def misc(shared: Path) -> Golden:
    return np.load(shared / "golden" / "misc.seed0.npz")


def tensor(data: Golden, key: str) -> Tensor:
    return torch.from_numpy(np.asarray(data[key]))


def rule(key: str, shape: list[int], gain: dict[str, float]) -> Tensor:
    """One weight by the rule of the golden data's README, seed 0."""
    drawn = np.random.RandomState(zlib.crc32(f"{key}:0".encode())).standard_normal(shape)
    leaf = key.rsplit(".", 1)[1]
    if leaf == "running_mean" or leaf == "bias":
        drawn = 0.1 * drawn
    elif leaf == "running_var":
        drawn = 1 + 0.1 * np.abs(drawn)
    elif len(shape) == 1:
        drawn = 1 + 0.1 * drawn
    else:
        drawn = drawn * np.sqrt(2 / np.prod(shape[1:]))
    return torch.from_numpy(np.asarray(drawn * gain.get(key, 1.0), np.float32))


def weights(golden: Golden, *, head_only: bool = False) -> dict[str, Tensor]:
    gain = json.loads(str(golden["gain"]))
    return {
        key: rule(key, shape, gain)
        for key, shape in json.loads(str(golden["state_dict_keys"]))
        if not key.endswith("num_batches_tracked") and (not head_only or key.startswith("f"))
    }


class ResNet38(Backbone):
    """Wide ResNet-38 from a weight table, only as far as this comparison needs it."""

    stride, side_channels, channels = 8, (512, 1024), 4096

    def __init__(self, table: dict[str, Tensor]) -> None:
        super().__init__()
        self.table = table
        for key, value in table.items():
            if ".conv" in key and not key.startswith("b2"):
                self.register_parameter(key.replace(".", "/"), torch.nn.Parameter(value))

    def weight(self, key: str) -> Tensor:
        own = dict(self.named_parameters())
        name = key.replace(".", "/")
        return own.get(name, self.table[key])

    def norm(self, x: Tensor, name: str) -> Tensor:
        mean, var, w, b = (
            self.table[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias")
        )
        return F.relu(F.batch_norm(x, mean, var, w, b, training=False, eps=1e-5))

    def block(self, x: Tensor, name: str, dilations: tuple[int, int], stride: int) -> Any:
        inside = self.norm(x, f"{name}.bn_branch2a")
        one = f"{name}.conv_branch1.weight"
        short = F.conv2d(inside, self.weight(one), stride=stride) if one in self.table else x
        w = self.weight(f"{name}.conv_branch2a.weight")
        bottleneck = w.shape[-1] == 1
        y = F.conv2d(inside, w, None, stride, 0 if bottleneck else dilations[0], dilations[0])
        y = self.norm(y, f"{name}.bn_branch2b1")
        w = self.weight(f"{name}.conv_branch2b1.weight")
        y = F.conv2d(y, w, None, 1, dilations[1], dilations[1])
        if bottleneck:
            y = self.norm(y, f"{name}.bn_branch2b2")
            y = F.conv2d(y, self.weight(f"{name}.conv_branch2b2.weight"))
        return short + y, inside

    def forward(self, images: Tensor) -> Features:
        x = F.conv2d(images, self.table["conv1a.weight"], padding=1)
        conv4 = conv5 = x
        for stage, count in FULL_NET_BLOCKS.items():
            for i in range(count):
                name = stage if i == 0 else f"{stage}_{i}"
                wide = 2 if stage == "b5" else 1
                stride = 2 if i == 0 and stage != "b5" else 1
                x, inside = self.block(x, name, (wide if i else 1, wide), stride)
                conv4 = inside if name == "b5" else conv4
        x, conv5 = self.block(x, "b6", (1, 4), 1)
        x, _ = self.block(x, "b7", (1, 4), 1)
        return Features((conv4, conv5), self.norm(x, "bn7"))


@pytest.fixture(scope="module")
def net(golden: Golden) -> Any:
    table = weights(golden)
    config = make_config({"method": "cpn", "prcm_layout": "code"})
    assert isinstance(config, cpn.CpnConfig)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpn, "build_backbone", lambda name: ResNet38(table))
        net = cpn.CpnNet(config, 21)
    with torch.no_grad():
        net.classifier.weight.copy_(table["fc8.weight"][1:])
        assert net.correlation is not None
        for ours, theirs in (("low", "f8_3"), ("high", "f8_4"), ("g", "f9"), ("phi", "f10")):
            getattr(net.correlation, ours).weight.copy_(table[f"{theirs}.weight"])
    return net, config


def sampled(golden: Golden, key: str, ours: Tensor, skip_background: bool = True) -> Any:
    """Stored samples of a big array and our values at the same places, foreground only."""
    index = golden[f"{key}#idx"]
    shape = tuple(golden[f"{key}#shape"])
    places = np.unravel_index(index, shape)
    wanted = golden[f"{key}#val"]
    if skip_background:
        axis = 0 if len(shape) == 4 and shape[0] == 21 else 1
        keep = places[axis] > 0
        places = tuple(p[keep] - (i == axis) for i, p in enumerate(places))
        wanted = wanted[keep]
    return ours.detach().numpy()[places], wanted


def close(ours: Any, wanted: Any, atol: float) -> None:
    np.testing.assert_allclose(np.asarray(ours), np.asarray(wanted), rtol=0, atol=atol)


def test_pcm_and_prcm(golden: Golden) -> None:
    table = weights(golden, head_only=True)
    features, maps = tensor(golden, "in/pcm_f"), tensor(golden, "in/pcm_cam")
    embedded = F.conv2d(features, table["f9.weight"])
    close(pcm(maps, embedded), golden["out/pcm"], 2e-6)
    close(pcm(tensor(golden, "in/pcm_cam_11x13"), embedded), golden["out/pcm_11x13"], 2e-6)
    gathered = spatial_gather(features, maps)
    close(gathered[..., None], golden["out/spatial_gather"], 2e-6)
    classes = F.relu(F.conv2d(gathered[..., None], table["f10.weight"]))[..., 0]
    found = prcm(classes, F.relu(embedded), "code")
    close(found, golden["out/prcm"], 2e-6)
    assert (found - prcm(classes, F.relu(embedded), "paper")).abs().max() > 1e-3


@pytest.mark.parametrize(("image", "prefix"), [("in/image", "out"), ("in/image2", "out/image2")])
def test_forward_pass(golden: Golden, net: Any, image: str, prefix: str) -> None:
    images = tensor(golden, image)
    with torch.no_grad():
        found = net[0](images)
    size = (images.shape[-2], images.shape[-1])
    close(found.scores, golden[f"{prefix}/cam_lowres"][:, 1:], 4e-5)
    close(*sampled(golden, f"{prefix}/cam", resize(found.scores, size)), 4e-5)
    close(*sampled(golden, f"{prefix}/cam_rv", resize(found.refined, size)), 5e-6)


def test_losses_and_gradients(golden: Golden, net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    network, config = net
    kept = tensor(golden, "in/mask8x8").bool()
    kept = kept.repeat_interleave(8, 1).repeat_interleave(8, 2)[:, None]
    pair = Pair(kept, tensor(golden, "in/ctri").float())
    monkeypatch.setattr(cpn, "draw_pair", lambda batch, config: pair)
    batch = Batch(tensor(golden, "in/image"), tensor(golden, "in/label"), None, torch.Generator())
    network.zero_grad()
    found = cpn.losses(network, batch, config, 1.0)
    for ours, theirs in (
        ("cls", "loss_cls_norvmin"),
        ("tcp", "loss_tcp_all"),
        ("cpcr", "loss_cpcr"),
        ("loss", "loss"),
    ):
        assert found[ours].item() == pytest.approx(float(golden[f"loss/{theirs}"]), rel=2e-5)
    wanted = np.mean([golden[f"loss/loss_rvmin{i}"] for i in ("", "1", "2")])
    assert found["min_pool"].item() == pytest.approx(float(wanted), rel=2e-5)

    found["loss"].backward()
    head = network.correlation
    names = {
        "fc8.weight": network.classifier.weight,
        "f8_3.weight": head.low.weight,
        "f8_4.weight": head.high.weight,
        "f9.weight": head.g.weight,
        "f10.weight": head.phi.weight,
    }
    names |= {k.replace("/", "."): v for k, v in network.backbone.named_parameters()}
    norms = json.loads(str(golden["gradnorm_json"]))
    assert set(norms) <= set(names)
    for name, norm in norms.items():
        found_norm = float(names[name].grad.double().norm())
        assert found_norm == pytest.approx(norm, rel=3e-4), name
    for name in ("f9.weight", "f10.weight"):
        wanted = golden[f"grad/{name}"]
        close(names[name].grad, wanted, 1e-4 * np.abs(wanted).max())
    ours, wanted = sampled(golden, "grad/fc8.weight", names["fc8.weight"].grad)
    close(ours, wanted, 3e-6 * np.abs(wanted).max())


def test_classification_of_the_stored_scores(golden: Golden) -> None:
    label = tensor(golden, "in/label")
    for scores, theirs in (("mid/l", "cls_img"), ("mid/l1", "cls_img1"), ("mid/l2", "cls_img2")):
        value = losses.classification(tensor(golden, scores)[:, 1:], label)
        assert value.item() == pytest.approx(float(golden[f"loss/{theirs}"]), rel=1e-6)


def test_normalised_map_of_the_loss(golden: Golden) -> None:
    """max_norm, label mask and background of the stored raw map."""
    scores = resize(tensor(golden, "out/cam_lowres"), (64, 64))[:, 1:]
    maps = max_norm(scores) * tensor(golden, "in/label")[:, :, None, None]
    ours = losses.with_background(maps)
    close(*sampled(golden, "mid/cam", ours, skip_background=False), 1e-5)


def test_small_functions(misc: Golden) -> None:
    maps = tensor(misc, "in/norm_x")
    close(max_norm(maps), misc["out/cpn_max_norm_4d"], 1e-6)
    close(max_norm(maps[0]), misc["out/cpn_max_norm_3d"], 1e-6)
    maps = tensor(misc, "in/onehot_x")
    close(keep_max(maps), misc["out/cpn_max_onehot"], 0)
    close(keep_max(maps, spare=1), misc["out/seam_max_onehot"], 0)
    value = losses.min_pooling(tensor(misc, "in/norm_x"))
    wanted = float(misc["out/adaptive_min_pooling_loss(norm_x)"])
    assert value.item() == pytest.approx(wanted, rel=1e-6)


def test_superpixel_hiding_given_the_drawn_ids(misc: Golden) -> None:
    ids = tensor(misc, "hide/ss_slic_labels").long()[None]
    most = int(ids.max())
    assert most == int(misc["hide/ss_n_labels"])
    drawn = tensor(misc, "hide/ss_drawn_ids")[None]
    assert drawn.shape[1] == int(0.5 * (most + 1))
    hidden = mark_hidden(torch.zeros(1, most + 1, dtype=torch.bool), drawn)
    pair = make_pair(ids, hidden, "pixels")
    np.testing.assert_array_equal(pair.kept[0, 0].numpy(), misc["hide/ss_mask_img1_kept"] == 1)
    assert pair.lam.item() == pytest.approx(float(misc["hide/ss_ctri"]), abs=1e-7)
    assert 1 - pair.lam.item() == pytest.approx(float(misc["hide/ss_uctri"]), abs=1e-7)


def test_grid_hiding_given_the_hidden_cells(misc: Golden) -> None:
    cases = json.loads(str(misc["hide/grid_448_random.seed0-39 (2x2 kept map of img1,ctri,uctri)"]))
    for kept, share, other in cases:
        ids = grid_ids([cell_size(224, 448)], 448, 448)
        corner = ids[0, ::224, ::224].flatten()
        bits = torch.zeros(1, int(ids.max()) + 1, dtype=torch.bool)
        bits[0, corner] = torch.tensor(kept) == 0
        pair = make_pair(ids, bits, "cells")
        assert pair.kept[0, 0, ::224, ::224].flatten().tolist() == [bool(k) for k in kept]
        assert (pair.lam.item(), 1 - pair.lam.item()) == (share, other)


def test_grid_hiding_with_cells_cut_by_the_border(misc: Golden) -> None:
    wanted = misc["hide/grid_500x448_seed1_mask_stride4"] == 1
    ids = grid_ids([224], 500, 448)
    bits = torch.zeros(1, 7, dtype=torch.bool)
    bits[0, ids[0, ::224, ::224].flatten()] = ~torch.from_numpy(wanted[::56, ::56].flatten())
    cells, pixels = (make_pair(ids, bits, lam) for lam in ("cells", "pixels"))
    np.testing.assert_array_equal(cells.kept[0, 0, ::4, ::4].numpy(), wanted)
    assert cells.lam.item() == float(misc["hide/grid_500x448_ctri"])
    assert pixels.lam.item() == pytest.approx(float(misc["hide/grid_500x448_area"]), abs=1e-7)
