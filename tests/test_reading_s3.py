"""Reading and verifying through a local S3 server: what vanishes or changes there is named."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from made_data import make_source
from s3_server import Bucket, s3, server
from test_damage import SHARD, each_damage, flip_pixels, lose_json, unreadable

from camsweep.shards.errors import DamagedSample, InputError
from camsweep.shards.manifest import load_manifest, write_manifest
from camsweep.shards.opening import load_index
from camsweep.shards.places import as_place
from camsweep.shards.reader import SplitReader, open_split, stream
from camsweep.shards.shardfiles import ShardFiles
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


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Method and path of the requests that the server gets from now on."""
    from werkzeug.serving import WSGIRequestHandler

    requests: list[tuple[str, str]] = []
    run = WSGIRequestHandler.run_wsgi

    def counted(self: WSGIRequestHandler) -> None:
        requests.append((self.command, self.path))
        run(self)

    monkeypatch.setattr(WSGIRequestHandler, "run_wsgi", counted)
    return requests


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
    samples = r"\(its samples: train_4 to train_7\)$"
    with pytest.raises(InputError, match=f"^{name}: cannot be read.* {samples}"):
        open_split(url, "train")
    assert len(check_digests(url, ["train"], raise_=False)) == 1
    assert any(line.startswith(f"{name}: ") for line in verify(url).problems)


class At(NamedTuple):
    """A data set in a bucket, and a local copy to damage."""

    local: Path
    url: str
    bucket: Bucket

    def put(self) -> None:
        self.bucket.put(f"d/{SHARD}", (self.local / SHARD).read_bytes())


@pytest.fixture
def at(url: str, s3: Bucket, tmp_path: Path) -> At:
    folder = tmp_path / "local"
    folder.mkdir()
    for key in s3.objects():
        (folder / key.removeprefix("d/")).write_bytes(s3.get(key))
    return At(folder, url, s3)


@each_damage
def test_damage_of_an_object_is_named_and_the_rest_is_read(
    at: At, asked: list[tuple[str, str]], damage: Callable[[Path], None], words: str, lost: set[int]
) -> None:
    """As local damage is, in all respects, and from one download."""
    whole = [sample.image for sample in open_split(at.local, "train", decoded=False)]
    damage(at.local)
    at.put()
    name = f"s3://{at.bucket.name}/d/{SHARD}"
    place, manifest = as_place(at.url), load_manifest(at.url)
    index = load_index(place, manifest, "train")
    for reader in (
        open_split(at.url, "train", decoded=False, strict=False),
        # What is wrong shows when the shard is fetched, in the middle of a run.
        SplitReader(place, manifest, "train", index, decoded=True),
    ):
        lines = unreadable(reader)
        assert set(lines) == lost
        assert all(line.startswith(f"{name}, sample train_{row}: ") for row, line in lines.items())
        assert re.search(words, lines[6])
        for row in set(range(9)) - lost:
            assert np.array_equal(reader[row].image, whole[row])
    seen = []
    samples = (seen.append(sample.key) for sample in stream(at.url, "train", strict=False))
    with pytest.raises(DamagedSample, match=f"^{name}, sample train_6: ") as caught:
        list(samples)
    assert re.search(words, str(caught.value))
    problems = verify(at.url).problems
    assert {
        int(key) for line in problems for key in re.findall(r", sample train_(\d)", line)
    } == lost
    (line,) = [line for line in problems if f"{name}, sample train_6: " in line]
    assert re.search(words, line)
    gets = [path for method, path in asked if method == "GET" and path.endswith(SHARD)]
    assert len(gets) == 1
    # At a run's start only sizes are compared; where they differ the samples are named, too.
    for line in check_digests(at.url, ["train"], raise_=False):
        assert re.search(rf"^{name}: .*sample train_6: ", line)


def test_a_cache_too_small_for_a_shard(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting, and no damage of samples."""
    monkeypatch.setenv("CAMSWEEP_CACHE_GB", "0.000001")
    reader = open_split(url, "train", decoded=False)
    with pytest.raises(InputError, match=r"train-000000\.tar, sample train_2: .*CACHE_GB") as error:
        reader[2]
    assert type(error.value) is InputError


def test_a_full_cache_disk_is_damage(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = open_split(url, "train", decoded=False)
    monkeypatch.setattr(
        "camsweep.shards.places.fetching.shutil.disk_usage", lambda path: SimpleNamespace(free=10)
    )
    with pytest.raises(DamagedSample, match=r"train-000000\.tar, sample train_2: .*full, "):
        reader[2]


def test_an_outage_is_no_damage(url: str, s3: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that are refused, a bucket that is gone: the attempt fails, and says so."""
    reader = open_split(url, "train", decoded=False, strict=False)

    def refused(self: object, file: str) -> object:
        raise OSError("AWS Error ACCESS_DENIED during GetObject operation: no")

    monkeypatch.setattr("camsweep.shards.places.remote._Bucket.chunks", refused)
    for read in (lambda: reader[5], lambda: list(stream(url, "train"))):
        with pytest.raises(InputError, match=r"sample train_\d: .*access refused") as caught:
            read()
        assert type(caught.value) is InputError
    monkeypatch.undo()
    for name in s3.objects():
        s3.delete(name)
    with pytest.raises(InputError, match=r"sample train_5: ") as caught:
        open_again(reader)[5]
    assert type(caught.value) is InputError


def open_again(reader: SplitReader) -> SplitReader:
    """A copy of a reader, as a worker process gets it."""
    copy: SplitReader = pickle.loads(pickle.dumps(reader))
    return copy


def damage_copies(cache: Path) -> None:
    """As a power cut does: the sizes were stored, the content was not."""
    for path in (cache / "shards").glob("*.tar"):
        path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize(
    "read",
    [
        lambda url: [sample.key for sample in open_split(url, "train", decoded=False)],
        lambda url: [sample.key for sample in stream(url, "train")],
        lambda url: verify(url).problems or [f"train_{row}" for row in range(9)],
    ],
    ids=["reader", "stream", "verify"],
)
def test_a_copy_that_the_node_lost_is_fetched_again(
    url: str, cache: Path, read: Callable[[str], list[str]]
) -> None:
    wanted = read(url)
    assert wanted == [f"train_{row}" for row in range(9)]
    damage_copies(cache)
    assert read(url) == wanted
    damage_copies(cache)
    reader = open_split(url, "train", decoded=False, strict=False)
    assert unreadable(reader) == {}


def test_copies_thrown_out_do_not_stay_on_the_disk(url: str, cache: Path) -> None:
    reader = open_split(url, "train", decoded=False)
    for sample in reader:
        assert sample.key
    assert held_descriptors(cache) == []
    copies = sorted((cache / "shards").glob("*.tar"))
    for path in copies:
        path.unlink()
    assert reader[5].key == "train_5"


def test_a_copy_thrown_out_before_a_survey_is_no_damage(
    at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy cache of the node: the shard is damaged, and its copy goes while it is looked at."""
    flip_pixels(at.local)
    at.put()
    real, asked = ShardFiles.path, []

    def gone_at_first(files: ShardFiles, number: int) -> Path:
        path = real(files, number)
        asked.append(path)
        if len(asked) == 2:
            path.unlink()
        return path

    reader = open_split(at.url, "train", decoded=False)
    monkeypatch.setattr(ShardFiles, "path", gone_at_first)
    assert reader[5].key == "train_5"
    assert asked[1].name.endswith(".damaged")


def held_descriptors(cache: Path) -> list[str]:
    """This process's descriptors of fetched shards."""
    held = []
    for name in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            held.append(str(name.readlink()))
    return [name for name in held if name.startswith(str(cache / "shards")) and ".tar" in name]


def test_format_1_in_a_bucket(url: str, s3: Bucket, cache: Path) -> None:
    manifest = load_manifest(url)
    s3.delete("d/train.index.arrow")
    write_manifest(url, manifest.model_copy(update={"format": 1, "indexes": {}}))
    assert open_split(url, "train").keys == [f"train_{index}" for index in range(9)]
    for path in (cache / "shards").glob("*.tar"):
        path.unlink()
    assert len(open_split(url, "train")) == 9
    assert shards(cache) == 0


def test_damage_of_format_1_in_a_bucket_names_the_sample(at: At) -> None:
    """No index says what was written: the sample is named where the shard itself shows it."""
    manifest = load_manifest(at.url)
    write_manifest(at.url, manifest.model_copy(update={"format": 1, "indexes": {}}))
    lose_json(at.local)
    at.put()
    with pytest.raises(DamagedSample, match=rf"{SHARD}, sample train_6: no \.json"):
        open_split(at.url, "train", strict=False)


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
