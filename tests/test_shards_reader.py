from __future__ import annotations

import io
import pickle
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from camsweep.shards.colours import colour_map
from camsweep.shards.errors import InputError
from camsweep.shards.manifest import load_manifest, write_manifest
from camsweep.shards.reader import epoch_order, open_split, rank_slice, stream
from camsweep.shards.writer import Source, SourceSample, build


def make_source(count: int = 10, change: int = 0, **splits: int) -> Source:
    """A source of random 24 x 32 images in three classes; ``change`` alters the pixels."""

    def sample(split: str, index: int) -> SourceSample:
        rng = np.random.default_rng([index, len(split), change])
        stream = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(stream, "JPEG")
        mask = rng.integers(0, 3, (24, 32), dtype=np.uint8)
        mask[0] = 255
        return SourceSample(f"{split}_{index}", stream.getvalue(), mask, (1, 2), (24, 32), "made")

    counts = splits or {"train": count}
    return Source(
        name="tiny",
        source="made for a test",
        classes=("background", "cat", "dog"),
        colours=colour_map(3),
        settings={"labels": "masks"},
        splits={
            split: [partial(sample, split, index) for index in range(number)]
            for split, number in counts.items()
        },
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "d"
    build(make_source(train=9, val=4), folder, shard_samples=4)
    return folder


def test_samples_come_back(root: Path) -> None:
    reader = open_split(root, "train")
    source = make_source(train=9)
    assert len(reader) == 9
    for index, load in enumerate(source.splits["train"]):
        wanted, got = load(), reader[index]
        image = np.asarray(Image.open(io.BytesIO(wanted.image_bytes)))
        assert got.key == wanted.key == reader.keys[index]
        assert np.array_equal(got.image, image)
        assert np.array_equal(got.mask, wanted.mask)
        assert got.labels == (1, 2)
    assert reader.labels.dtype == np.float32
    assert np.array_equal(reader.labels, np.ones((9, 2)))
    assert reader.sizes.tolist() == [[24, 32]] * 9
    assert reader[-1].key == reader.keys[8]
    with pytest.raises(IndexError):
        reader[9]


def test_cache_stays_within_its_bytes(root: Path) -> None:
    one = 24 * 32 * 4
    reader = open_split(root, "train", cache_bytes=2 * one)
    first, second, third = reader[0], reader[1], reader[2]
    assert reader[0] is first
    assert reader[1] is second
    assert reader[2] is not third
    assert np.array_equal(reader[2].image, third.image)


def test_samples_are_read_only(root: Path) -> None:
    sample = open_split(root, "train")[0]
    with pytest.raises(ValueError):
        sample.image[0, 0, 0] = 1
    with pytest.raises(ValueError):
        sample.mask[0, 0] = 1


def test_reader_survives_pickling(root: Path) -> None:
    reader = open_split(root, "train")
    held = reader[3]
    content = pickle.dumps(reader)
    assert held.image.tobytes() not in content
    assert np.array_equal(pickle.loads(content)[3].image, held.image)


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


def test_stream_equals_random_access(root: Path) -> None:
    reader = open_split(root, "train")
    for index, sample in enumerate(stream(root, "train")):
        assert sample.key == reader.keys[index]
        assert np.array_equal(sample.image, reader[index].image)
        assert np.array_equal(sample.mask, reader[index].mask)


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(1, 13),
    shard_samples=st.integers(1, 6),
    world=st.integers(1, 5),
)
def test_every_sample_exactly_once(count: int, shard_samples: int, world: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "d"
        build(make_source(count), root, shard_samples=shard_samples)
        keys = open_split(root, "train").keys
        assert keys == [f"train_{index}" for index in range(count)]
        shares = [[s.key for s in stream(root, "train", rank, world)] for rank in range(world)]
        assert sorted(key for share in shares for key in share) == sorted(keys)


@given(
    n=st.integers(0, 300),
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 1000),
    world=st.integers(1, 9),
)
def test_orders_and_slices(n: int, seed: int, epoch: int, world: int) -> None:
    order = epoch_order(n, seed, epoch)
    assert order.dtype == np.int64
    assert np.array_equal(np.sort(order), np.arange(n))
    assert np.array_equal(order, epoch_order(n, seed, epoch))
    slices = [rank_slice(order, rank, world) for rank in range(world)]
    assert {len(part) for part in slices} == {n // world}
    joined = np.concatenate(slices)
    assert len(np.unique(joined)) == len(joined) == n // world * world


@given(seed=st.integers(0, 2**40), epoch=st.integers(0, 1000))
def test_order_changes_with_epoch_and_seed(seed: int, epoch: int) -> None:
    order = epoch_order(200, seed, epoch)
    assert not np.array_equal(order, epoch_order(200, seed, epoch + 1))
    assert not np.array_equal(order, epoch_order(200, seed + 1, epoch))


def test_wrong_rank() -> None:
    with pytest.raises(InputError, match="rank 2 of 2"):
        rank_slice(np.arange(4), 2, 2)


def copy_of(root: Path, folder: Path) -> Path:
    folder.mkdir()
    for path in root.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_missing_and_truncated_shards(root: Path, tmp_path: Path) -> None:
    data = copy_of(root, tmp_path / "d")
    shard = data / "train-000001.tar"
    shard.write_bytes(shard.read_bytes()[:-512])
    for read in (partial(open_split, data, "train"), partial(stream, data, "train")):
        with pytest.raises(InputError, match=r"train-000001\.tar: \d+ bytes, its manifest says"):
            read()
    shard.unlink()
    with pytest.raises(InputError, match=r"train-000001\.tar: cannot be read"):
        open_split(data, "train")
    assert len(open_split(data, "val")) == 4


def test_damaged_sample_is_named(root: Path, tmp_path: Path) -> None:
    data = copy_of(root, tmp_path / "d")
    shard = data / "train-000000.tar"
    content = bytearray(shard.read_bytes())
    start = content.index(b"train_2.jpg") + 512
    content[start : start + 2] = b"no"
    shard.write_bytes(content)
    reader = open_split(data, "train")
    assert reader[1].key == "train_1"
    with pytest.raises(InputError, match=r"train-000000\.tar, sample train_2: the image does not"):
        reader[2]
    with pytest.raises(InputError, match=r"train-000000\.tar, sample train_2: the image does not"):
        list(stream(data, "train"))


def test_damaged_header_is_not_a_short_split(root: Path, tmp_path: Path) -> None:
    data = copy_of(root, tmp_path / "d")
    shard = data / "train-000000.tar"
    content = bytearray(shard.read_bytes())
    content[content.index(b"train_2.jpg") + 150] ^= 1  # the header's checksum
    shard.write_bytes(content)
    with pytest.raises(InputError, match=r"train-000000\.tar: damaged after sample train_1"):
        open_split(data, "train")
    with pytest.raises(InputError, match=r"train-000000\.tar"):
        list(stream(data, "train"))


def test_count_is_checked_against_the_manifest(root: Path, tmp_path: Path) -> None:
    data = copy_of(root, tmp_path / "d")
    manifest = load_manifest(data)
    train = manifest.splits["train"].model_copy(update={"count": 10})
    write_manifest(data, manifest.model_copy(update={"splits": {"train": train}}))
    with pytest.raises(InputError, match="holds 9 samples, its manifest says 10"):
        open_split(data, "train")
