"""Pseudo masks: backgrounds, CRFs and walks with their settings, and images at the edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from refine_world import Squares, config_of, overlap
from torch import Tensor

from camsweep.methods.inference import ClassMaps, to_input
from camsweep.methods.refine.affinity_masks import spread_by_affinity
from camsweep.methods.refine.config import RefineConfig
from camsweep.methods.refine.densecrf import SETTINGS, dense_crf, unary_of_probabilities
from camsweep.methods.refine.irn_masks import edge_displacement, propagate
from camsweep.methods.refine.labels import with_background
from camsweep.methods.refine.learning import settings_of, task_of
from camsweep.methods.refine.masks import crf_of_scores, mask_of, scored
from camsweep.methods.refine.pseudo import pseudo_mask
from camsweep.methods.refine.published import AFFINITY, IRN
from camsweep.methods.refine.spreading import spread
from camsweep.methods.training import build_net

OWN = {"ipe": True, "pseudo_labels": "estimated"}
CONFIGS: dict[str, dict[str, Any]] = {
    "labels": {"refine": "crf", "mask_background": "constant"},
    "scores": {"refine": "crf", "crf_unary": "scores", "crf": "cpn", "mask_background": "power"},
    "no crf": {"refine": "crf", "crf": "none", "mask_background": "best"},
    "affinity": {"refine": "affinity", "affinity_recipe": "psa", "walk_crf": "shown"},
    "irn": {"refine": "irn", "affinity_crop": 32},
    "sipe": {"refine": "irn", "irn_recipe": "sipe", "affinity_crop": 32, **OWN},
}
NETS: dict[str, Any] = {}


def net_of(config: RefineConfig) -> Any:
    """The untrained network of a config; of two kinds, built once."""
    if config.refine == "crf":
        return None
    if config.refine not in NETS:
        NETS[config.refine] = build_net(task_of(config), settings_of(config), 3, None).eval()
    return NETS[config.refine]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_every_name_of_a_crf_is_known() -> None:
    names = RefineConfig.model_fields["crf"].annotation
    assert set(names.__args__) == {"none", *SETTINGS}  # type: ignore[union-attr]


def test_backgrounds() -> None:
    maps = drawn(2, 4, 5)
    best = scored(config_of(refine="crf"), maps, False, 0.4)
    assert torch.equal(best, torch.cat([torch.full((1, 4, 5), 0.4), maps]))
    constant = config_of(refine="crf", mask_background="constant", mask_constant=0.1)
    assert (scored(constant, maps, False, 0.4)[0] == 0.1).all()
    power = config_of(refine="crf", mask_background="power", mask_power=3)
    assert torch.equal(scored(power, maps, False, 0.4), with_background(maps, 3))
    assert torch.equal(scored(power, maps, True, 0.4), maps)


def test_without_a_crf_a_mask_is_what_the_threshold_was_chosen_on() -> None:
    config = config_of(refine="crf", crf="none")
    maps = torch.tensor([[[0.3, 0.5, 0.9]], [[0.2, 0.5, 1.0]]])
    image = np.zeros((1, 3, 3), np.uint8)
    # A value equal to the threshold is background, and of equal maps the first wins.
    for threshold, wanted in ((0.3, [0, 1, 2]), (0.5, [0, 0, 2]), (1.0, [0, 0, 0])):
        found = mask_of(config, image, scored(config, maps, False, threshold))
        assert found.tolist() == [wanted]


def test_the_crf_starts_from_scores_as_they_are() -> None:
    image, scores = torch.zeros(6, 7, 3, dtype=torch.uint8), drawn(3, 6, 7) * 0.9 + 0.05
    image[:, 3:] = 99
    found = crf_of_scores(image, scores, "cpn")
    torch.testing.assert_close(found.sum(0), torch.ones(6, 7))
    normal = dense_crf(image, unary_of_probabilities(scores / scores.sum(0)), SETTINGS["cpn"])
    torch.testing.assert_close(found, normal, rtol=1e-4, atol=1e-5)
    above = scores.clone()
    above[0] = 1.7  # a threshold above 1 leaves nothing but background
    capped = torch.cat([torch.ones(1, 6, 7), scores[1:]])
    assert torch.equal(crf_of_scores(image, above, "cpn"), crf_of_scores(image, capped, "cpn"))


def test_the_crf_completes_squares() -> None:
    data = Squares(4)
    for unary in ("labels", "scores"):
        config = config_of(refine="crf", crf_unary=unary, mask_background="constant")
        plain = config_of(refine="crf", crf="none", mask_background="constant")
        for index, truth in enumerate(data.masks):
            maps = ClassMaps(tuple(data.classes(index)), data.blobs[index])
            before, after = (
                pseudo_mask(c, None, data.image(index), maps, 0.0) for c in (plain, config)
            )
            assert overlap(after, truth) > max(0.9, overlap(before, truth) + 0.05)
            assert np.array_equal(after > 0, after == maps.classes[0])


def test_affinitynets_walk_has_the_recipes_numbers_or_its_own() -> None:
    image, maps = np.random.default_rng(0).integers(0, 255, (40, 45, 3), np.uint8), drawn(2, 40, 45)
    for recipe, known in AFFINITY.items():
        config = config_of(refine="affinity", affinity_recipe=recipe)
        net = net_of(config)
        wanted = spread_by_affinity(
            net,
            to_input(image),
            maps,
            alpha=known.alpha,
            beta=known.beta,
            doublings=known.doublings,
        )
        assert torch.equal(spread(config, net, image, maps, False), wanted)
    with_own = torch.cat([drawn(1, 40, 45, seed=1), maps])
    assert torch.equal(spread(config, net, image, with_own, True), wanted)
    numbers: dict[str, Any] = {"alpha": 2.0, "beta": 3.0, "doublings": 1}
    config = config_of(refine="affinity", **{f"walk_{k}": v for k, v in numbers.items()})
    wanted = spread_by_affinity(net, to_input(image), maps, **numbers)
    assert torch.equal(spread(config, net, image, maps, False), wanted)
    after = spread(config.model_copy(update={"walk_crf": "shown"}), net, image, maps, False)
    assert torch.equal(after, crf_of_scores(torch.from_numpy(image), wanted, "shown"))


def test_irns_walk_has_a_constant_background_or_sipes_own() -> None:
    rng = np.random.default_rng(0)
    image, maps = rng.integers(0, 255, (24, 31, 3), np.uint8), drawn(3, 24, 31)
    config = config_of(**CONFIGS["irn"])
    net = net_of(config)
    edge, _ = edge_displacement(net, to_input(image), 32)
    assert edge.shape == (1, 12, 16)
    small = F.interpolate(maps[None], (12, 16), mode="bilinear", align_corners=False)[0]

    def walked(given: Tensor, beta: float = 10, doublings: int = 8) -> Tensor:
        big = F.interpolate(
            propagate(given, edge, 5, beta, doublings)[None], scale_factor=2, mode="bilinear"
        )[0, :, :24, :31]
        return big / big.max()

    found = spread(config, net, image, maps, True)
    assert (found[0] == 0.25).all()
    torch.testing.assert_close(found[1:], walked(small[1:]))
    own = config_of(**CONFIGS["irn"], walk_background=0.5, walk_beta=4, walk_doublings=2)
    found = spread(own, net, image, maps[1:], False)
    assert (found[0] == 0.5).all()
    torch.testing.assert_close(found[1:], walked(small[1:], 4, 2))

    config = config_of(**CONFIGS["sipe"])
    torch.testing.assert_close(spread(config, net, image, maps, True), walked(small**1.5))
    with pytest.raises(ValueError, match="background of their own"):
        spread(config, net, image, maps, False)
    assert IRN["sipe"].background is None


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("size", [(9, 14), (1, 20), (20, 1), (1, 1)])
@pytest.mark.parametrize("classes", [0, 1, 80])
def test_images_at_the_edges(name: str, size: tuple[int, int], classes: int) -> None:
    config = config_of(**CONFIGS[name])
    if config.refine != "crf":
        config = config.model_copy(update={"walk_doublings": 2})
    net, rng = net_of(config), np.random.default_rng(0)
    image = rng.integers(0, 255, (*size, 3), np.uint8)
    numbers = tuple(range(81 - classes, 81))
    own = name == "sipe"
    ground, foreground = torch.full((int(own), *size), 0.3), drawn(classes, *size)
    head = (0,) if own else ()
    maps = ClassMaps((*head, *numbers), torch.cat([ground, foreground]))
    found = pseudo_mask(config, net, image, maps, 0.3)
    assert found.shape == size
    assert found.dtype == np.uint8
    assert set(np.unique(found)) <= {0, *numbers}
    zero = ClassMaps(maps.classes, torch.cat([ground, torch.zeros_like(foreground)]))
    assert (pseudo_mask(config, net, image, zero, 0.3) == 0).all()
    nothing = ClassMaps(maps.classes, torch.zeros_like(maps.values))
    assert (pseudo_mask(config, net, image, nothing, 0.0) == 0).all()


def test_maps_of_another_size_are_refused() -> None:
    config, maps = config_of(refine="crf"), ClassMaps((1,), torch.zeros(1, 5, 4))
    with pytest.raises(ValueError, match="maps"):
        pseudo_mask(config, None, np.zeros((4, 5, 3), np.uint8), maps, 0.3)
