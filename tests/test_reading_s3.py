"""Reading and verifying through a local S3 server: what vanishes or changes there is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_data import make_source
from s3_server import Bucket, s3, server

from camsweep.shards.errors import DamagedSample, InputError
from camsweep.shards.manifest import load_manifest, write_manifest
from camsweep.shards.reader import open_split, stream
from camsweep.shards.verify import check_digests, verify
from camsweep.shards.writing.writer import build

__all__ = ["s3", "server"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAMSWEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def url(s3: Bucket) -> str:
    url = s3.url("d")
    build(make_source(9), url, shard_samples=4, workers=1)
    return url


def shards(cache: Path) -> int:
    return len(list((cache / "shards").glob("*.tar")))


def test_shards_are_fetched_when_they_are_needed(url: str, tmp_path: Path, cache: Path) -> None:
    build(make_source(9), tmp_path / "d", shard_samples=4, workers=1)
    local = open_split(tmp_path / "d", "train", decoded=False)
    remote = open_split(url, "train", decoded=False)
    assert remote.manifest == local.manifest
    assert shards(cache) == 0
    assert np.array_equal(remote[5].image, local[5].image)
    assert shards(cache) == 1
    assert "?" not in remote.where(5)
    for got in (list(remote), list(stream(url, "train"))):
        assert [sample.key for sample in got] == local.keys
        assert all(
            np.array_equal(sample.mask, local[index].mask) for index, sample in enumerate(got)
        )
    assert verify(url).problems == []
    assert verify(url, workers=2).samples == 9


def test_an_object_that_vanishes_in_an_epoch(url: str, s3: Bucket, cache: Path) -> None:
    reader = open_split(url, "train", decoded=False)
    assert reader[0].key == "train_0"
    s3.delete("d/train-000001.tar")
    name = f"s3://{s3.name}/d/train-000001.tar"
    for index in (4, 7):
        with pytest.raises(DamagedSample, match=f"^{name}, sample train_{index}: ") as caught:
            reader[index]
        assert "\n" not in str(caught.value)
        assert "endpoint_override" not in str(caught.value)
    assert reader[8].key == "train_8"
    with pytest.raises(DamagedSample, match=f"^{name}, sample train_4: "):
        list(stream(url, "train", strict=False))
    with pytest.raises(InputError, match=f"^{name}: cannot be read"):
        open_split(url, "train")
    assert len(check_digests(url, ["train"], raise_=False)) == 1
    assert any(line.startswith(f"{name}: ") for line in verify(url).problems)


def test_an_object_that_changes(url: str, s3: Bucket, cache: Path) -> None:
    content = bytearray(s3.get("d/train-000001.tar"))
    content[3000] ^= 1
    s3.put("d/train-000001.tar", bytes(content))
    reader = open_split(url, "train", decoded=False)
    line = rf"^s3://{s3.name}/d/train-000001\.tar, sample train_4: .*SHA-256"
    with pytest.raises(DamagedSample, match=line):
        reader[4]
    with pytest.raises(DamagedSample, match=line):
        list(stream(url, "train"))
    assert reader[3].key == "train_3"
    assert shards(cache) == 1
    assert any("train-000001.tar: " in line for line in verify(url).problems)


def test_a_cache_too_small_for_a_shard(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMSWEEP_CACHE_GB", "0.000001")
    reader = open_split(url, "train", decoded=False)
    with pytest.raises(DamagedSample, match=r"train-000000\.tar, sample train_2: .*CACHE_GB"):
        reader[2]


def test_format_1_in_a_bucket(url: str, s3: Bucket, cache: Path) -> None:
    manifest = load_manifest(url)
    s3.delete("d/train.index.arrow")
    write_manifest(url, manifest.model_copy(update={"format": 1, "indexes": {}}))
    assert open_split(url, "train").keys == [f"train_{index}" for index in range(9)]
    for path in (cache / "shards").glob("*.tar"):
        path.unlink()
    assert len(open_split(url, "train")) == 9
    assert shards(cache) == 0


def test_a_shard_that_cannot_be_fetched_is_asked_for_again_only_after_a_while(
    url: str, s3: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = open_split(url, "train", decoded=False)
    content = s3.get("d/train-000001.tar")
    s3.delete("d/train-000001.tar")
    now = 1000.0
    monkeypatch.setattr("camsweep.shards.shardfiles.time.monotonic", lambda: now)
    for index in (4, 5):
        with pytest.raises(DamagedSample, match=f"sample train_{index}: "):
            reader[index]
    s3.put("d/train-000001.tar", content)
    with pytest.raises(DamagedSample, match="sample train_6: "):
        reader[6]
    now += 31
    assert reader[6].key == "train_6"
