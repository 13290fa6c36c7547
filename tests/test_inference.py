from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camsweep.methods.backbones import Features
from camsweep.methods.base import Method, Output, load_method, make_config
from camsweep.methods.inference import localize, rescale, shrink, to_input
from camsweep.methods.normalize import normalise_test
from camsweep.methods.training import build_net

VALUES: dict[str, Any] = {
    "backbone": "small",
    "pretrain": "none",
    "scales": [0.5, 1, 1.5],
}


class Reader:
    """Pictures of several sizes with masks."""

    def __init__(self, sizes: list[tuple[int, int]]) -> None:
        rng = np.random.default_rng(0)
        self.images = [rng.integers(0, 256, (*s, 3), dtype=np.uint8) for s in sizes]
        self.masks = [rng.integers(0, 4, s).astype(np.uint8) for s in sizes]
        self.labels = np.array([[1, 0, 1], [0, 1, 0]] * len(sizes), np.float32)[: len(sizes)]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        return SimpleNamespace(image=self.images[index], mask=self.masks[index])


def dense_maps(method: Method, net: nn.Module, reader: Any, config: Any) -> Any:
    """What ``localize`` yields, with the maps of all classes."""
    for index, maps, mask in localize(method, net, reader, config):
        full = {
            name: {
                scale: found.dense(4) if found.has_background else found.dense(4)[1:]
                for scale, found in scales.items()
            }
            for name, scales in maps.items()
        }
        yield index, full, mask


def run(name: str, reader: Reader, **values: Any) -> list[Any]:
    config = make_config({"method": name, **VALUES, **values})
    method = load_method(name)
    net = build_net(method, config, 4, None)
    return list(dense_maps(method, net, reader, config))


@pytest.mark.parametrize(("name", "kinds"), [("cam", {"raw"}), ("cpn", {"raw", "refined"})])
def test_shapes_ranges_and_label_masks(name: str, kinds: set[str]) -> None:
    reader = Reader([(32, 40), (32, 40), (24, 20)])
    found = run(name, reader)
    assert [index for index, _, _ in found] == [0, 1, 2]
    for index, maps, mask in found:
        assert set(maps) == kinds
        np.testing.assert_array_equal(mask, reader.masks[index])
        for scales in maps.values():
            assert set(scales) == {"0.5", "1", "1.5", "all"}
            for values in scales.values():
                assert values.shape == (3, *mask.shape)
                assert values.min() >= 0
                assert values.max() <= 1
                absent = torch.from_numpy(reader.labels[index] == 0)
                assert (values[absent] == 0).all()


def test_images_run_together_give_what_they_give_alone() -> None:
    reader = Reader([(32, 40)] * 3)
    together = run("cpn", reader)
    for index in range(3):
        alone = Reader([(32, 40)])
        alone.images, alone.labels = [reader.images[index]], reader.labels[index : index + 1]
        (_, maps, _), *_ = run("cpn", alone)
        for name in maps:
            for scale in maps[name]:
                torch.testing.assert_close(
                    together[index][1][name][scale], maps[name][scale], atol=2e-4, rtol=0
                )


def test_an_image_without_labels_has_empty_maps() -> None:
    reader = Reader([(32, 40), (24, 20)])
    reader.labels[1] = 0
    found = run("cpn", reader)
    assert found[0][1]["raw"]["all"].max() > 0
    assert found[1][1]["refined"]["all"].shape == (3, 24, 20)
    assert not found[1][1]["refined"]["all"].any()


class Brightness(nn.Module):
    """A fake network: two channels of the picture and where the columns are."""

    def forward(self, images: Tensor) -> Output:
        ramp = torch.linspace(0, 1, images.shape[-1]).expand(len(images), 1, images.shape[-2], -1)
        scores = torch.cat([images[:, :2], ramp], 1)
        return Output(scores, Features((scores, scores), scores, (scores,) * 4))


def with_background(
    net: nn.Module, images: Tensor, output: Output, labels: Tensor, config: Any
) -> Any:
    """A fake method's maps of its own: a background of .5 and the scores, both views added."""
    first, second = output.scores.relu().chunk(2)
    ours = first + second.flip(-1)
    return {"refined": torch.cat([torch.full_like(ours[:, :1], 0.5), ours], 1)}


def test_mirrored_maps_are_turned_back_and_scales_are_summed() -> None:
    cam = load_method("cam")
    fake = Method("cam", "fake", cam.config, cam.build, cam.losses)
    reader = Reader([(32, 32)])
    reader.labels = np.ones((1, 3), np.float32)
    config = make_config({"method": "cam", **VALUES, "scales": [1.0], "normalise": "max"})
    ((_, maps, _),) = dense_maps(fake, Brightness(), reader, config)
    picture = to_input(reader.images[0])[:2]
    # The picture moves with the mirror: adding the mirrored map doubles it.
    torch.testing.assert_close(maps["raw"]["all"][:2], normalise_test(2 * picture, "max"))
    # The ramp does not: its mirrored twin makes it flat.
    torch.testing.assert_close(maps["raw"]["all"][2], torch.full((32, 32), 1.0), atol=2e-5, rtol=0)
    plain = config.model_copy(update={"flip_test": False})
    ((_, maps, _),) = dense_maps(fake, Brightness(), reader, plain)
    assert maps["raw"]["1"][2, 0, 0] == 0


def test_irns_upsampling_cuts_the_picture_of_whole_strides() -> None:
    cam = load_method("cam")
    fake = Method("cam", "fake", cam.config, cam.build, cam.losses)
    reader = Reader([(24, 40)])
    reader.labels = np.ones((1, 3), np.float32)
    values = {**VALUES, "scales": [0.5], "normalise": "max", "flip_test": False}
    found = {}
    for how in ("irn", "aligned"):
        config = make_config({"method": "cam", **values, "upsample": how})
        ((_, maps, _),) = dense_maps(fake, Brightness(), reader, config)
        found[how] = maps["raw"]["all"]
    scores = Brightness()(to_input(rescale(reader.images[0], 0.5))[None]).scores.relu()
    whole = F.interpolate(scores, (32, 48), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found["irn"], normalise_test(whole[0, :, :24, :40], "max"))
    assert not torch.allclose(found["irn"], found["aligned"], atol=0.05)


def test_a_background_is_never_moved_by_min_max() -> None:
    cam = load_method("cam")
    fake = Method("cam", "fake", cam.config, cam.build, cam.losses, with_background)
    reader = Reader([(32, 32)])
    config = make_config({"method": "cam", **VALUES, "scales": [1.0], "normalise": "minmax"})
    ((_, maps, _),) = dense_maps(fake, Brightness(), reader, config)
    torch.testing.assert_close(maps["refined"]["all"][0], torch.ones(32, 32), atol=3e-5, rtol=0)
    assert maps["raw"]["all"][0].min() == 0


def test_maps_with_their_own_background_keep_it_and_absent_classes_stay_empty() -> None:
    cam = load_method("cam")
    fake = Method("cam", "fake", cam.config, cam.build, cam.losses, with_background)
    reader = Reader([(32, 32), (32, 32)])
    config = make_config({"method": "cam", **VALUES, "scales": [1.0], "normalise": "max"})
    for index, maps, _ in dense_maps(fake, Brightness(), reader, config):
        own = maps["refined"]["all"]
        assert own.shape == (4, 32, 32)
        torch.testing.assert_close(own[0], torch.ones(32, 32), atol=3e-5, rtol=0)
        absent = torch.from_numpy(reader.labels[index] == 0)
        assert not own[1:][absent].any()
        assert own[1:][~absent].any()
        torch.testing.assert_close(own[1:], maps["raw"]["all"])


def test_max_side_shrinks_picture_and_mask() -> None:
    reader = Reader([(40, 80), (10, 16)])
    found = run("cam", reader, max_side=32)
    assert found[0][2].shape == (16, 32)
    assert found[0][1]["raw"]["all"].shape == (3, 16, 32)
    assert set(np.unique(found[0][2])) <= set(np.unique(reader.masks[0]))
    assert found[1][2].shape == (10, 16)
    image, mask = shrink(reader.images[0], None, 0)
    assert image is reader.images[0]
    assert mask is None


def test_the_released_rescaling_and_normalisation(shared: Any) -> None:
    golden = np.load(shared / "golden" / "misc.seed0.npz")
    for scale in ("0.5", "1.5", "2"):
        ours = rescale(golden["in/aug_image"], float(scale))
        np.testing.assert_array_equal(ours, golden[f"out/cpn_msf_resized_{scale}"])
    normal = to_input(golden["in/aug_image"]).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(normal, golden["out/normalized"], rtol=0, atol=2e-6)
    present = golden["in/infer_label"] > 0
    summed = torch.from_numpy(golden["in/infer_cam_list"].sum(0)[present])
    ours = normalise_test(summed, "minmax").numpy()
    # The released maps fall a little below 0 at their minimum; ours stop at 0.
    seam, cpn = (golden[f"out/{name}_infer_norm_cam"].clip(0) for name in ("seam", "cpn"))
    np.testing.assert_allclose(ours, seam, rtol=0, atol=1e-6)
    np.testing.assert_allclose(ours / 2, cpn, rtol=0, atol=1e-6)


def test_only_the_classes_of_the_label_are_held() -> None:
    reader = Reader([(32, 32), (32, 32), (32, 32)])
    reader.labels[2] = 0
    cam = load_method("cam")
    config = make_config({"method": "cam", **VALUES, "scales": [1.0], "normalise": "max"})
    plain = Method("cam", "fake", cam.config, cam.build, cam.losses)
    backed = Method("cam", "fake", cam.config, cam.build, cam.losses, with_background)
    held = [
        maps["raw"]["all"].classes for _, maps, _ in localize(plain, Brightness(), reader, config)
    ]
    assert held == [(1, 3), (2,), ()]
    for _, maps, _ in localize(backed, Brightness(), reader, config):
        front, own = maps["raw"]["all"], maps["refined"]["all"]
        assert own.classes == (0, *front.classes)
        assert len(own.values) == len(own.classes)
        assert own.foreground().classes == front.classes
