from __future__ import annotations

import errno
import io
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_data import SIZE, flip, made, make_sample, make_source
from PIL import Image

from camsweep.shards.errors import DamagedSample, InputError
from camsweep.shards.manifest import load_manifest, write_manifest
from camsweep.shards.places import LostFile, MissingFile, as_place
from camsweep.shards.reader import open_split, stream
from camsweep.shards.shardfiles import ShardFiles
from camsweep.shards.writing.writer import build


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMSWEEP_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "d"
    build(make_source(splits={"train": 9, "val": 4}), folder, shard_samples=4, workers=1)
    return folder


def test_samples_come_back(root: Path) -> None:
    reader = open_split(root, "train")
    assert len(reader) == 9
    for index in range(9):
        wanted, got = make_sample("train", index), reader[index]
        image = np.asarray(Image.open(io.BytesIO(wanted.image_bytes)))
        assert got.key == wanted.key == reader.keys[index]
        assert np.array_equal(got.image, image)
        assert np.array_equal(got.mask, wanted.mask)
        assert got.labels == wanted.labels
        assert reader.read(index, "jpg") == wanted.image_bytes
    assert reader.labels.dtype == np.float32
    assert np.array_equal(reader.labels, np.ones((9, 2)))
    assert reader.sizes.tolist() == [[24, 32]] * 9
    assert reader[-1].key == reader.keys[8]
    with pytest.raises(IndexError):
        reader[9]


def test_a_place_and_a_string_open_the_same(root: Path) -> None:
    keys = open_split(root, "val").keys
    assert open_split(str(root), "val").keys == keys
    assert open_split(as_place(root), "val").keys == keys


def test_each_picture_is_decoded_once_a_node(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = [(sample.image.copy(), sample.mask) for sample in open_split(root, "train")]

    def refuse(content: bytes, where: str) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr("camsweep.shards.reader.decode_image", refuse)
    monkeypatch.setattr("camsweep.shards.reader.decode_mask", refuse)
    for (image, mask), sample in zip(first, open_split(root, "train"), strict=True):
        assert np.array_equal(sample.image, image)
        assert np.array_equal(sample.mask, mask)
    with pytest.raises(AssertionError, match="decoded again"):
        open_split(root, "train", decoded=False)[0]


def test_without_a_cache_folder_pictures_are_decoded_each_time(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CAMSWEEP_CACHE", str(tmp_path / "file" / "cache"))
    reader = open_split(root, "train")
    assert np.array_equal(reader[0].image, reader[0].image)


def test_samples_are_read_only(root: Path) -> None:
    for reader in (open_split(root, "train"), open_split(root, "train")):
        sample = reader[0]
        with pytest.raises(ValueError):
            sample.image[0, 0, 0] = 1
        with pytest.raises(ValueError):
            sample.mask[0, 0] = 1  # type: ignore[index]


def test_reader_survives_pickling(root: Path) -> None:
    reader = open_split(root, "train")
    held = reader[3]
    content = pickle.dumps(reader)
    assert held.image.tobytes() not in content
    assert np.array_equal(pickle.loads(content)[3].image, held.image)


def test_more_shards_than_open_files(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camsweep.shards.shardfiles.OPEN_FILES", 1)
    before = len(list(Path("/proc/self/fd").iterdir()))
    reader = open_split(root, "train", decoded=False)
    assert [sample.key for sample in reader] == reader.keys
    assert len(list(Path("/proc/self/fd").iterdir())) == before + 1
    del reader
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_dataloader_workers_read_the_same(root: Path) -> None:
    torch = pytest.importorskip("torch")
    reader = open_split(root, "train")
    loader = torch.utils.data.DataLoader(reader, batch_size=None, num_workers=2, shuffle=False)
    assert [sample.key for sample in loader] == reader.keys


def test_unknown_split_gets_a_hint(root: Path) -> None:
    with pytest.raises(InputError, match="no split 'trian'; did you mean 'train'"):
        open_split(root, "trian")
    with pytest.raises(InputError, match="did you mean"):
        stream(root, "trian")


def test_a_member_that_was_never_there(root: Path) -> None:
    reader = open_split(root, "train")
    assert reader.has(0, "mask.png")
    assert not reader.has(0, "sp100.png")
    with pytest.raises(InputError, match=r"sample train_0: no train_0\.sp100\.png") as caught:
        reader.read(0, "sp100.png")
    assert not isinstance(caught.value, DamagedSample)


def test_missing_and_truncated_shards(tmp_path: Path) -> None:
    data = made(tmp_path / "d")
    shard = data / "train-000001.tar"
    shard.write_bytes(shard.read_bytes()[: shard.read_bytes().index(b"train_7.json") + 100])
    line = r"0001\.tar: \d+ bytes, its manifest says \d+; .*damaged: sample train_7: no \.json"
    for read in (open_split, stream):
        with pytest.raises(InputError, match=line):
            read(data, "train")  # type: ignore[operator]
    shard.unlink()
    with pytest.raises(InputError, match=r"train-000001\.tar: cannot be read"):
        open_split(data, "train")
    reader = open_split(data, "train", strict=False)
    assert reader[3].key == "train_3"
    with pytest.raises(DamagedSample, match=r"train-000001\.tar, sample train_4: "):
        reader[4]


def test_count_is_checked_against_the_manifest(tmp_path: Path) -> None:
    data = made(tmp_path / "d")
    manifest = load_manifest(data)
    train = manifest.splits["train"].model_copy(update={"count": 10})
    write_manifest(data, manifest.model_copy(update={"splits": {"train": train}}))
    with pytest.raises(InputError, match="holds 9 samples, its manifest says 10"):
        open_split(data, "train")


def test_a_picture_of_another_size_than_its_index(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = np.zeros((4, 4, 3), np.uint8)
    monkeypatch.setattr("camsweep.shards.reader.decode_image", lambda content, where: wrong)
    with pytest.raises(DamagedSample, match=r"train_1: decodes to \(4, 4, 3\)") as caught:
        open_split(root, "train").image(1)
    assert str((*SIZE, 3)) in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "raised"),
    [(LostFile, DamagedSample), (MissingFile, DamagedSample), (InputError, InputError)],
)
def test_a_shard_that_is_lost_is_damage_and_one_that_is_out_of_reach_is_none(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[InputError],
    raised: type[InputError],
) -> None:
    """What a remote place says of a shard that vanished, or of a server that does not answer."""

    def refuse(files: ShardFiles, number: int) -> Path:
        raise kind(f"{files.name(number)}: cannot be read (so it is)")

    reader = open_split(root, "train")
    monkeypatch.setattr(ShardFiles, "path", refuse)
    line = f"^{root}/train-000001.tar, sample train_5: cannot be read .so it is.$"
    with pytest.raises(InputError, match=line) as caught:
        reader[5]
    assert type(caught.value) is raised
    with pytest.raises(InputError, match=r"sample train_0: cannot be read .so it is.$") as caught:
        list(stream(root, "train"))
    assert type(caught.value) is raised


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EIO, errno.EACCES, errno.ESTALE])
def test_what_the_machine_does_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    root = made(tmp_path / "d")

    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    flip(root / "train-000001.tar", b"train_6.jpg")
    suspect = open_split(root, "train", decoded=False, strict=False)
    monkeypatch.setattr("camsweep.shards.shardfiles.os.open", fail)
    monkeypatch.setattr(Path, "open", fail)
    for row in (1, 5):  # read by the index; by a survey of its shard
        with pytest.raises(InputError, match=rf"sample train_{row}: cannot be read \(") as caught:
            suspect[row]
        assert type(caught.value) is InputError
        assert os.strerror(code) in str(caught.value)
    monkeypatch.undo()
    assert suspect[5].key == "train_5"  # nothing wrong was remembered


def test_no_descriptors_left_in_the_stream_is_no_damage(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import builtins

    real = builtins.open

    def fail(file: object, *more: Any, **named: Any) -> Any:
        if str(file).endswith("train-000001.tar"):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(file, *more, **named)  # type: ignore[arg-type]

    samples = stream(root, "train")
    monkeypatch.setattr(builtins, "open", fail)
    seen = []
    with pytest.raises(InputError, match=r"sample train_4: .*Too many open files") as caught:
        seen += [sample.key for sample in samples]
    assert type(caught.value) is InputError


def test_a_missing_shard_is_damage_and_a_missing_folder_is_none(tmp_path: Path) -> None:
    root = made(tmp_path / "d")
    reader = open_split(root, "train", decoded=False)
    (root / "train-000001.tar").rename(root / "away")
    with pytest.raises(DamagedSample, match=r"sample train_5: .*No such file"):
        reader[5]
    root.rename(root.with_name("away"))  # as where a disk is not mounted
    with pytest.raises(InputError, match=r"sample train_0: .*No such file") as caught:
        reader[0]
    assert type(caught.value) is InputError


def test_a_copy_thrown_out_of_the_cache_is_fetched_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = ShardFiles.path, []

    def gone_at_first(files: ShardFiles, number: int) -> Path:
        asked.append(number)
        return root / "gone.tar" if len(asked) == 1 else real(files, number)

    monkeypatch.setattr(ShardFiles, "path", gone_at_first)
    assert open_split(root, "train", decoded=False)[5].key == "train_5"
    assert asked == [1, 1]


def test_forked_processes_read_side_by_side(root: Path) -> None:
    reader = open_split(root, "train", decoded=False)
    wanted = [reader.read(index, "jpg") for index in range(9)]
    children = []
    for _ in range(3):
        child = os.fork()
        if not child:
            same = all(reader.read(n, "jpg") == wanted[n] for n in [*range(9)] * 20)
            os._exit(0 if same else 1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]


def test_threads_share_a_reader(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camsweep.shards.shardfiles.OPEN_FILES", 2)
    wanted = [make_sample("train", index).image_bytes for index in range(9)]
    order = [index for start in range(40) for index in np.random.default_rng(start).permutation(9)]
    for _ in range(5):
        reader = open_split(root, "train", decoded=False)
        with ThreadPoolExecutor(8) as threads:
            read = list(threads.map(reader.read, order, ["jpg"] * len(order)))
        assert all(content == wanted[index] for content, index in zip(read, order, strict=True))
