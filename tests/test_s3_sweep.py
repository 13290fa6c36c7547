"""From building to the report through a bucket alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from s3_server import CREDENTIALS, Bucket, s3, server
from tiny import build_data, write_profile, write_sweep

from camsweep.platform.cli.main import main
from camsweep.shards.embedded.source import embedded_source
from camsweep.shards.errors import DamagedSample, InputError
from camsweep.shards.reader import open_split
from camsweep.shards.writing.writer import build
from camsweep.sweeps.results import load_trials
from camsweep.sweeps.store import Store

__all__ = ["s3", "server"]

SWEEP = "title: x\nbase: {method: cpn}\naxes: {s_n: [20]}\nseeds: 1\n"


def test_build_verify_run_and_report_through_a_bucket(
    s3: Bucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CAMSWEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    data, store = s3.url("voc/tiny"), s3.url("results")
    sweep = str(write_sweep(tmp_path, SWEEP))
    profile = str(write_profile(tmp_path, epochs=1))
    said = ""

    def do(*words: str) -> str:
        nonlocal said
        status = main(list(words))
        captured = capsys.readouterr()
        said += captured.out + captured.err
        assert status == 0, captured.err
        return captured.out

    size = ("--train", "32", "--val", "8", "--shard-samples", "16", "--workers", "1")
    do("shards", "build", "embedded", *size, "--out", data)
    shards = [key for key in s3.objects() if key.endswith(".tar")]
    assert len(shards) == 3
    assert "voc/tiny/manifest.json" in s3.objects()
    assert "40 samples, all well" in do("shards", "verify", data, "--workers", "1")

    run = ("run", sweep, "--profile", profile, "--data", data, "--store", store, "--in-process")
    assert "1 to run" in do(*run)
    assert "1 found" in do(*run)
    assert "1 done, 0 failed" in do("status", "--store", store)
    do("report", "--store", store, "--out", str(tmp_path / "report"), "--format", "html")
    do("leaderboard", "--store", store)

    page = (tmp_path / "report" / "index.html").read_text()
    assert f"s3://{s3.name}/results" in page
    everything = [s3.get(key) for key in s3.objects()] + [said.encode(), page.encode()]
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert not [content for content in everything if CREDENTIALS[name].encode() in content]
    # Nothing of the run lies beside the cache: the bucket is all that another node needs.
    assert {path.name for path in tmp_path.iterdir()} == {
        *("cache", "report", "mine.yaml", "tiny.yaml")
    }

    for key in shards:
        s3.delete(key)
    shutil.rmtree(tmp_path / "cache")
    assert main(["shards", "verify", data, "--workers", "1"]) == 2
    assert f"s3://{s3.name}/{shards[0]}" in capsys.readouterr().err


def test_a_shard_that_vanished_is_named_or_left_out(
    s3: Bucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CAMSWEEP_CACHE", str(tmp_path / "cache"))
    data, store = s3.url("tiny"), s3.url("results")
    build(embedded_source(0, 24, 4), data, shard_samples=8, workers=1)
    sweep = str(write_sweep(tmp_path, SWEEP))
    profile = str(write_profile(tmp_path, epochs=1))
    shard = f"s3://{s3.name}/tiny/train-000001.tar"
    reader = open_split(data, "train")
    s3.delete("tiny/train-000001.tar")

    reader.image(0)
    with pytest.raises(DamagedSample, match=rf"{shard}, sample {reader.keys[8]}: .*not there"):
        reader.image(8)

    run = ("run", sweep, "--profile", profile, "--data", data, "--store", store, "--in-process")
    assert main(list(run)) == 2
    assert shard in capsys.readouterr().err
    assert main([*run, "--skip-damaged"]) == 0
    assert "8 damaged samples left out" in capsys.readouterr().err
    (skipped,) = load_trials(Store(store))["skipped"].to_pylist()
    assert sorted(skipped) == [f"train/{key}" for key in reader.keys[8:16]]
    assert main(["report", "--store", store, "--out", str(tmp_path / "report"), "-f", "html"]) == 0
    page = (tmp_path / "report" / "index.html").read_text()
    assert "8 samples left out" in page


def test_a_cache_that_is_too_small_is_named_with_shard_and_sample(
    s3: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAMSWEEP_CACHE", str(tmp_path / "cache"))
    build(embedded_source(0, 16, 4), s3.url("tiny"), shard_samples=8, workers=1)
    reader = open_split(s3.url("tiny"), "train", decoded=False)
    shard = reader.manifest.splits["train"].shards[1]
    told = rf"s3://{s3.name}/tiny/{shard.file}, sample {reader.keys[8]}: .*CAMSWEEP_CACHE_GB"
    monkeypatch.setenv("CAMSWEEP_CACHE_GB", str((shard.bytes - 1) / 1e9))
    with pytest.raises(InputError, match=told) as caught:
        reader.image(8)
    assert not isinstance(caught.value, DamagedSample)  # a setting, which no sample is lost for
    # Room for one shard at a time: slow, but every sample is right.
    monkeypatch.setenv("CAMSWEEP_CACHE_GB", str(shard.bytes * 1.5 / 1e9))
    reader = open_split(s3.url("tiny"), "train", decoded=False)
    local = open_split(build_data(tmp_path, 16, 4), "train", decoded=False)
    for index in (0, 8, 1, 9):
        assert np.array_equal(reader.image(index), local.image(index))
    assert len(list((tmp_path / "cache" / "shards").glob("*.tar"))) == 1


@pytest.mark.slow
def test_ray_workers_read_and_write_the_bucket(
    s3: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAMSWEEP_CACHE", str(tmp_path / "cache"))
    data, store = s3.url("tiny"), s3.url("results")
    build(embedded_source(0, 16, 4), data, shard_samples=8, workers=1)
    sweep = str(write_sweep(tmp_path, SWEEP.replace("[20]", "[20, 30]")))
    profile = str(write_profile(tmp_path, epochs=1))
    assert main(["run", sweep, "--profile", profile, "--data", data, "--store", store]) == 0
    assert load_trials(Store(store))["status"].to_pylist() == ["done", "done"]
    # The shards were fetched once for all workers: no process has a copy of its own.
    assert len(list((tmp_path / "cache" / "shards").glob("*.tar"))) == 3
