"""Replay of ``randomwalk.seedS``: AffinityNet and IRN, their losses, and both random walks."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

import golden as base
import numpy as np
import torch
from golden_data import Golden, draw_weight, gradients
from torch import Tensor, nn

from camsweep.methods.backbones import build_backbone
from camsweep.methods.refine import affinity, irn
from camsweep.methods.refine.affinity import AffinityNet, affinity_loss, feature_affinity
from camsweep.methods.refine.irn import IrnNet
from camsweep.methods.refine.irn_losses import irn_losses
from camsweep.methods.refine.irn_masks import edge_displacement, propagate
from camsweep.methods.refine.pairs import (
    half_disc,
    on_grid,
    pair_labels,
    pair_losses,
    shrunk,
    sources,
    targets,
)
from camsweep.methods.refine.paths import edge_affinity, edge_bands, path_offsets, search_paths
from camsweep.methods.refine.walk import neighbours, transition, walk

Found = Iterator[tuple[str, Any]]
RADIUS = 5


def replay(golden: Golden) -> Found:
    yield from _irn_walk(golden)
    yield from _irn_network(golden)
    yield from _affinity_network(golden)


def compare(golden: Golden, name: str, ours: Any) -> base.Line:
    """Gradient norms and shapes that are stored alone by their own rules, all else as usual."""
    if name.endswith("gradnorm_json"):
        # The name decides the tolerance.
        found = base.compare_json("gradnorm_json", ours, golden.json(name))
        return found._replace(name=name)
    if name not in golden and f"{name}#idx" not in golden:
        shape, stored = list(ours.shape), golden.array(f"{name}#shape").tolist()
        note = "only its shape is stored"
        return base.Line(name, 0.0, 0.0, shape == stored, note)
    return base.compare(golden, name, ours)


def _irn_walk(golden: Golden) -> Found:
    edge, maps = golden.tensor("in/irn_edge"), golden.tensor("in/irn_x")
    size = (edge.shape[-2], edge.shape[-1])
    for beta, doublings in ((10, 8), (10, 1), (8, 6)):
        found = propagate(maps, edge, RADIUS, beta, doublings)
        yield f"out/irn_rw_beta{beta}_t{doublings}", found[:, None]

    # The released code pads by the radius, one more than its pairs need.
    padded = torch.nn.functional.pad(edge, (RADIUS, RADIUS, 0, RADIUS), value=1.0)
    wide = (padded.shape[-2], padded.shape[-1])
    yield "irn_search_paths", search_paths(RADIUS)
    yield "irn_search_dst", np.array(path_offsets(RADIUS))
    yield "irn_src_indices", sources(wide, RADIUS)
    yield "irn_dst_indices", targets(wide, path_offsets(RADIUS), RADIUS)
    yield "out/irn_sparse_aff", edge_affinity(padded, RADIUS)

    bands, offsets = edge_bands(edge[0], RADIUS)
    yield "out/irn_dense_aff", neighbours(bands, offsets).to_dense()
    for doublings in (8, 0):
        matrix = _power(bands, offsets, 10, doublings, size)
        yield f"out/irn_trans_beta10_t{doublings}", matrix


def _power(
    bands: Tensor,
    offsets: list[tuple[int, int]],
    beta: float,
    doublings: int,
    size: tuple[int, int],
) -> Tensor:
    """The dense matrix of the whole walk: where a one at each pixel goes."""
    number = size[0] * size[1]
    ones = torch.eye(number).view(number, *size)
    return walk(ones, transition(bands, offsets, beta), doublings).view(number, number)


def _irn_network(golden: Golden) -> Found:
    net = IrnNet(build_backbone("resnet50"))
    parameters = yield from _load(golden, net, "irn", irn.from_released)
    images = _image(golden, "irn", 9, (2, 3, 128, 128))
    labels = golden.tensor("in/irn_label_32x32")
    found = pair_labels(labels, path_offsets(RADIUS), RADIUS)
    for name, kind in zip(("bg_pos", "fg_pos", "neg"), found, strict=True):
        yield f"irn_afflabel_{name}#sum", kind.float().sum((1, 2))

    edge, field = net(images)
    yield "out/irn_edge_logit", edge
    yield "out/irn_dp", field
    terms = irn_losses(edge, field, labels, RADIUS)
    for name, value in {
        "bg_pos_aff_loss": terms.background,
        "fg_pos_aff_loss": terms.foreground,
        "pos_aff_loss": terms.alike,
        "neg_aff_loss": terms.different,
        "dp_fg_loss": terms.centroid,
        "dp_bg_loss": terms.still,
        "total_loss": terms.total,
    }.items():
        yield f"loss/irn_{name}", value
    terms.total.backward()
    yield "irn_gradnorm_json", gradients(parameters)["gradnorm_json"]

    edges, fields = edge_displacement(net, images[0, :, :90, :110], crop=128)
    yield "out/irn_EdgeDisplacement_crop128_edge_90x110", edges
    yield "out/irn_EdgeDisplacement_dp", fields


def _affinity_network(golden: Golden) -> Found:
    net = AffinityNet(build_backbone("resnet38"))
    parameters = yield from _load(golden, net, "aff", affinity.from_released)
    image = _image(golden, "aff", 10, (1, 3, 96, 128))
    with torch.no_grad():
        features = net(image)
        small = net(image[..., :64, :64])
    size = (features.shape[-2], features.shape[-1])
    offsets = half_disc(RADIUS)
    pairs = feature_affinity(features, offsets, RADIUS)
    yield "out/aff_sparse", pairs
    yield "aff_ind_from", sources(size, RADIUS)
    yield "aff_ind_to", targets(size, offsets, RADIUS).reshape(-1)
    bands = on_grid(pairs[0], size, RADIUS)
    yield "out/aff_dense", neighbours(bands, offsets).to_dense()
    yield "out/aff_trans_t0", _power(bands, offsets, 8, 0, size)
    yield "out/aff_trans_beta8_logt6", _power(bands, offsets, 8, 6, size)
    maps = golden.tensor("in/aff_cam").view(-1, *size)
    yield "out/aff_cam_rw", walk(maps, transition(bands, offsets, 8), 6)
    radius = shrunk(RADIUS, (small.shape[-2], small.shape[-1]))
    yield (
        f"out/aff_sparse_64x64_radius{radius}(SEAM only)",
        feature_affinity(small, half_disc(radius), radius),
    )

    labels = golden.tensor("in/aff_label_12x12")[None]
    found = pair_labels(labels, offsets, RADIUS)
    affinities = feature_affinity(net(image[..., :96, :96]), offsets, RADIUS)
    terms = pair_losses(affinities, found)
    for name, kind, term in zip(("bg", "fg", "neg"), found, terms, strict=True):
        yield f"out/aff_label_{name}", kind[0]
        yield f"loss/aff_{name}_loss", term
    loss = affinity_loss(terms)
    yield "loss/aff_loss", loss
    loss.backward()
    yield "aff_gradnorm_json", gradients(parameters)["gradnorm_json"]


def _image(golden: Golden, part: str, more: int, shape: tuple[int, ...]) -> Tensor:
    """The image by the README's rule, checked against the file's first numbers of it."""
    drawn = np.random.RandomState(golden.seed + more)
    fine = drawn.standard_normal(shape)
    coarse = drawn.standard_normal((*shape[:2], shape[2] // 32, shape[3] // 32))
    image = (0.5 * fine + 2 * np.kron(coarse, np.ones((32, 32)))).astype(np.float32)
    check = golden.array(f"in/{part}_image#check")
    np.testing.assert_allclose(image.ravel()[: check.size], check, rtol=1e-5)
    return torch.from_numpy(image)


def _load(
    golden: Golden,
    net: nn.Module,
    part: str,
    renamed: Callable[[Mapping[str, Tensor]], dict[str, Tensor]],
) -> Generator[tuple[str, Any], None, dict[str, nn.Parameter]]:
    """Load the weights as a published checkpoint; returns the parameters by official name.

    Names, shapes and gains are inputs, but not called so in this file: the gains are given back as
    they are, and the shapes are those of our network.
    """
    gain = golden.json(f"{part}_gain")
    yield f"{part}_gain", gain
    state = {
        key: draw_weight(key, shape, golden.seed, gain.get(key, 1.0))
        for key, shape in golden.json(f"{part}_state_dict_keys")
    }
    ours = renamed(state)
    net.load_state_dict(ours)
    net.eval()
    names = {id(value): key for key, value in state.items()}
    official = {key: names[id(value)] for key, value in ours.items()}
    shapes = {official[key]: list(value.shape) for key, value in net.state_dict().items()}
    yield f"{part}_state_dict_keys", [[key, shapes[key]] for key in state if key in shapes]
    return {official[key]: value for key, value in net.named_parameters()}
