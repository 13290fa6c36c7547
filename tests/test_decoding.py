"""Decoding equals Pillow's own, pixel by pixel; what does not decode is a damaged sample."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from camsweep.shards.decoding import decode_facts, decode_image, decode_mask
from camsweep.shards.errors import DamagedSample

PIXELS = np.random.default_rng(0).integers(0, 256, (37, 51, 3), dtype=np.uint8)


def jpeg(mode: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(stream, format="JPEG", quality=90)
    return stream.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_an_image_of_any_mode_becomes_rgb(mode: str) -> None:
    content = jpeg(mode)
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.mode == mode
        expected = np.asarray(picture.convert("RGB"))
    image = decode_image(content, "here")
    assert image.dtype == np.uint8
    assert image.shape == (37, 51, 3)
    assert np.array_equal(image, expected)
    assert not image.flags.writeable


def test_real_photographs(shared) -> None:
    for path in sorted((shared / "voc-mini" / "JPEGImages").glob("*.jpg"))[:4]:
        with Image.open(path) as picture:
            assert np.array_equal(
                decode_image(path.read_bytes(), "here"), np.asarray(picture.convert("RGB"))
            )


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("keep", [0, 20, 0.5])
def test_a_jpeg_cut_short_is_a_damaged_sample(mode: str, keep: float) -> None:
    content = jpeg(mode)
    cut = content[: int(keep if keep > 1 else keep * len(content))]
    with pytest.raises(DamagedSample, match=r"shard-0\.tar, sample a: the image does not decode"):
        decode_image(cut, "shard-0.tar, sample a")


def test_a_mask_is_its_indices() -> None:
    mask = (PIXELS[..., 0] % 4).astype(np.uint8)
    mask[0, 0] = 255
    picture = Image.fromarray(mask, mode="P")
    picture.putpalette(list(range(256)) * 3)
    stream = io.BytesIO()
    picture.save(stream, format="PNG")
    assert np.array_equal(decode_mask(stream.getvalue(), "here"), mask)
    with pytest.raises(DamagedSample, match="here: the mask does not decode"):
        decode_mask(stream.getvalue()[:60], "here")


def test_a_mask_of_colours_is_refused() -> None:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, format="PNG")
    with pytest.raises(DamagedSample, match="here: the mask is not an 8 bit palette PNG"):
        decode_mask(stream.getvalue(), "here")


def test_facts() -> None:
    assert decode_facts(b'{"labels": [3, 1, 3], "size": [5, 7]}', 4, "here") == ((1, 3), (5, 7))
    for wrong in (b"{", b"[]", b'{"labels": [1]}', b'{"labels": [4], "size": [5, 7]}'):
        with pytest.raises(DamagedSample, match="here: "):
            decode_facts(wrong, 4, "here")
