from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage.measure import label

from camsweep.shards.errors import DamagedSample, InputError
from camsweep.shards.superpixels.labelmaps import decode_labels, encode_labels
from camsweep.shards.superpixels.slic import segment


def picture(seed: int, height: int = 40, width: int = 56) -> np.ndarray:
    """A smooth random image: coarse noise, enlarged."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


def test_golden_labels(shared: Path) -> None:
    with np.load(shared / "golden" / "misc.seed0.npz", allow_pickle=False) as golden:
        image, wanted = golden["hide/image"], golden["hide/ss_slic_labels"]
    assert np.array_equal(segment(image, 300), wanted)


@pytest.mark.parametrize("scaling", ["modern", "released"])
@pytest.mark.parametrize("s_n", [2, 20, 300])
def test_labels_are_a_partition(scaling: str, s_n: int) -> None:
    labels = segment(picture(0), s_n, scaling=scaling)
    assert labels.dtype == np.uint16
    assert labels.shape == (40, 56)
    assert np.array_equal(np.unique(labels), np.arange(1, labels.max() + 1))
    assert labels.max() <= 1.5 * s_n + 2
    pieces = label(labels, connectivity=1, background=0).max()
    assert pieces == labels.max()


def test_released_scaling_weighs_colour_more() -> None:
    image = picture(1)
    modern, released = segment(image, 60), segment(image, 60, scaling="released")
    assert not np.array_equal(modern, released)
    # Colours reach about 5 times further without the rescaling, as if compactness were lower.
    assert released.max() < modern.max()


def test_flat_image() -> None:
    for scaling in ("modern", "released"):
        labels = segment(np.full((30, 30, 3), 7, np.uint8), 9, scaling=scaling)
        assert labels.min() == 1


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ((1, 10.0, "modern"), "S_N = 1; 2 to 65535"),
        ((70000, 10.0, "modern"), "S_N = 70000"),
        ((9, 0.0, "modern"), "compactness = 0.0"),
        ((9, 10.0, "modem"), "did you mean 'modern'"),
    ],
)
def test_wrong_settings(settings: tuple[int, float, str], line: str) -> None:
    with pytest.raises(InputError, match=line):
        segment(picture(0), *settings)


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    most=st.sampled_from([1, 255, 256, 65535]),
    seed=st.integers(0, 99),
)
def test_label_png_is_a_png_and_comes_back(height: int, width: int, most: int, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, most + 1, (height, width), dtype=np.uint16)
    content = encode_labels(labels)
    back = decode_labels(content, "x")
    assert back.dtype == np.uint16
    assert not back.flags.writeable
    assert np.array_equal(back, labels)
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.mode == "I;16"
        assert np.array_equal(np.asarray(picture), labels)


def pillow_png(labels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(labels).save(stream, format="PNG")
    return stream.getvalue()


def test_label_png_of_other_programs_is_read() -> None:
    labels = segment(picture(3), 30)
    content = pillow_png(labels)
    assert content != encode_labels(labels)
    assert np.array_equal(decode_labels(content, "x"), labels)


def test_damaged_label_png_is_named() -> None:
    labels = np.arange(40 * 50, dtype=np.uint16).reshape(40, 50) * 31
    for content in (encode_labels(labels), pillow_png(labels)):
        with pytest.raises(DamagedSample, match="x: the superpixels do not decode"):
            decode_labels(content[:-30], "x")
    stream = io.BytesIO()
    Image.fromarray(labels.astype(np.uint8)).save(stream, format="PNG")
    with pytest.raises(DamagedSample, match="not a 16 bit grey PNG"):
        decode_labels(stream.getvalue(), "x")


def test_label_png_of_absurd_size_is_refused_before_it_is_made() -> None:
    content = encode_labels(np.ones((2, 2), np.uint16))
    huge = content[:16] + b"\x7f\xff\xff\xff" * 2 + content[24:]
    with pytest.raises(DamagedSample, match="x: the superpixels do not decode"):
        decode_labels(huge, "x")
