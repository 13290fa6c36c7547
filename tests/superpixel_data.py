"""A small data set of smooth pictures; shared by the tests of superpixels."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camsweep.shards.colours import colour_map
from camsweep.shards.reader import open_split
from camsweep.shards.superpixels import SuperpixelReader, segmenting
from camsweep.shards.superpixels.slic import segment
from camsweep.shards.tarindex import survey
from camsweep.shards.writing.writer import Source, SourceSample, build

COUNT = 5


def picture(seed: int, height: int = 40, width: int = 56) -> np.ndarray:
    """A smooth random image: coarse noise, enlarged."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


def sample(index: int) -> SourceSample:
    stream = io.BytesIO()
    height = 40 + index
    Image.fromarray(picture(index, height)).save(stream, "JPEG")
    return SourceSample(f"s{index}", stream.getvalue(), None, (1,), (height, 56), f"s{index}")


def make_source(count: int = COUNT) -> Source:
    samples = [partial(sample, index) for index in range(count)]
    classes = ("background", "thing")
    splits = {"train": samples, "val": samples[:2]}
    return Source("tiny", "made", classes, colour_map(2), {}, splits)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAMSWEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(segmenting, "CHUNK", 2)
    build(make_source(), tmp_path / "d", workers=1)
    return tmp_path / "d"


def files(folder: Path) -> set[str]:
    """Endings of what lies in a folder of side sets, hidden files and folders included."""
    return {path.suffix for path in folder.iterdir()}


def check(reader: SuperpixelReader, root: Path, s_n: int, scaling: str = "modern") -> None:
    images = open_split(root, "train")
    assert len(reader) == len(images) == COUNT
    for index in range(COUNT):
        wanted = segment(images[index].image, s_n, scaling=scaling)
        for _ in range(2):  # decoded, then from the cache of the node
            assert np.array_equal(reader[index], wanted)
            assert not reader[index].flags.writeable
        assert reader.segments[index] == wanted.max()


def damage(root: Path, key: str) -> None:
    (shard,) = root.glob("train-*.tar")
    content = bytearray(shard.read_bytes())
    content[survey(shard).samples[key].members["jpg"].offset + 200] ^= 255
    shard.write_bytes(content)
