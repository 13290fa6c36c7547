"""Superpixels of data in object storage: computed on one node, found by the others."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from s3_server import Bucket, s3, server
from superpixel_data import COUNT, make_source

from camsweep.shards.errors import DamagedSample, InputError
from camsweep.shards.places import Place
from camsweep.shards.reader import open_split
from camsweep.shards.superpixels import open_superpixels, precompute, segmenting
from camsweep.shards.superpixels.slic import segment
from camsweep.shards.verify import verify
from camsweep.shards.writing.writer import build

__all__ = ["s3", "server"]


@pytest.fixture
def url(s3: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("CAMSWEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(segmenting, "CHUNK", 2)
    build(make_source(), s3.url("d"), workers=1)
    return s3.url("d")


def other_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Nothing is cached there, and nothing may be computed."""
    monkeypatch.setenv("CAMSWEEP_CACHE", str(tmp_path / name))
    monkeypatch.setattr(segmenting, "segment", None)


def test_published_superpixels_are_found_by_other_nodes(
    url: str, s3: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = open_superpixels(url, "train", 12)
    assert not [key for key in s3.objects() if "superpixels" in key]
    (line,) = precompute(url, ["train"], [12], publish=True)
    assert not line.new
    assert line.where.startswith(f"s3://{s3.name}/d/superpixels/train-sp12-")
    assert "endpoint" not in str(line)
    assert len([key for key in s3.objects() if key.startswith("d/superpixels/")]) == 3
    other_node(tmp_path, monkeypatch, "b")
    there = open_superpixels(url, "train", 12)
    assert there.digest == here.digest
    images = open_split(url, "train")
    for index in range(COUNT):
        assert np.array_equal(there[index], segment(images.image(index), 12))


def test_an_outage_is_no_damage_and_leaves_no_image_out(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Place, file: str) -> Iterator[bytes]:
        raise OSError(errno.EIO, "no connection", file)

    precompute(url, ["train"], [12], publish=True)
    monkeypatch.setenv("CAMSWEEP_CACHE", str(tmp_path / "b"))
    reader = open_superpixels(url, "train", 12)
    with monkeypatch.context() as patched:
        patched.setattr(Place, "_chunks", fail)
        with pytest.raises(InputError, match=r"sample s3: .*no connection") as caught:
            reader[3]
        assert not isinstance(caught.value, DamagedSample)
        with pytest.raises(InputError, match="no connection") as caught:
            open_superpixels(url, "train", 9, skip_damaged=True)
        assert not isinstance(caught.value, DamagedSample)
    assert not list((tmp_path / "b" / "superpixels").glob("*.json"))
    assert (open_superpixels(url, "train", 9, skip_damaged=True).segments > 0).all()


def test_superpixels_that_vanish_are_named(
    url: str, s3: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    precompute(url, ["train"], [12], publish=True, workers=2)
    other_node(tmp_path, monkeypatch, "b")
    reader = open_superpixels(url, "train", 12)
    (tar,) = (key for key in s3.objects() if key.startswith("d/superpixels/") and "tar" in key)
    s3.delete(tar)
    with pytest.raises(DamagedSample, match=f"^s3://{s3.name}/{tar}, sample s3 "):
        reader[3]


def test_a_flipped_byte_costs_one_sample(
    url: str, s3: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    precompute(url, ["train"], [12], publish=True)
    (tar,) = (key for key in s3.objects() if key.startswith("d/superpixels/") and "tar" in key)
    other_node(tmp_path, monkeypatch, "b")
    reader = open_superpixels(url, "train", 12)
    side = reader._side
    assert side is not None
    content = bytearray(s3.get(tar))
    content[int(side.rows.offset[3]) + 60] ^= 1
    s3.put(tar, bytes(content))
    with pytest.raises(DamagedSample, match=rf"^s3://{s3.name}/{tar}, sample s3 .*CRC-32"):
        reader[3]
    assert reader[2].max() == reader.segments[2]
    changed, sample = verify(url).problems
    assert changed.startswith(f"s3://{s3.name}/{tar}: SHA-256 differs")
    assert sample.startswith(f"s3://{s3.name}/{tar}, sample s3 ")
