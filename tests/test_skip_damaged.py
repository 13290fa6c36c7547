"""A sweep over damaged data: refused by name, or run without the samples, which it tells."""

from __future__ import annotations

import dataclasses
import shutil
from functools import partial
from pathlib import Path

import pytest
from made_data import make_sample, make_source
from tiny import build_data, write_profile, write_sweep

from camsweep.platform.cli.main import main
from camsweep.platform.stages import StoredCheckpoint
from camsweep.shards.errors import DamagedSample
from camsweep.shards.reader import SplitReader, open_split
from camsweep.shards.writing.writer import SourceSample, build
from camsweep.sweeps.results import load_images, load_trials
from camsweep.sweeps.store import Store

SWEEP = "title: x\nbase: {method: cam}\nseeds: 1\nretries: 0\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAMSWEEP_CACHE", str(tmp_path / "cache"))
    build_data(tmp_path, 16, 6)
    write_profile(tmp_path, epochs=2)
    write_sweep(tmp_path, SWEEP)
    shutil.copytree(tmp_path / "data", tmp_path / "whole")
    return tmp_path


def damage(folder: Path, split: str, index: int) -> str:
    """Flip one byte in the middle of a sample's JPEG; returns its key."""
    reader = open_split(folder / "data", split)
    content, key = reader.read(index, "jpg"), reader.keys[index]
    path = folder / "data" / f"{split}-000000.tar"
    whole = bytearray(path.read_bytes())
    whole[whole.index(content) + len(content) // 2] ^= 0x10
    path.write_bytes(whole)
    return key


def run(folder: Path, *more: str, command: str = "run") -> int:
    words = [command, str(folder / "mine.yaml"), "--profile", str(folder / "tiny.yaml")]
    words += ["--data", str(folder / "data"), "--store", str(folder / "store"), *more]
    return main(words)


def stored(folder: Path) -> dict[str, object]:
    (row,) = load_trials(Store(str(folder / "store"))).to_pylist()
    return row


def test_damaged_data_is_refused_or_left_out_and_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train, val = damage(folder, "train", 5), damage(folder, "val", 2)
    assert run(folder, "--in-process") == 2
    said = capsys.readouterr().err
    assert "train-000000.tar" in said
    assert not (folder / "store" / "trials").exists()

    assert run(folder, "--in-process", "--skip-damaged") == 0
    said = capsys.readouterr().err
    assert f"2 damaged samples left out: train/{train}, val/{val}" in said
    row = stored(folder)
    assert row["status"] == "done"
    assert row["skipped"] == [f"train/{train}", f"val/{val}"]
    assert (row["train_images"], row["eval_images"]) == (15, 5)
    images = load_images(Store(str(folder / "store")))["image"].to_pylist()
    assert val not in images
    assert len(set(images)) == 5

    out = folder / "report"
    assert main(["report", "--store", str(folder / "store"), "--out", str(out)]) == 0
    page = (out / "index.html").read_text()
    assert f"2 samples left out in 1 of 1 trial: train/{train}, val/{val}" in page

    capsys.readouterr()
    assert main(["status", "--store", str(folder / "store")]) == 0
    assert "1 done without damaged samples (2;" in capsys.readouterr().out
    assert main(["leaderboard", "--store", str(folder / "store")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "2 damaged samples left out in 1 trial." in said


def test_a_damaged_index_stops_the_run_once(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = folder / "data" / "val.index.arrow"
    index.write_bytes(index.read_bytes()[:-1])
    for more in ((), ("--skip-damaged",)):
        assert run(folder, "--in-process", *more) == 2
        assert "val.index.arrow" in capsys.readouterr().err
    assert not (folder / "store" / "trials").exists()


def without_mask(index: int) -> SourceSample:
    return dataclasses.replace(make_sample("train", index), mask=None)


def test_a_split_without_masks_is_refused_before_it_is_trained_for(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(folder / "data")
    samples = [partial(without_mask, index) for index in range(16)]
    build(dataclasses.replace(make_source(), splits={"train": samples}), folder / "data")
    assert run(folder, "--in-process", "--set", "eval_split=train") == 2
    assert "image train_0 of split 'train' has no mask" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["CAMSWEEP_CACHE_GB", "CAMSWEEP_DECODED_GB"])
def test_a_bound_that_is_no_number_stops_the_run(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, "much")
    assert run(folder, "--in-process") == 2
    assert f"{name}=much: must be a number" in capsys.readouterr().err


def test_whole_data_never_takes_the_results_of_damaged_data(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(folder, "train", 5)
    assert run(folder, "--in-process", "--skip-damaged") == 0
    first = stored(folder)
    capsys.readouterr()
    assert run(folder, "--skip-damaged", command="plan") == 0
    assert "1 found" in capsys.readouterr().out or first["skipped"]

    shutil.rmtree(folder / "data")
    shutil.copytree(folder / "whole", folder / "data")
    assert run(folder, "--in-process") == 0
    second = stored(folder)
    assert second["id"] == first["id"]
    assert second["skipped"] == []
    assert second["finished"] > first["finished"]  # type: ignore[operator]
    assert second["metric.miou"] != first["metric.miou"]
    assert run(folder, "--in-process", "--skip-damaged") == 0
    assert stored(folder)["finished"] == second["finished"]  # whole results serve all


def test_what_was_made_without_damaged_samples_outlives_a_run_that_fails_on_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(folder, "train", 5)
    assert run(folder, "--in-process", "--skip-damaged") == 0
    before = stored(folder)
    # As in object storage, where a run's start compares sizes alone.
    monkeypatch.setattr("camsweep.platform.execute.check_digests", lambda *_, **__: [])
    assert run(folder, "--in-process") == 1
    assert stored(folder) == before
    assert run(folder, "--in-process", "--skip-damaged") == 0
    assert stored(folder) == before


def artefacts(folder: Path) -> list[str]:
    return sorted(path.parent.name[64:] for path in (folder / "store").rglob("weights.safetensors"))


def test_a_training_that_read_everything_is_everybodys(folder: Path) -> None:
    assert run(folder, "--in-process", "--skip-damaged") == 0
    before = stored(folder)
    assert before["skipped"] == []
    assert artefacts(folder) == [""]
    assert run(folder, "--in-process") == 0
    assert stored(folder) == before


def test_leaving_out_goes_on_from_where_the_damage_was_met(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(folder, "train", 5)
    monkeypatch.setattr("camsweep.platform.execute.check_digests", lambda *_, **__: [])

    def read(reader: SplitReader, index: int) -> object:
        if index == 5 and len(done) == 1:  # the damage comes in the second epoch
            raise DamagedSample(f"{reader.where(index)}: damaged")
        return image(whole, index)

    whole = open_split(folder / "whole", "train")
    done: list[int] = []
    save, image = StoredCheckpoint.save, SplitReader.image
    monkeypatch.setattr(SplitReader, "image", read)
    monkeypatch.setattr(
        StoredCheckpoint, "save", lambda self, *saved: (done.append(saved[0]), save(self, *saved))
    )
    write_sweep(folder, SWEEP.replace("method: cam", "method: cam, batch: 16"))
    assert run(folder, "--in-process") == 1
    assert done == [1]
    assert run(folder, "--in-process", "--skip-damaged") == 0
    assert done == [1, 2]  # not the first epoch again
    assert artefacts(folder) == ["-skipping"]
