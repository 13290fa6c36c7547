"""Superpixels of data in object storage: computed on one node, found by the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from s3_server import Bucket, s3, server
from test_superpixels import COUNT, make_source

from camsweep.shards.errors import DamagedSample
from camsweep.shards.reader import open_split
from camsweep.shards.superpixels import open_superpixels, precompute, segmenting
from camsweep.shards.superpixels.slic import segment
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
    s3.put(tar, b"x" * reader._side.facts.bytes)  # type: ignore[union-attr]
    with pytest.raises(DamagedSample, match=r"sample s3 .*SHA-256"):
        reader[3]
