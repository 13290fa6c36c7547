"""A build in several processes, stopped, killed, gone on with, repeated and repaired."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from test_voc_source import write_list, write_mask

import camsweep.shards.embedded.source as embedded
from camsweep.shards.embedded.source import embedded_source
from camsweep.shards.errors import InputError
from camsweep.shards.manifest import load_manifest
from camsweep.shards.reader import open_split
from camsweep.shards.sources.folder import folder_source
from camsweep.shards.verify import verify
from camsweep.shards.writing import writer
from camsweep.shards.writing.members import Superpixels, file_stamp
from camsweep.shards.writing.staging import Staging
from camsweep.shards.writing.tasks import plan
from camsweep.shards.writing.writer import Source, build

STAGING = ".d.building"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("CAMSWEEP_CACHE", str(folder))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def identities(folder: Path) -> dict[str, tuple[int, int]]:
    """What changes when a file is written again."""
    return {
        path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.glob("*.tar")
    }


def test_the_number_of_processes_changes_no_byte(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    source = embedded_source(0, 13, 6)
    one = build(source, tmp_path / "a", shard_samples=5, workers=1)
    two = build(
        source,
        tmp_path / "b",
        shard_samples=5,
        workers=2,
        on_progress=lambda *told: seen.append(told),
    )
    assert one == two
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    for split, total in (("train", 13), ("val", 6)):
        steps = [done for name, done, of in seen if name == split and of == total]
        assert steps == list(range(1, total + 1))


KILLED = """
import os, sys
from pathlib import Path
from camsweep.shards.embedded.source import embedded_source
from camsweep.shards.writing.writer import build
import psutil

def kill(split, done, total):
    if any(Path(sys.argv[1]).with_name(".d.building").glob("done/*.json")):
        print(*(child.pid for child in psutil.Process().children()), flush=True)
        os.kill(os.getpid(), 9)

if __name__ == "__main__":
    build(embedded_source(0, 120, 12), sys.argv[1], shard_samples=4, workers=2, on_progress=kill)
"""


def test_a_killed_build_goes_on(tmp_path: Path) -> None:
    source, out = embedded_source(0, 120, 12), tmp_path / "work" / "d"
    script = tmp_path / "script.py"
    script.write_text(KILLED)
    command = [sys.executable, str(script), str(out)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    assert not out.exists()
    ended = time.monotonic() + 10
    for pid in map(int, ran.stdout.split()):
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < ended, "a worker outlives the build that started it"
            time.sleep(0.05)
    done = {path.stem for path in (out.parent / STAGING / "done").glob("*.json")}
    kept = {
        name: told
        for name, told in identities(out.parent / STAGING / "data").items()
        if Path(name).stem in done
    }
    assert 1 <= len(kept) < 33

    calls: list[int] = []
    build(source, out, shard_samples=4, workers=1, on_progress=lambda *told: calls.append(told[1]))
    assert kept.items() <= identities(out).items()
    assert len(calls) <= 132 - 4 * len(kept) + 2  # what was finished is told at once, per split
    assert [path.name for path in out.parent.iterdir()] == ["d"]
    build(source, tmp_path / "fresh", shard_samples=4, workers=1)
    assert contents(out) == contents(tmp_path / "fresh")
    assert verify(out).problems == []


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_build_goes_on(tmp_path: Path, workers: int) -> None:
    def stop(split: str, done: int, total: int) -> None:
        if (split, done) == ("train", 9):
            raise KeyboardInterrupt

    source, out = embedded_source(0, 16, 2), tmp_path / "d"
    with pytest.raises(KeyboardInterrupt):
        build(source, out, shard_samples=3, workers=workers, on_progress=stop)
    assert not out.exists()
    kept = identities(tmp_path / STAGING / "data")
    assert kept
    assert list((tmp_path / STAGING / "partial").iterdir()) == []
    build(source, out, shard_samples=3, workers=1)
    assert kept.items() <= identities(out).items()
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Nine images of one class in VOC layout."""
    root = tmp_path / "source"
    (root / "JPEGImages").mkdir(parents=True)
    for index in range(9):
        pixels = np.random.default_rng(index).integers(0, 256, (8, 9, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "JPEGImages" / f"i{index}.jpg")
        write_mask(root / "SegmentationClass" / f"i{index}.png", np.ones((8, 9)))
    write_list(root, "train", [f"i{index}" for index in range(9)])
    (root / "classes.txt").write_text("thing\n")
    return root


def test_an_error_is_one_line_whoever_meets_it_and_only_its_shard_is_made_again(
    folder: Path, tmp_path: Path
) -> None:
    out, wrong = tmp_path / "d", folder / "SegmentationClass" / "i7.png"
    good = wrong.read_bytes()
    write_mask(wrong, np.full((8, 9), 2))
    lines = set()
    for workers in (1, 2):
        with pytest.raises(InputError) as caught:
            build(folder_source(folder), out, shard_samples=3, workers=workers)
        lines.add(str(caught.value))
        assert not out.exists()
    (line,) = lines
    assert line == f"{wrong}: holds class 2, the list has 0..1 (and 255 = ignore)"
    kept = identities(tmp_path / STAGING / "data")
    assert kept.keys() == {"train-000000.tar", "train-000001.tar"}
    wrong.write_bytes(good)
    first = folder / "SegmentationClass" / "i0.png"
    write_mask(first, np.zeros((8, 9)))  # a finished shard whose source has changed
    build(folder_source(folder), out, shard_samples=3)
    now = identities(out)
    assert now["train-000001.tar"] == kept["train-000001.tar"]
    assert now["train-000000.tar"] != kept["train-000000.tar"]
    assert verify(out).problems == []
    build(folder_source(folder), tmp_path / "fresh", shard_samples=3)
    assert contents(out) == contents(tmp_path / "fresh")


def test_other_settings_use_nothing_of_an_interrupted_build(tmp_path: Path) -> None:
    def stop(split: str, done: int, total: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    out = tmp_path / "d"
    with pytest.raises(KeyboardInterrupt):
        build(embedded_source(0, 8, 2), out, shard_samples=3, on_progress=stop)
    build(embedded_source(1, 8, 2), out, shard_samples=4, superpixels=[20], scaling="released")
    manifest = build(
        embedded_source(1, 8, 2), tmp_path / "fresh", shard_samples=4, superpixels=[20],
        scaling="released",
    )  # fmt: skip
    assert manifest.settings["superpixels"] == {"compactness": 10.0, "scaling": "released"}
    assert contents(out) == contents(tmp_path / "fresh")
    modern = build(embedded_source(1, 8, 2), tmp_path / "m", shard_samples=4, superpixels=[20])
    assert modern.digest != manifest.digest


def masks_of(out: Path) -> set[int]:
    reader = open_split(out, "train", decoded=False)
    return {int(value) for index in range(len(reader)) for value in np.unique(reader[index].mask)}


def interrupt(source: Source, out: Path) -> None:
    """Build, and stop when all shards are finished."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(writer, "publish", die_softly)
        with pytest.raises(KeyboardInterrupt):
            build(source, out, shard_samples=3, workers=1)


def die_softly(*_: object) -> None:
    raise KeyboardInterrupt


def test_files_of_another_folder_are_others_whatever_they_have_in_common(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "classes.txt").write_text("thing\nother\n")
    for name, value in (("A", 1), ("B", 2)):
        for index in range(9):
            path = folder / name / f"i{index}.png"
            write_mask(path, np.full((8, 9), value))
            os.utime(path, (1e9, 1e9))  # as archives and rsync set it
    first, second = (folder / name / "i0.png" for name in "AB")
    assert first.stat().st_size == second.stat().st_size
    out = tmp_path / "d"
    interrupt(folder_source(folder, masks="A"), out)
    build(folder_source(folder, masks="B"), out, shard_samples=3, workers=1)
    assert masks_of(out) == {2}


def test_a_file_that_is_replaced_by_one_of_its_size_and_time_is_another(
    folder: Path, tmp_path: Path
) -> None:
    path, out = folder / "SegmentationClass" / "i7.png", tmp_path / "d"
    (folder / "classes.txt").write_text("thing\nother\n")
    before = path.stat()
    interrupt(folder_source(folder), out)
    write_mask(path, np.full((8, 9), 2))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    build(folder_source(folder), out, shard_samples=3, workers=1)
    assert masks_of(out) == {1, 2}


def test_a_file_with_the_same_name_elsewhere_is_another(tmp_path: Path) -> None:
    one, other = tmp_path / "a" / "x.png", tmp_path / "b" / "x.png"
    one.parent.mkdir()
    other.parent.mkdir()
    one.write_bytes(b"1")
    other.hardlink_to(one)  # all that `stat` tells is equal
    assert file_stamp(one, tmp_path) != file_stamp(other, tmp_path)
    assert file_stamp(one, one.parent) == file_stamp(other, other.parent)
    assert file_stamp(one, tmp_path / "c").startswith(str(one))  # not below the root


def test_settings_of_the_source_are_part_of_its_shards() -> None:
    source = embedded_source(0, 4, 2)
    stamps = [task.stamp for task in plan(source, 3, Superpixels((), 10.0, "modern"))]
    changed = dataclasses.replace(source, settings=dict(source.settings) | {"masks": "B"})
    others = [task.stamp for task in plan(changed, 3, Superpixels((), 10.0, "modern"))]
    assert not set(stamps) & set(others)


def test_finished_data_are_recognised_without_building(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = embedded_source(0, 8, 2), tmp_path / "d"
    first = build(source, out, shard_samples=3)
    before = identities(out)

    def refuse(*key: object) -> None:
        raise AssertionError("an image was rendered again")

    told: list[tuple[str, int, int]] = []
    with monkeypatch.context() as patched:
        patched.setattr(embedded, "render_sample", refuse)
        again = build(source, out, shard_samples=3, on_progress=lambda *args: told.append(args))
    assert again == first
    assert told == [("train", 8, 8), ("val", 2, 2)]
    monkeypatch.setenv("CAMSWEEP_CACHE", str(tmp_path / "other-cache"))
    assert build(source, out, shard_samples=3) == first  # built and compared
    assert identities(out) == before
    monkeypatch.setattr(embedded, "render_sample", refuse)
    for other, difference in (
        (embedded_source(1, 8, 2), "setting seed 0, not 1"),
        (embedded_source(0, 9, 2), "setting train 8, not 9"),
    ):
        with pytest.raises(InputError, match=f"holds other data .*{difference}"):
            build(other, out, shard_samples=3)
    with pytest.raises(InputError, match="divided into shards in another way"):
        build(source, out, shard_samples=4)


def test_a_build_killed_at_its_very_end_leaves_nothing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = embedded_source(0, 4, 2), tmp_path / "d"
    with monkeypatch.context() as patched:
        patched.setattr(Staging, "close", lambda self: None)
        first = build(source, out)
    assert (tmp_path / STAGING).is_dir()
    monkeypatch.setattr(embedded, "render_sample", None)
    assert build(source, out) == first
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_a_link_to_an_empty_folder_stays_one(tmp_path: Path) -> None:
    (tmp_path / "disk" / "d").mkdir(parents=True)
    (tmp_path / "d").symlink_to(tmp_path / "disk" / "d")
    build(embedded_source(0, 4, 2), tmp_path / "d")
    assert (tmp_path / "d").is_symlink()
    assert verify(tmp_path / "d").problems == []
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["d"]


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "index"])
def test_building_again_repairs_what_is_damaged(tmp_path: Path, damage: str) -> None:
    source, out = embedded_source(0, 8, 2), tmp_path / "d"
    build(source, out, shard_samples=3)
    before, whole = identities(out), contents(out)
    path = out / ("train.index.arrow" if damage == "index" else "train-000001.tar")
    content = path.read_bytes()
    path.unlink()
    if damage == "flip":
        path.write_bytes(content[:2000] + bytes([content[2000] ^ 1]) + content[2001:])
    elif damage == "cut":
        path.write_bytes(content[:-700])
    build(source, out, shard_samples=3)
    assert contents(out) == whole
    changed = {name for name, told in identities(out).items() if told != before[name]}
    assert changed == ({path.name} if path.suffix == ".tar" else set())


def test_data_of_format_1_get_their_index(tmp_path: Path) -> None:
    source, out = embedded_source(0, 8, 2), tmp_path / "d"
    manifest = build(source, out, shard_samples=3)
    old = manifest.model_dump(mode="json", exclude={"indexes"}) | {"format": 1}

    (out / "manifest.json").write_text(json.dumps(old))
    for path in out.glob("*.arrow"):
        path.unlink()
    assert build(source, out, shard_samples=3) == manifest == load_manifest(out)
    assert verify(out).problems == []


def test_two_builds_at_once_make_the_data_once(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from camsweep.shards.embedded.source import embedded_source\n"
        "from camsweep.shards.writing.writer import build\n"
        "print(build(embedded_source(0, 60, 2), sys.argv[1], shard_samples=8).digest)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "d")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    digests = {process.communicate(timeout=60)[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert digests == {load_manifest(tmp_path / "d").digest + "\n"}
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_a_script_without_a_main_guard_is_told(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from camsweep.shards.embedded.source import embedded_source\n"
        "from camsweep.shards.writing.writer import build\n"
        f"build(embedded_source(0, 8, 2), {str(tmp_path / 'd')!r}, shard_samples=3, workers=2)\n"
    )
    ran = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False,
        env=os.environ,
    )  # fmt: skip
    assert ran.returncode == 1
    assert "if __name__ == '__main__':" in ran.stderr
    assert not (tmp_path / "d").exists()
