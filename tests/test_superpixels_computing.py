"""Computing side sets: once, resumed, at once by several, around damage and outages."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from superpixel_data import COUNT, check, damage, files, root

from camsweep.shards.errors import DamagedSample, InputError
from camsweep.shards.reader import SplitReader
from camsweep.shards.superpixels import open_superpixels, precompute, segmenting
from camsweep.shards.superpixels.slic import segment

__all__ = ["root"]


def test_side_set_is_computed_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, int, int]] = []
    first = open_superpixels(root, "train", 12, on_progress=lambda *args: calls.append(args))
    check(first, root, 12)
    assert first.seconds is not None
    assert calls == [("superpixels 12 train", done, COUNT) for done in range(1, COUNT + 1)]
    monkeypatch.setattr(segmenting, "segment", None)
    again = open_superpixels(root, "train", 12)
    assert (again.seconds, again.digest) == (first.seconds, first.digest)
    check(again, root, 12)
    assert files(root / "superpixels") == {".tar", ".arrow", ".json", ".lock"}


def test_interrupted_computation_goes_on_with_the_finished_chunks(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(what: str, done: int, total: int) -> None:
        if done == 4:  # the second chunk of two is not written yet
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_superpixels(root, "train", 12, on_progress=stop)
    assert files(root / "superpixels") == {".lock", ".parts"}
    segmented: list[tuple[int, ...]] = []

    def counted(image: np.ndarray, *settings: object) -> np.ndarray:
        segmented.append(image.shape)
        return segment(image, *settings)  # type: ignore[arg-type]

    monkeypatch.setattr(segmenting, "segment", counted)
    calls: list[int] = []
    reader = open_superpixels(root, "train", 12, on_progress=lambda *args: calls.append(args[1]))
    assert [shape[0] for shape in segmented] == [42, 43, 44]
    assert calls == [3, 4, 5]
    check(reader, root, 12)
    assert files(root / "superpixels") == {".tar", ".arrow", ".json", ".lock"}


def test_chunks_of_another_version_are_not_used(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(what: str, done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_superpixels(root, "train", 12, on_progress=stop)
    monkeypatch.setattr(segmenting, "_versions", lambda: {"scikit-image": "0.0"})
    calls: list[int] = []
    open_superpixels(root, "train", 12, on_progress=lambda *args: calls.append(args[1]))
    assert calls == [1, 2, 3, 4, 5]
    assert files(root / "superpixels") == {".tar", ".arrow", ".json", ".lock"}


KILLED = """
import sys
from camsweep.shards.superpixels import segmenting
from camsweep.shards.superpixels import open_superpixels
segmenting.CHUNK = 2
def told(what, done, total):
    print(done, flush=True)
    if done == 3:
        sys.stdin.read()
open_superpixels(sys.argv[1], "train", 12, on_progress=told)
"""


def test_killed_computation_goes_on_and_frees_its_lock(root: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdin is not None
    for _ in range(3):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    process.stdin.close()
    calls: list[int] = []
    reader = open_superpixels(root, "train", 12, on_progress=lambda *args: calls.append(args[1]))
    assert calls == [3, 4, 5]
    check(reader, root, 12)


def test_threads_give_the_same_bytes(root: Path, tmp_path: Path) -> None:
    (one,) = precompute(root, ["train"], [12])
    names = sorted(path.name for path in (root / "superpixels").glob("train-sp12-*.[ta]*"))
    kept = [(root / "superpixels" / name).read_bytes() for name in names]
    for path in (root / "superpixels").iterdir():
        path.unlink()
    calls: list[int] = []
    made = precompute(
        root, ["train"], [20, 12], workers=2, on_progress=lambda *args: calls.append(args[1])
    )
    assert calls[-1] == COUNT
    assert len(calls) == 3  # chunks of two
    assert [(line.s_n, line.new) for line in made] == [(12, True), (20, True)]
    assert made[0].digest == one.digest
    assert [(root / "superpixels" / name).read_bytes() for name in names] == kept
    check(open_superpixels(root, "train", 20), root, 20)


def test_precompute_decodes_each_image_once_and_makes_what_is_missing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_superpixels(root, "train", 12)
    images: list[int] = []
    decode = SplitReader.image
    monkeypatch.setattr(
        SplitReader, "image", lambda self, index: images.append(index) or decode(self, index)
    )
    calls: set[str] = set()
    made = precompute(root, None, [9, 20, 12], on_progress=lambda *args: calls.add(args[0]))
    assert [(line.split, line.s_n, line.new) for line in made] == [
        ("train", 9, True),
        ("train", 12, False),
        ("train", 20, True),
        ("val", 9, True),
        ("val", 12, True),
        ("val", 20, True),
    ]
    assert images == [0, 1, 2, 3, 4, 0, 1]
    assert calls == {"superpixels 9,20 train", "superpixels 9,12,20 val"}
    assert " ms an image then, digest " in str(made[1])
    assert str(made[0]).startswith(f"train sp9: computed in {root}/superpixels/train-sp9-")
    for s_n in (9, 12, 20):
        check(open_superpixels(root, "train", s_n), root, s_n)


def test_precompute_refuses_wrong_input(root: Path) -> None:
    for numbers, line in (([], "no S_N"), ([12, 1], "S_N = 1")):
        with pytest.raises(InputError, match=line):
            precompute(root, None, numbers)
    with pytest.raises(InputError, match="trian"):
        precompute(root, ["trian"], [12])
    with pytest.raises(InputError, match="read-only"):
        precompute("http://127.0.0.1:9/d", None, [12], publish=True)


def test_concurrent_trials_compute_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def counted(*args: object) -> np.ndarray:
        calls.append(1)
        return segment(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(segmenting, "segment", counted)
    # Two want the same two sets, named in either order, and one a third.
    wanted = ([12, 20], [20, 12], [20, 9])
    threads = [threading.Thread(target=precompute, args=(root, ["train"], each)) for each in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 3 * COUNT
    check(open_superpixels(root, "train", 9), root, 9)


def compute_in_process(root: Path) -> int:
    calls: list[int] = []
    open_superpixels(root, "train", 12, on_progress=lambda *args: calls.append(1))
    return len(calls)


def test_concurrent_processes_compute_once(root: Path) -> None:
    with multiprocessing.get_context("fork").Pool(3) as pool:
        assert sorted(pool.map(compute_in_process, [root] * 3)) == [0, 0, COUNT]


def test_damaged_image(root: Path) -> None:
    damage(root, "s2")
    with pytest.raises(DamagedSample, match="sample s2"):
        open_superpixels(root, "train", 12)
    reader = open_superpixels(root, "train", 12, skip_damaged=True)
    assert reader.segments[2] == 0
    assert reader[1].max() == reader.segments[1] > 0
    with pytest.raises(DamagedSample, match=r"sample s2 .*its image was damaged"):
        reader[2]
    (line,) = precompute(root, ["train"], [12])
    assert (line.images, line.new) == (4, False)


def test_a_set_without_a_damaged_image_is_made_anew_when_the_data_are_repaired(root: Path) -> None:
    (shard,) = root.glob("train-*.tar")
    whole = shard.read_bytes()
    damage(root, "s2")
    assert open_superpixels(root, "train", 12, skip_damaged=True).segments[2] == 0
    shard.write_bytes(whole)
    check(open_superpixels(root, "train", 12), root, 12)
    (line,) = precompute(root, ["train"], [12])
    assert (line.images, line.new) == (5, False)


@pytest.mark.parametrize("repaired", [True, False])
def test_chunks_without_a_damaged_image_are_made_anew_by_the_next_run(
    root: Path, repaired: bool
) -> None:
    def stop(what: str, done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    (shard,) = root.glob("train-*.tar")
    whole = shard.read_bytes()
    damage(root, "s2")
    with pytest.raises(KeyboardInterrupt):
        open_superpixels(root, "train", 12, skip_damaged=True, on_progress=stop)
    if repaired:
        shard.write_bytes(whole)
        calls: list[int] = []
        reader = open_superpixels(
            root, "train", 12, on_progress=lambda *args: calls.append(args[1])
        )
        assert calls == [3, 4, 5]  # the first chunk is kept, the last one was not written
        check(reader, root, 12)
    else:
        with pytest.raises(DamagedSample, match="sample s2"):  # and no set without it
            open_superpixels(root, "train", 12)
        assert not list((root / "superpixels").glob("*.json"))


def failing_once(monkeypatch: pytest.MonkeyPatch, error: InputError, at: int = 2) -> None:
    """Reading image ``at`` raises ``error``, but only the first time."""
    image, raised = SplitReader.image, []

    def read(self: SplitReader, index: int) -> np.ndarray:
        if index == at and not raised:
            raised.append(index)
            raise error
        return image(self, index)

    monkeypatch.setattr(SplitReader, "image", read)


def test_what_is_repaired_while_a_set_is_computed_is_found_at_its_next_use(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_once(monkeypatch, DamagedSample("sample s2: damaged"))
    reader = open_superpixels(root, "train", 12, skip_damaged=True)
    assert reader.segments[2] == 0
    check(open_superpixels(root, "train", 12), root, 12)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_outage_leaves_no_image_out(
    root: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    failing_once(monkeypatch, InputError("sample s2: no connection"))
    with pytest.raises(InputError, match="no connection"):
        open_superpixels(root, "train", 12, skip_damaged=True, workers=workers)
    assert not list((root / "superpixels").glob("*.json"))
    check(open_superpixels(root, "train", 12, skip_damaged=True), root, 12)


def test_the_tar_is_on_the_disk_before_the_json_says_so(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    sync, write = os.fsync, segmenting.write_whole

    def noted(descriptor: int) -> None:
        synced.append(str(os.fstat(descriptor).st_ino))
        sync(descriptor)

    def write_noted(path: Path, data: bytes) -> None:
        if path.parent.name == "superpixels" and path.suffix == ".json":
            tar = path.with_suffix(".tar")
            assert str(tar.stat().st_ino) in synced
            synced.append("all")
        write(path, data)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(segmenting, "write_whole", write_noted)
    open_superpixels(root, "train", 12)
    assert "all" in synced


def test_full_disk(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(segmenting, "write_whole", full)
    with pytest.raises(InputError, match=r"superpixels: cannot be written \(No space left"):
        open_superpixels(root, "train", 12)
    monkeypatch.undo()
    check(open_superpixels(root, "train", 12), root, 12)
