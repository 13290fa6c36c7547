from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.v2 import functional

from camsweep.shards.augment import (
    Augment,
    Drawn,
    augment,
    draw,
    long_side_size,
    move_image,
    move_labels,
    normalise,
    sample_rng,
)

PLAIN = Augment(crop=40, resize=None, flip=False, jitter=(0, 0, 0, 0))


def resize_labels(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Nearest-neighbour resize, pixel centres aligned, in whole numbers."""
    rows = (2 * np.arange(height) + 1) * labels.shape[0] // (2 * height)
    columns = (2 * np.arange(width) + 1) * labels.shape[1] // (2 * width)
    return labels[rows[:, None], columns]


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def ids(height: int, width: int) -> np.ndarray:
    return np.arange(1, height * width + 1, dtype=np.uint16).reshape(height, width)


def test_golden_resize_and_normalise(shared: Path) -> None:
    with np.load(shared / "golden" / "misc.seed0.npz", allow_pickle=False) as golden:
        image = golden["in/aug_image"]
        assert np.allclose(normalise(image), golden["out/normalized"], atol=1e-6)
        for which in ("up", "down"):
            wanted = golden[f"out/resized_{which}"]
            target = int(golden[f"aug/{which}_target_long"])
            assert long_side_size(*image.shape[:2], target) == wanted.shape[:2]
            settings = replace(PLAIN, crop=target, resize=(target, target))
            out, _ = augment(image, None, settings, sample_rng(0, 0, 0))
            inside = out[:, (out != 0).any(0).any(1)].numpy().transpose(1, 2, 0)
            assert np.allclose(inside, normalise(wanted), atol=1e-6)


def test_golden_crop(shared: Path) -> None:
    with np.load(shared / "golden" / "misc.seed0.npz", allow_pickle=False) as golden:
        for which in ("up", "down"):
            resized = golden[f"out/resized_{which}"]
            wanted = golden[f"out/crop_{which}"]
            settings = replace(PLAIN, crop=int(golden[f"aug/{which}_cropsize"]))
            # Some draw gives the stored box; at that draw the crop is the stored one.
            crops = (
                augment(resized, None, settings, sample_rng(0, 0, index))[0].numpy()
                for index in range(3000)
            )
            assert any(np.allclose(crop.transpose(1, 2, 0), wanted, atol=1e-5) for crop in crops)


def test_crop_of_the_image_size_is_the_identity() -> None:
    image, labels = picture(40, 40), ids(40, 40)
    out, moved = augment(image, labels, PLAIN, sample_rng(1, 2, 3))
    assert out.shape == (3, 40, 40)
    assert out.dtype == torch.float32
    assert moved is not None
    assert moved.dtype == torch.int64
    assert np.allclose(out.numpy().transpose(1, 2, 0), normalise(image))
    assert np.array_equal(moved.numpy(), labels)
    assert augment(image, None, replace(PLAIN, resize=(0, 0)), sample_rng(1, 2, 3))[1] is None


@given(
    height=st.integers(5, 70),
    width=st.integers(5, 70),
    crop=st.integers(4, 60),
    index=st.integers(0, 10_000),
    resize=st.sampled_from([None, (30, 50)]),
    flip=st.booleans(),
)
def test_labels_follow_the_image(
    height: int, width: int, crop: int, index: int, resize: tuple[int, int] | None, flip: bool
) -> None:
    # An image whose value is its label: after any geometry both must agree, padding included.
    labels = np.full((height, width), 1, dtype=np.uint16)
    labels[:, width // 2 :] = 2
    image = np.repeat((labels * 100)[..., None], 3, axis=2).astype(np.uint8)
    settings = replace(PLAIN, crop=crop, resize=resize, flip=flip, mean=(0, 0, 0), std=(1, 1, 1))
    out, moved = augment(image, labels, settings, sample_rng(0, 0, index))
    assert out.shape == (3, crop, crop)
    assert moved is not None
    assert torch.equal(moved == 0, out[0] == 0)
    if resize is None:
        assert torch.allclose(out[0] * 255 / 100, moved.float(), atol=1e-3)
        assert (moved > 0).sum() == min(crop, height) * min(crop, width)


def test_padding_is_zero_and_everywhere_possible() -> None:
    places = set()
    for index in range(400):
        out, moved = augment(picture(38, 60), ids(38, 60), PLAIN, sample_rng(0, 0, index))
        assert moved is not None
        rows = (moved > 0).any(1).nonzero().flatten()
        assert len(rows) == 38
        assert (out[:, moved == 0] == 0).all()
        corner = int(moved[rows[0], 0]) - 1
        assert 0 <= corner <= 20
        places.add((int(rows[0]), corner))
    assert {top for top, _ in places} == {0, 1, 2}
    assert {left for _, left in places} == set(range(21))


def test_flip_is_fair_and_independent_of_the_other_draws() -> None:
    image = picture(60, 60)
    flipped = 0
    for index in range(400):
        plain, at = augment(image, ids(60, 60), PLAIN, sample_rng(0, 0, index))
        mirrored, to = augment(
            image, ids(60, 60), replace(PLAIN, flip=True), sample_rng(0, 0, index)
        )
        assert at is not None
        assert to is not None
        if torch.equal(plain, mirrored):
            continue
        flipped += 1
        # Same rows; the columns run backwards.
        assert torch.equal((at[:, 0] - 1) // 60, (to[:, 0] - 1) // 60)
        assert (to[:, 1] - to[:, 0] == -1).all()
    assert 160 < flipped < 240


def test_gain_multiplies_before_the_mean_is_taken() -> None:
    image = picture(40, 40)
    settings = replace(PLAIN, gain=0.3)
    gains = []
    for index in range(200):
        out, _ = augment(image, None, settings, sample_rng(0, 0, index))
        mean, std = np.array(settings.mean), np.array(settings.std)
        raw = out.numpy().transpose(1, 2, 0) * std + mean
        gain = raw.sum() / (image / 255).sum()
        assert np.allclose(raw, gain * image / 255, atol=1e-5)
        gains.append(gain)
    assert 0.7 <= min(gains) < 0.73
    assert 1.27 < max(gains) <= 1.3


def test_resize_draws_the_whole_range() -> None:
    settings = replace(PLAIN, crop=64, resize=(50, 60))
    sides = set()
    for index in range(300):
        _, moved = augment(picture(20, 30), ids(20, 30), settings, sample_rng(0, 0, index))
        assert moved is not None
        sides.add(int((moved > 0).any(0).sum()))
    assert sides == set(range(50, 61))


@pytest.mark.parametrize("which", range(4))
def test_each_jitter_acts_within_its_reach(which: int) -> None:
    image = np.full((40, 40, 3), (120, 90, 60), np.uint8)
    image[:20] = (60, 80, 100)
    reach = [0.0] * 4
    reach[which] = 0.3
    settings = replace(PLAIN, jitter=tuple(reach), mean=(0, 0, 0), std=(1, 1, 1))
    outs = [augment(image, None, settings, sample_rng(0, 0, index))[0] for index in range(60)]
    assert len({out.numpy().tobytes() for out in outs}) > 20
    means = np.array([float(out.mean()) * 255 for out in outs]) / image.mean()
    if which == 0:
        assert 0.69 < means.min() < 0.75
        assert 1.25 < means.max() < 1.31
    if which == 1:
        assert np.allclose(means, 1, atol=0.02)
        spread = [float(out.max() - out.min()) * 255 for out in outs]
        assert min(spread) < 50 < 70 < max(spread)


def test_same_seed_same_image() -> None:
    image, labels = picture(50, 60), ids(50, 60)
    settings = Augment(crop=48, resize=(40, 70))
    one, other = (augment(image, labels, settings, sample_rng(3, 4, 5)) for _ in range(2))
    assert torch.equal(one[0], other[0])
    for key in ((4, 4, 5), (3, 5, 5), (3, 4, 6)):
        assert not torch.equal(one[0], augment(image, labels, settings, sample_rng(*key))[0])


def test_input_is_left_as_it_was() -> None:
    image, labels = picture(40, 40), ids(40, 40)
    image.setflags(write=False)
    labels.setflags(write=False)
    before = image.copy()
    out, moved = augment(image, labels, replace(PLAIN, flip=True), sample_rng(0, 0, 1))
    out.zero_()
    assert moved is not None
    moved.zero_()
    assert np.array_equal(image, before)


def test_nearest_resize_equals_pillow() -> None:
    labels = ids(30, 41)
    for height, width in ((60, 82), (17, 23), (45, 62)):
        settings = replace(PLAIN, crop=width, resize=(width, width))
        drawn = draw(30, 41, settings, sample_rng(0, 0, 0))
        assert (drawn.height, drawn.width) == (height, width)
        wanted = Image.fromarray(labels).resize((width, height), Image.Resampling.NEAREST)
        inside = move_labels(labels, drawn)[drawn.rows.on_canvas, drawn.columns.on_canvas]
        assert np.array_equal(inside.numpy(), np.asarray(wanted))


def as_published(image: np.ndarray, drawn: Drawn, settings: Augment) -> np.ndarray:
    """The released code's order, step by step on the whole image: float64 [3, crop, crop]."""
    picture = Image.fromarray(image)
    picture = picture.resize((drawn.width, drawn.height), Image.Resampling.BICUBIC)
    if drawn.mirrored:
        picture = functional.horizontal_flip(picture)
    adjust = (
        functional.adjust_brightness,
        functional.adjust_contrast,
        functional.adjust_saturation,
        functional.adjust_hue,
    )
    for which in drawn.order:
        if settings.jitter[which]:
            picture = adjust[which](picture, drawn.factors[which])
    values = (np.asarray(picture) / 255 - settings.mean) / settings.std
    canvas = np.zeros((drawn.crop, drawn.crop, 3))
    part = values[drawn.rows.in_image, drawn.columns.in_image]
    canvas[drawn.rows.on_canvas, drawn.columns.on_canvas] = part
    return canvas.transpose(2, 0, 1)


@pytest.mark.parametrize(
    "jitter", [(0.3, 0.3, 0.3, 0.1), (0, 0.3, 0, 0), (0.3, 0, 0.3, 0.1), (0, 0, 0, 0)]
)
def test_equals_the_published_order_on_the_whole_image(jitter: tuple[float, ...]) -> None:
    # The jitter is done on less than the whole image where that changes nothing.
    settings = Augment(crop=40, resize=(30, 70), jitter=jitter)  # type: ignore[arg-type]
    image = np.asarray(Image.fromarray(picture(9, 12)).resize((60, 45), Image.Resampling.BICUBIC))
    orders = set()
    for index in range(60):
        drawn = draw(45, 60, settings, sample_rng(5, 6, index))
        orders.add(drawn.order)
        out = move_image(image, drawn, settings).numpy()
        assert np.allclose(out, as_published(image, drawn, settings), atol=1e-6)
    assert len(orders) > 15


def test_factors_have_the_published_ranges() -> None:
    drawn = [draw(300, 400, Augment(), sample_rng(0, 0, index)) for index in range(2000)]
    factors = np.array([each.factors for each in drawn])
    assert np.allclose(factors.min(0), [0.7, 0.7, 0.7, -0.1], atol=0.01)
    assert np.allclose(factors.max(0), [1.3, 1.3, 1.3, 0.1], atol=0.01)
    assert len({each.order for each in drawn}) == 24
    sides = np.array([(each.height, each.width) for each in drawn])
    assert sides[:, 1].min() == 448
    assert sides[:, 1].max() == 768
    assert np.abs(sides[:, 0] - 0.75 * sides[:, 1]).max() <= 0.5


@given(
    height=st.integers(5, 70),
    width=st.integers(5, 70),
    crop=st.integers(4, 60),
    index=st.integers(0, 10_000),
    resize=st.sampled_from([None, (30, 50)]),
)
def test_the_parts_are_what_augment_does(
    height: int, width: int, crop: int, index: int, resize: tuple[int, int] | None
) -> None:
    settings = replace(PLAIN, crop=crop, resize=resize, flip=True)
    image, labels = picture(height, width), ids(height, width)
    both = augment(image, labels, settings, sample_rng(0, 0, index))
    drawn = draw(height, width, settings, sample_rng(0, 0, index))
    moved = move_labels(labels, drawn)
    assert moved.dtype == torch.int32
    assert both[1] is not None
    assert torch.equal(move_image(image, drawn, settings), both[0])
    assert torch.equal(moved.long(), both[1])
    assert torch.equal(drawn.valid(), moved > 0)
    # The crop of the resized map, which is never made.
    resized = resize_labels(labels, drawn.height, drawn.width)
    if drawn.mirrored:
        resized = resized[:, ::-1]
    part = resized[drawn.rows.in_image, drawn.columns.in_image]
    inside = moved[drawn.rows.on_canvas, drawn.columns.on_canvas]
    assert np.array_equal(inside.numpy(), part)


def pattern(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([3 * x + y, x + 2 * y, 5 * x * y], -1).astype(np.uint8)


def test_pixels_of_a_seed_never_change() -> None:
    digest = hashlib.sha256()
    settings = replace(PLAIN, flip=True)
    for index in range(6):
        image, labels = pattern(50 + index, 38), ids(50 + index, 38)
        out, moved = augment(image, labels, settings, sample_rng(1, 2, index))
        assert moved is not None
        digest.update(np.rint(out.numpy() * 1e4).astype("<i4").tobytes())
        digest.update(moved.numpy().astype("<i4").tobytes())
    assert digest.hexdigest() == "9d88ce727f5be7cf068a77d11129723c2f3434b60033403bd62cc64d5d03b1b7"


@pytest.mark.parametrize(
    ("index", "means", "label_sum"),
    [
        (0, (-0.6284, -0.1590, 0.4622), 1782400),
        (2, (-0.4807, -0.7006, -0.1563), 900805),
        (5, (-0.6822, -0.6692, 0.0853), 900805),
    ],
)
def test_resized_and_jittered_pixels_of_a_seed_never_change(
    index: int, means: tuple[float, ...], label_sum: int
) -> None:
    # Compared loosely: Pillow may round a resize or a jitter differently one day.
    settings = Augment(crop=40, resize=(30, 60))
    out, moved = augment(pattern(50, 38), ids(50, 38), settings, sample_rng(1, 2, index))
    assert moved is not None
    assert np.allclose(out.mean((1, 2)), means, atol=0.01)
    assert int(moved.sum()) == label_sum
