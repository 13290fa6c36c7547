from __future__ import annotations

import io
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camsweep.shards.colours import colour_map
from camsweep.shards.errors import DamagedSample, InputError
from camsweep.shards.places import as_place
from camsweep.shards.places.cache import cache_folder
from camsweep.shards.reader import SplitReader, open_split
from camsweep.shards.superpixels import SuperpixelReader, open_superpixels, precompute, segmenting
from camsweep.shards.superpixels.slic import segment
from camsweep.shards.tarindex import survey
from camsweep.shards.verify import verify
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


def test_side_set_is_a_plain_tar_and_tells_how_it_was_made(root: Path) -> None:
    reader = open_superpixels(root, "train", 12)
    (tar,) = (root / "superpixels").glob("*.tar")
    found = survey(tar, required=("png",))
    assert not found.problem
    assert list(found.samples) == [f"s{index}" for index in range(COUNT)]
    facts = json.loads(tar.with_suffix(".json").read_text())
    assert facts["wanted"]["s_n"] == 12
    assert facts["images"] == COUNT
    assert facts["superpixels"] == reader.segments.sum()
    assert facts["workers"] == 1
    assert 0 < facts["seconds"] < 60
    assert set(facts["versions"]) == {"scikit-image", "numpy", "pillow"}


def test_every_setting_has_a_set_and_a_digest_of_its_own(root: Path) -> None:
    one = open_superpixels(root, "train", 12)
    others = [
        open_superpixels(root, "train", 12, scaling="released"),
        open_superpixels(root, "train", 12, compactness=5),
        open_superpixels(root, "train", 20),
        open_superpixels(root, "val", 12),
    ]
    assert len({reader.digest for reader in [one, *others]}) == 5
    assert len(list((root / "superpixels").glob("*.tar"))) == 5
    assert not np.array_equal(one[0], others[0][0])
    check(others[0], root, 12, "released")
    check(open_superpixels(root, "train", 12), root, 12)


def test_from_the_shards(tmp_path: Path, root: Path) -> None:
    build(make_source(), tmp_path / "s", superpixels=[12, 20], workers=1)
    reader = open_superpixels(tmp_path / "s", "train", 12)
    check(reader, tmp_path / "s", 12)
    assert reader.seconds is None
    assert reader.digest == open_split(tmp_path / "s", "train").manifest.digest
    (line,) = precompute(tmp_path / "s", ["train"], [12])
    assert str(line).startswith("train sp12: already in the shards: 5 images, ")
    assert not (tmp_path / "s" / "superpixels").exists()
    # Stored with the default compactness only.
    open_superpixels(tmp_path / "s", "train", 12, compactness=20.0)
    assert (tmp_path / "s" / "superpixels").exists()


def test_cache_folder_where_the_data_cannot_be_written(root: Path, tmp_path: Path) -> None:
    (root / "superpixels").write_text("a file in the way")
    check(open_superpixels(root, "train", 12), root, 12)
    assert list((tmp_path / "cache" / "superpixels").glob("*.tar"))


def test_nowhere_to_write(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "superpixels").write_text("a file in the way")
    monkeypatch.setenv("CAMSWEEP_CACHE", str(root / "manifest.json"))
    with pytest.raises(InputError, match="set CAMSWEEP_CACHE"):
        open_superpixels(root, "train", 12)


def test_set_that_is_not_whole_or_of_other_data_is_computed_again(root: Path) -> None:
    before = open_superpixels(root, "train", 12)
    (tar,) = (root / "superpixels").glob("*.tar")
    json_file, index = tar.with_suffix(".json"), tar.with_suffix(".arrow")
    good = {path: path.read_bytes() for path in (tar, json_file, index)}
    other = json.loads(good[json_file])
    other["wanted"]["data"] = "of other data"
    for path, bad in (
        (tar, good[tar][:-1024]),
        (json_file, json.dumps(other).encode()),
        (json_file, b"{}"),
        (index, good[index][:-1]),
    ):
        path.write_bytes(bad)
        again = open_superpixels(root, "train", 12)
        assert again.digest == before.digest
        check(again, root, 12)
        assert tar.read_bytes() == good[tar]
        assert index.read_bytes() == good[index]


def test_flipped_byte_is_named_with_file_and_sample(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = open_superpixels(root, "train", 12)
    (tar,) = (root / "superpixels").glob("*.tar")
    content = bytearray(tar.read_bytes())
    content[survey(tar, required=("png",)).samples["s3"].members["png"].offset + 60] ^= 1
    tar.write_bytes(content)
    with pytest.raises(DamagedSample) as caught:
        open_superpixels(root, "train", 12)[3]
    assert str(caught.value) == (
        f"{tar}, sample s3 (delete the file to compute it again): "
        "its superpixels have changed (CRC-32)"
    )
    reader = open_superpixels(root, "train", 12)
    assert reader[2].max() == reader.segments[2]
    tar.unlink()
    with pytest.raises(DamagedSample, match=r"sample s1 .*No such file"):
        pickle.loads(pickle.dumps(reader))[1]
    check(open_superpixels(root, "train", 12), root, 12)


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


def damage(root: Path, key: str) -> None:
    (shard,) = root.glob("train-*.tar")
    content = bytearray(shard.read_bytes())
    content[survey(shard).samples[key].members["jpg"].offset + 200] ^= 255
    shard.write_bytes(content)


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


def test_full_disk(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(segmenting, "write_whole", full)
    with pytest.raises(InputError, match=r"superpixels: cannot be written \(No space left"):
        open_superpixels(root, "train", 12)
    monkeypatch.undo()
    check(open_superpixels(root, "train", 12), root, 12)


def test_copy_for_other_nodes(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "superpixels").write_text("a file in the way")
    (made,) = precompute(root, ["train"], [12])
    (root / "superpixels").unlink()
    (again,) = precompute(root, ["train"], [12], publish=True)
    assert not again.new
    assert again.digest == made.digest
    assert again.where.startswith(str(root))
    assert not made.where.startswith(str(root))
    assert files(root / "superpixels") == {".tar", ".arrow", ".json"}
    monkeypatch.setenv("CAMSWEEP_CACHE", str(tmp_path / "another"))
    monkeypatch.setattr(segmenting, "segment", None)
    found = open_superpixels(as_place(root), "train", 12)
    assert found.digest == made.digest
    assert not (cache_folder() / "superpixels").exists()


def test_pickled_reader(root: Path) -> None:
    reader = open_superpixels(root, "train", 12)
    copy = pickle.loads(pickle.dumps(reader))
    assert np.array_equal(copy[2], reader[2])
    assert np.array_equal(copy[-1], reader[COUNT - 1])
    with pytest.raises(IndexError):
        copy[COUNT]


def test_sets_in_the_cache_folder_go_when_nobody_has_used_them_for_long(
    root: Path, tmp_path: Path
) -> None:
    (root / "superpixels").write_text("a file in the way")
    folder = tmp_path / "cache" / "superpixels"
    open_superpixels(root, "train", 12)
    open_superpixels(root, "train", 9)
    for facts in folder.glob("*.json"):
        os.utime(facts, (0, 0))
    open_superpixels(root, "train", 9)  # used again, so it stays
    open_superpixels(root, "train", 15)
    held = sorted(facts.name.split("-")[1] for facts in folder.glob("*.json"))
    assert held == ["sp15", "sp9"]
    assert len(list(folder.glob("*.tar"))) == len(list(folder.glob("*.arrow"))) == 2


def test_sets_beside_the_data_stay(root: Path) -> None:
    open_superpixels(root, "train", 12)
    (facts,) = (root / "superpixels").glob("*.json")
    os.utime(facts, (0, 0))
    open_superpixels(root, "train", 9)
    open_superpixels(root, "train", 12)
    assert facts.stat().st_mtime == 0


def test_verify_looks_at_side_sets(root: Path) -> None:
    open_superpixels(root, "train", 12)
    open_superpixels(root, "train", 9)
    assert verify(root).problems == []
    (tar,) = (root / "superpixels").glob("train-sp12-*.tar")
    content = bytearray(tar.read_bytes())
    content[survey(tar).samples["s3"].members["png"].offset + 20] ^= 1
    tar.write_bytes(content)
    changed, sample = verify(root).problems
    assert changed.startswith(f"{tar}: SHA-256 differs")
    assert sample.startswith(f"{tar}, sample s3 ")
    (facts,) = (root / "superpixels").glob("train-sp9-*.json")
    facts.write_text("{}")
    lines = verify(root).problems
    assert len(lines) == 3
    assert lines[-1].startswith(f"{facts}: is not readable; delete train-sp9-")


def test_verify_leaves_side_sets_of_other_data_alone(root: Path, tmp_path: Path) -> None:
    build(make_source(3), tmp_path / "other")
    open_superpixels(tmp_path / "other", "train", 12)
    shutil.copytree(tmp_path / "other" / "superpixels", root / "superpixels")
    assert verify(root).problems == []
