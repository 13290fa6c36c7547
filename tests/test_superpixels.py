from __future__ import annotations

import io
import json
import pickle
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.measure import label

from camsweep.shards import superpixels as module
from camsweep.shards.colours import colour_map
from camsweep.shards.errors import InputError
from camsweep.shards.reader import open_split
from camsweep.shards.slic import decode_labels, encode_labels, segment
from camsweep.shards.superpixels import open_superpixels
from camsweep.shards.writer import Source, SourceSample, build


def picture(seed: int, height: int = 40, width: int = 56) -> np.ndarray:
    """A smooth random image: coarse noise, enlarged."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


def make_source(count: int = 4) -> Source:
    def sample(index: int) -> SourceSample:
        stream = io.BytesIO()
        height = 40 + index
        Image.fromarray(picture(index, height)).save(stream, "JPEG")
        return SourceSample(f"s{index}", stream.getvalue(), None, (1,), (height, 56), f"s{index}")

    samples = [partial(sample, index) for index in range(count)]
    classes = ("background", "thing")
    return Source("tiny", "made", classes, colour_map(2), {}, {"train": samples})


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAMSWEEP_CACHE", str(tmp_path / "cache"))
    build(make_source(), tmp_path / "d")
    return tmp_path / "d"


def test_golden_labels(shared: Path) -> None:
    with np.load(shared / "golden" / "misc.seed0.npz", allow_pickle=False) as golden:
        image, wanted = golden["hide/image"], golden["hide/ss_slic_labels"]
    assert np.array_equal(segment(image, 300), wanted)


@pytest.mark.parametrize("scaling", ["modern", "released"])
@pytest.mark.parametrize("s_n", [2, 20, 300])
def test_labels_are_a_partition(scaling: str, s_n: int) -> None:
    labels = segment(picture(0), s_n, scaling=scaling)
    assert labels.dtype == np.uint16
    assert labels.shape == (40, 56)
    assert np.array_equal(np.unique(labels), np.arange(1, labels.max() + 1))
    assert labels.max() <= 1.5 * s_n + 2
    pieces = label(labels, connectivity=1, background=0).max()
    assert pieces == labels.max()


def test_released_scaling_weighs_colour_more() -> None:
    image = picture(1)
    modern, released = segment(image, 60), segment(image, 60, scaling="released")
    assert not np.array_equal(modern, released)
    # Colours reach about 5 times further without the rescaling, as if compactness were lower.
    assert released.max() < modern.max()


def test_flat_image() -> None:
    for scaling in ("modern", "released"):
        labels = segment(np.full((30, 30, 3), 7, np.uint8), 9, scaling=scaling)
        assert labels.min() == 1


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ((1, 10.0, "modern"), "S_N = 1; 2 to 65535"),
        ((70000, 10.0, "modern"), "S_N = 70000"),
        ((9, 0.0, "modern"), "compactness = 0.0"),
        ((9, 10.0, "modem"), "did you mean 'modern'"),
    ],
)
def test_wrong_settings(settings: tuple[int, float, str], line: str) -> None:
    with pytest.raises(InputError, match=line):
        segment(picture(0), *settings)


def test_png_round_trip() -> None:
    labels = np.arange(40 * 50, dtype=np.uint16).reshape(40, 50) * 31
    assert np.array_equal(decode_labels(encode_labels(labels), "x"), labels)
    with pytest.raises(InputError, match="x: the superpixels do not decode"):
        decode_labels(encode_labels(labels)[:-30], "x")


def check(reader: module.SuperpixelReader, root: Path, s_n: int) -> None:
    images = open_split(root, "train")
    assert len(reader) == len(images) == 4
    for index in range(4):
        wanted = segment(images[index].image, s_n)
        assert np.array_equal(reader[index], wanted)
        assert reader.segments[index] == wanted.max()


def test_side_set_is_computed_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, int, int]] = []
    first = open_superpixels(root, "train", 12, on_progress=lambda *args: calls.append(args))
    check(first, root, 12)
    assert first.seconds is not None
    assert calls[-1][1:] == (4, 4)
    monkeypatch.setattr(module, "segment", None)
    again = open_superpixels(root, "train", 12)
    monkeypatch.undo()
    check(again, root, 12)
    assert again.seconds == first.seconds
    assert {path.suffix for path in (root / "superpixels").iterdir()} == {".tar", ".json", ".lock"}


def test_settings_have_their_own_sets(root: Path) -> None:
    one = open_superpixels(root, "train", 12)
    other = open_superpixels(root, "train", 12, scaling="released")
    assert not np.array_equal(one[0], other[0])
    check(open_superpixels(root, "train", 12), root, 12)


def test_from_the_shards(tmp_path: Path) -> None:
    build(make_source(), tmp_path / "d", superpixels=[12, 20])
    reader = open_superpixels(tmp_path / "d", "train", 12)
    check(reader, tmp_path / "d", 12)
    assert reader.seconds is None
    assert not (tmp_path / "d" / "superpixels").exists()
    # Stored with the default compactness only.
    open_superpixels(tmp_path / "d", "train", 12, compactness=20.0)
    assert (tmp_path / "d" / "superpixels").exists()


def test_cache_folder_where_the_data_cannot_be_written(root: Path, tmp_path: Path) -> None:
    (root / "superpixels").write_text("a file in the way")
    check(open_superpixels(root, "train", 12), root, 12)
    assert list((tmp_path / "cache" / "superpixels").glob("*.tar"))


def test_nowhere_to_write(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "superpixels").write_text("a file in the way")
    monkeypatch.setenv("CAMSWEEP_CACHE", str(root / "manifest.json"))
    with pytest.raises(InputError, match="set CAMSWEEP_CACHE"):
        open_superpixels(root, "train", 12)


def test_damaged_or_foreign_side_set_is_computed_again(root: Path) -> None:
    open_superpixels(root, "train", 12)
    (tar,) = (root / "superpixels").glob("*.tar")
    tar.write_bytes(tar.read_bytes()[:-1024])
    check(open_superpixels(root, "train", 12), root, 12)
    facts = tar.with_suffix(".json")
    side = json.loads(facts.read_text())
    facts.write_text(json.dumps(side | {"digest": "of other data", "segments": [1, 1, 1, 1]}))
    check(open_superpixels(root, "train", 12), root, 12)
    assert json.loads(facts.read_text())["segments"] == side["segments"]


def test_interrupted_computation_leaves_no_set(root: Path) -> None:
    def stop(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_superpixels(root, "train", 12, on_progress=stop)
    assert {path.suffix for path in (root / "superpixels").iterdir()} == {".lock"}


def test_concurrent_trials_compute_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(*args: object) -> np.ndarray:
        calls.append(1)
        return segment(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "segment", counted)
    threads = [threading.Thread(target=open_superpixels, args=(root, "train", 12)) for _ in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 4


def test_threads_give_the_same(root: Path) -> None:
    check(open_superpixels(root, "train", 12, workers=3), root, 12)


def test_pickled_reader(root: Path) -> None:
    reader = open_superpixels(root, "train", 12)
    assert np.array_equal(pickle.loads(pickle.dumps(reader))[2], reader[2])
    with pytest.raises(IndexError):
        reader[4]
