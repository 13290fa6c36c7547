"""Building into object storage: shards first, the manifest last, going on where stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
from s3_server import Bucket, s3, server

from camsweep.shards.embedded.source import embedded_source
from camsweep.shards.errors import InputError
from camsweep.shards.manifest import load_manifest
from camsweep.shards.places import Place
from camsweep.shards.verify import verify
from camsweep.shards.writing.writer import build

__all__ = ["s3", "server"]

FILES = {
    "manifest.json",
    "train-000000.tar",
    "train-000001.tar",
    "train-000002.tar",
    "train.index.arrow",
    "val-000000.tar",
    "val.index.arrow",
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAMSWEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def names(bucket: Bucket) -> set[str]:
    return {key.rpartition("/")[2] for key in bucket.objects()}


@pytest.mark.parametrize("workers", [1, 2])
def test_the_same_files_as_on_disk(
    s3: Bucket,
    cache: Path,
    tmp_path: Path,
    workers: int,
) -> None:
    source = embedded_source(0, 8, 3)
    remote = build(source, s3.url("data/tiny"), shard_samples=3, workers=workers)
    assert remote == build(source, tmp_path / "local", shard_samples=3)
    assert names(s3) == FILES
    for name in FILES:
        assert s3.get(f"data/tiny/{name}") == (tmp_path / "local" / name).read_bytes()
    assert not list((cache / "building").iterdir())
    assert verify(s3.url("data/tiny")).problems == []


def test_an_interrupted_build_sends_no_shard_twice(
    s3: Bucket,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(split: str, done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    source, url = embedded_source(0, 8, 3), s3.url("tiny")
    with pytest.raises(KeyboardInterrupt):
        build(source, url, shard_samples=3, on_progress=stop)
    assert names(s3) == {"train-000000.tar"}
    with pytest.raises(InputError, match=r"no manifest\.json"):
        load_manifest(url)
    sent: list[str] = []
    upload = Place.upload

    def note(place: Place, path: Path, file: str) -> None:
        sent.append(file)
        upload(place, path, file)

    monkeypatch.setattr(Place, "upload", note)
    build(source, url, shard_samples=3)
    assert sent == ["train-000001.tar", "train-000002.tar", "val-000000.tar"]
    assert names(s3) == FILES
    build(source, url, shard_samples=3)
    assert len(sent) == 3
    s3.delete("tiny/train-000001.tar")
    build(source, url, shard_samples=3)
    assert sent[3:] == ["train-000001.tar"]
    assert verify(url).problems == []


def test_other_data_and_other_files_are_left_alone(s3: Bucket, cache: Path) -> None:
    url = s3.url("tiny")
    s3.put("tiny/thesis.tex", b"")
    with pytest.raises(InputError, match="is not empty"):
        build(embedded_source(0, 4, 2), url)
    s3.delete("tiny/thesis.tex")
    build(embedded_source(0, 4, 2), url)
    before = {key: s3.get(key) for key in s3.objects()}
    with pytest.raises(InputError, match="holds other data") as caught:
        build(embedded_source(1, 4, 2), url)
    assert "endpoint" not in str(caught.value)
    assert {key: s3.get(key) for key in s3.objects()} == before


def test_what_cannot_be_written_is_one_line(s3: Bucket, cache: Path) -> None:
    with pytest.raises(InputError, match="is read-only"):
        build(embedded_source(0, 4, 2), "https://example.org/data")
    missing = s3.url("tiny").replace(s3.name, "no-such-bucket")
    with pytest.raises(InputError, match=r"000000\.tar: cannot be written") as caught:
        build(embedded_source(0, 4, 2), missing)
    assert str(caught.value).startswith("s3://no-such-bucket/tiny/train-")
    assert "\n" not in str(caught.value)
    assert "endpoint" not in str(caught.value)
