"""Settings as published, the test's probabilities, denseCRF on many classes, and palette PNGs."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from camsweep.methods.base import make_config
from camsweep.methods.inference import rescale, to_input
from camsweep.methods.refine.densecrf import (
    SETTINGS,
    dense_crf,
    unary_of_probabilities,
)
from camsweep.methods.segment import crf, tasks
from camsweep.methods.segment.networks import Network, build_network
from camsweep.methods.segment.palette import label_png, read_labels, voc_server_folder
from camsweep.methods.segment.predict import predict, predict_group
from camsweep.shards.colours import colour_map
from camsweep.shards.errors import DamagedSample, InputError

NAMES = ["deeplab_v1", "deeplab_v2"]


def config_of(name: str, **changes: Any) -> Any:
    base = {"method": "cam", "backbone": "small", "pretrain": "none", "refine": "crf"}
    return make_config({**base, "segment": name, **changes})


def net_of(name: str, classes: int = 4) -> Any:
    torch.manual_seed(0)
    net = build_network(Network(name, "small"), classes)  # type: ignore[arg-type]
    for head in [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.bias is not None]:
        nn.init.normal_(head.weight, std=0.3)
    return net.eval()


def picture(height: int, width: int, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (max(1, height // 6), max(1, width // 6), 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR))


def test_the_published_training_of_v1() -> None:
    found = tasks.settings_of(config_of("deeplab_v1", backbone="resnet38", seed=3), 10_582)
    assert (found.lr, found.lr_new_factor, found.bias_lr_factor) == (1e-3, 10, 2)
    assert (found.momentum, found.weight_decay, found.poly_power) == (0.9, 5e-4, 0.9)
    assert (found.batch, found.crop, found.rescale, found.rescale_step) == (10, 448, (0.5, 1.5), 0)
    assert found.epochs == round(20_000 / 1058) == 19
    assert found.jitter == pytest.approx((0.0784, 0, 0.0784, 0.0556), abs=1e-4)
    assert (found.flip, found.bias_decay, found.clip_norm, found.seed) == (True, False, 0, 3)
    assert found.extra.backbone == "resnet38"
    assert found.extra.norm_momentum == pytest.approx(3e-4, rel=0.01)
    assert found.needs_regions


def test_the_published_training_of_v2() -> None:
    found = tasks.settings_of(config_of("deeplab_v2", backbone="resnet38"), 10_582)
    assert (found.lr, found.lr_new_factor, found.bias_lr_factor) == (2.5e-4, 10, 2)
    assert (found.batch, found.crop, found.rescale) == (10, 321, (0.5, 1.5))
    assert found.rescale_step == 0.25
    assert found.jitter == (0, 0, 0, 0)
    assert (found.momentum, found.weight_decay, found.bias_decay) == (0.9, 5e-4, False)
    assert found.extra == Network("deeplab_v2", "resnet101", found.extra.norm_momentum)


def test_what_is_set_is_taken() -> None:
    config = config_of(
        "deeplab_v1", segment_lr=0.5, segment_crop=96, segment_batch=4, segment_steps=30
    )
    found = tasks.settings_of(config, 41)
    assert (found.lr, found.crop, found.batch, found.epochs) == (0.5, 96, 4, 3)
    assert found.extra == Network("deeplab_v1", "small", 0.1)
    assert tasks.settings_of(config, 3).epochs == 30  # train says that it is too few
    assert tasks.settings_of(config_of("deeplab_v1", segment_steps=1), 900).epochs == 1
    assert hash(found) == hash(tasks.settings_of(config, 41))


def test_a_config_without_a_network_has_no_task() -> None:
    config = make_config({"method": "cam"})
    for ask in (tasks.task_of, tasks.inference_of, tasks.network_of):
        with pytest.raises(InputError, match="segment: none"):
            ask(config)


def test_the_published_tests() -> None:
    one = tasks.inference_of(config_of("deeplab_v1", segment_crf="seamv1"))
    assert one == tasks.Inference((0.5, 0.75, 1, 1.25, 1.5, 1.75), True, SETTINGS["seamv1"])
    assert tasks.inference_of(config_of("deeplab_v2")) == tasks.Inference((1.0,), False)
    assert tasks.inference_of(config_of("deeplab_v2", segment_crf="deeplab")).bgr
    own = config_of("deeplab_v1", segment_scales=[1.0], segment_flip_test=False)
    assert tasks.inference_of(own) == tasks.Inference((1.0,), False)


@pytest.mark.parametrize("name", NAMES)
def test_a_mirrored_image_has_mirrored_probabilities(name: str) -> None:
    net, image = net_of(name), picture(44, 36)
    config = config_of(name, segment_flip_test=True, segment_scales=[0.5, 1.0])
    found = predict(net, image, config)
    other = predict(net, np.ascontiguousarray(image[:, ::-1]), config)
    torch.testing.assert_close(found, other.flip(-1), atol=1e-5, rtol=0)
    alone = predict(net, image, config_of(name, segment_flip_test=False, segment_scales=[1.0]))
    assert float((found - alone).abs().max()) > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_probabilities_are_the_softmax_of_the_mean_logits(name: str) -> None:
    net, image = net_of(name), picture(44, 36)
    config = config_of(name, segment_scales=[0.5, 1.25], segment_flip_test=True)
    total: Any = 0
    with torch.no_grad():
        for scale in (0.5, 1.25):
            inputs = to_input(rescale(image, scale))[None]
            for flipped in (False, True):
                logits = net(inputs.flip(-1) if flipped else inputs)[-1]
                logits = nn.functional.interpolate(
                    logits, (44, 36), mode="bilinear", align_corners=name == "deeplab_v1"
                )
                total = total + (logits.flip(-1) if flipped else logits)
    torch.testing.assert_close(predict(net, image, config), (total / 4).softmax(1)[0])


@pytest.mark.parametrize("name", NAMES)
def test_images_of_one_size_go_together(name: str) -> None:
    net, images = net_of(name), [picture(30, 40, seed) for seed in range(3)]
    config = config_of(name, segment_crf="seamv1", segment_scales=[0.75, 1.0])
    together = predict_group(net, images, config)
    for image, own in zip(images, together, strict=True):
        torch.testing.assert_close(own, predict(net, image, config), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(1, 1), (1, 30), (25, 1), (2, 3)])
def test_tiny_images_with_81_classes(name: str, size: tuple[int, int]) -> None:
    found = predict(net_of(name, 81), picture(*size), config_of(name, segment_crf="deeplab"))
    assert found.shape == (81, *size)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.sum(0), torch.ones(size), atol=1e-4, rtol=0)


def scores(classes: int, winners: int, odds: float, seed: int = 0) -> Tensor:
    """Smooth probabilities in which all but a few classes are improbable everywhere."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, classes, 5, 6, generator=generator)
    logits = nn.functional.interpolate(coarse, (30, 36), mode="bicubic")[0]
    logits[:winners] = 3 * logits[:winners] + odds
    return logits.softmax(0)


@pytest.mark.parametrize("name", ["seamv1", "deeplab", "cpn"])
@pytest.mark.parametrize(("odds", "rarest"), [(11.0, 1e-3), (14.0, 1e-4), (30.0, 1e-5)])
def test_improbable_classes_together_are_the_full_crf(
    name: str, odds: float, rarest: float
) -> None:
    image = torch.from_numpy(picture(30, 36).copy())
    given = scores(40, 3, odds)
    most = given.flatten(1).amax(1)
    rare = most <= crf.RARE
    assert 10 < int(rare.sum()) < 38
    assert float(most[rare].max()) <= rarest
    found = crf.crf_probabilities(image, given, SETTINGS[name])
    wanted = dense_crf(image, unary_of_probabilities(given), SETTINGS[name])
    assert float((found - wanted).abs().max()) < (1e-4 if rarest > 1e-4 else 1e-5)
    assert float((found - wanted).abs().mean()) < 1e-7
    assert torch.equal(found.argmax(0), wanted.argmax(0))


def test_probable_classes_are_never_put_together() -> None:
    image = torch.from_numpy(picture(30, 36).copy())
    given = scores(5, 5, 0.0)
    wanted = dense_crf(image, unary_of_probabilities(given), SETTINGS["cpn"])
    assert torch.equal(crf.crf_probabilities(image, given, SETTINGS["cpn"]), wanted)


def test_one_class_that_is_certain_stays_so() -> None:
    given = torch.zeros(81, 4, 5)
    given[7] = 1
    found = crf.crf_probabilities(torch.zeros(4, 5, 3).byte(), given, SETTINGS["deeplab"])
    assert float(found[7].min()) > 0.99


def test_a_png_round_trip_in_voc_s_colours() -> None:
    labels = np.arange(21, dtype=np.uint8).repeat(6).reshape(9, 14)
    labels[0, :3] = 255
    content = label_png(labels, colour_map(21))
    assert np.array_equal(read_labels(content), labels)
    assert label_png(np.asfortranarray(labels), colour_map(21)) == content
    with Image.open(io.BytesIO(content)) as found:
        assert found.mode == "P"
        colours = np.array(found.getpalette()).reshape(-1, 3)
    # The development kit's map: aeroplane, bicycle, bird, ..., tvmonitor, and the border.
    assert colours[[0, 1, 2, 3, 15, 20, 255]].tolist() == [
        [0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0],
        [192, 128, 128], [0, 64, 128], [224, 224, 192],
    ]  # fmt: skip


def test_a_label_without_a_colour_is_refused() -> None:
    with pytest.raises(InputError, match="label 21 has no colour"):
        label_png(np.full((2, 2), 21, np.uint8), colour_map(21))
    with pytest.raises(DamagedSample, match=r"x\.png: the mask does not decode"):
        read_labels(b"no png", "x.png")


def test_the_test_server_s_folder() -> None:
    assert str(voc_server_folder()) == "results/VOC2012/Segmentation/comp6_test_cls"
    assert str(voc_server_folder("val", 2007, 5)) == "results/VOC2007/Segmentation/comp5_val_cls"
