"""The promises of reading, over nodes, workers and shard sizes: nothing lost, nothing twice."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_data import made, make_source

from camsweep.shards.epochs import (
    EpochBatches,
    counted,
    epoch_order,
    evaluation_share,
)
from camsweep.shards.errors import InputError
from camsweep.shards.reader import SplitReader, open_split, stream
from camsweep.shards.writing.writer import build

quick = settings(max_examples=100, deadline=None)
few = settings(max_examples=30, deadline=None)  # these read files


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAMSWEEP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Data sets by number of samples and shard size, each built once."""
    folder = tmp_path_factory.mktemp("data")

    @functools.cache
    def get(count: int, shard_samples: int) -> Path:
        root = folder / f"{count}-{shard_samples}"
        build(make_source(count, (8, 8)), root, shard_samples=shard_samples, workers=1)
        return root

    return get


class Keys:
    """A reader's keys as a data set for a DataLoader, which need not decode."""

    def __init__(self, reader: SplitReader) -> None:
        self.reader = reader

    def __getitem__(self, key: tuple[int, int]) -> tuple[int, str]:
        epoch, index = key
        return epoch, self.reader[index].key


class TestEvaluation:
    """Every sample exactly once."""

    @few
    @given(
        count=st.integers(1, 13),
        shard_samples=st.integers(1, 6),
        world=st.integers(1, 7),
        workers=st.integers(1, 5),
    )
    def test_stream_over_nodes_and_workers(
        self, data: Any, count: int, shard_samples: int, world: int, workers: int
    ) -> None:
        root = data(count, shard_samples)
        seen = []
        for rank, worker in itertools.product(range(world), range(workers)):
            with pytest.MonkeyPatch.context() as patch:
                info = SimpleNamespace(id=worker, num_workers=workers)
                patch.setattr("torch.utils.data.get_worker_info", lambda info=info: info)
                seen += [sample.key for sample in stream(root, "train", rank, world)]
        assert sorted(seen) == sorted(f"train_{index}" for index in range(count))

    def test_a_clusters_variables_take_nothing_away(
        self, data: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in (("RANK", 1), ("WORLD_SIZE", 3), ("WORKER", 1), ("NUM_WORKERS", 2)):
            monkeypatch.setenv(name, str(value))
        assert len(list(stream(data(13, 4), "train"))) == 13

    @pytest.mark.filterwarnings("ignore:This DataLoader will create")
    @pytest.mark.parametrize(
        ("count", "shard_samples", "world", "workers"),
        [(13, 4, 1, 0), (13, 4, 2, 2), (5, 5, 1, 3), (5, 2, 4, 2), (9, 1, 2, 3)],
    )
    def test_stream_through_a_real_loader(
        self, data: Any, count: int, shard_samples: int, world: int, workers: int
    ) -> None:
        """With more workers than shards, and more ranks than shards, too."""
        torch = pytest.importorskip("torch")
        root = data(count, shard_samples)
        for _ in range(2):
            seen = []
            for rank in range(world):
                loader = torch.utils.data.DataLoader(
                    stream(root, "train", rank, world), batch_size=None, num_workers=workers
                )
                seen += [sample.key for sample in loader]
            assert sorted(seen) == sorted(f"train_{index}" for index in range(count))

    @few
    @given(count=st.integers(1, 13), shard_samples=st.integers(1, 6))
    def test_one_process_sees_stored_order_each_time(
        self, data: Any, count: int, shard_samples: int
    ) -> None:
        root = data(count, shard_samples)
        once = stream(root, "train")
        reader = open_split(root, "train")
        for samples in (once, once, reader, reader):
            assert [sample.key for sample in samples] == [f"train_{n}" for n in range(count)]

    def test_the_stream_gives_what_random_access_gives(self, data: Any) -> None:
        reader = open_split(data(13, 4), "train")
        for index, sample in enumerate(stream(data(13, 4), "train")):
            assert sample.key == reader.keys[index]
            assert sample.labels == reader[index].labels
            assert np.array_equal(sample.image, reader[index].image)
            assert np.array_equal(sample.mask, reader[index].mask)

    @quick
    @given(n=st.integers(0, 300), world=st.integers(1, 12))
    def test_random_access_shares(self, n: int, world: int) -> None:
        shares = [evaluation_share(n, rank, world) for rank in range(world)]
        assert sorted(itertools.chain(*shares)) == list(range(n))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


class TestTraining:
    """Permutations, equal steps, resuming."""

    @quick
    @given(n=st.integers(0, 300), seed=st.integers(0, 2**40), epoch=st.integers(0, 1000))
    def test_an_epoch_is_a_permutation(self, n: int, seed: int, epoch: int) -> None:
        order = epoch_order(n, seed, epoch)
        assert order.dtype == np.int64
        assert np.array_equal(np.sort(order), np.arange(n))
        assert np.array_equal(order, epoch_order(n, seed, epoch))

    @quick
    @given(seed=st.integers(0, 2**40), epoch=st.integers(0, 1000))
    def test_it_changes_with_the_epoch_and_the_seed(self, seed: int, epoch: int) -> None:
        order = epoch_order(200, seed, epoch)
        assert not np.array_equal(order, epoch_order(200, seed, epoch + 1))
        assert not np.array_equal(order, epoch_order(200, seed + 1, epoch))

    @quick
    @given(
        n=st.integers(0, 120),
        part=st.integers(1, 6),
        world=st.integers(1, 6),
        seed=st.integers(0, 2**32),
        epoch=st.integers(0, 50),
    )
    def test_ranks_together_see_what_one_process_sees(
        self, n: int, part: int, world: int, seed: int, epoch: int
    ) -> None:
        alone = EpochBatches(n, part * world, seed)
        ranks = [EpochBatches(n, part * world, seed, rank, world) for rank in range(world)]
        for batches in (alone, *ranks):
            batches.epoch = epoch
        steps = [list(batches) for batches in ranks]
        assert {len(own) for own in steps} == {len(alone)} == {n // (part * world)}
        for step, batch in enumerate(alone):
            assert [key for own in steps for key in own[step]] == batch
        seen = [index for batch in alone for _, index in batch]
        assert len(set(seen)) == len(seen) == n // (part * world) * part * world

    @quick
    @given(n=st.integers(1, 60), batch=st.integers(1, 8), seed=st.integers(0, 99), data_=st.data())
    def test_it_resumes_at_the_next_sample(
        self, n: int, batch: int, seed: int, data_: st.DataObject
    ) -> None:
        whole = EpochBatches(n, batch, seed)
        whole.epoch = 3
        resumed = EpochBatches(n, batch, seed)
        resumed.epoch = 3
        resumed.start = data_.draw(st.integers(0, whole.steps))
        assert list(resumed) == list(whole)[resumed.start :]
        assert len(resumed) == len(list(resumed))

    @pytest.mark.filterwarnings("ignore:This DataLoader will create")
    @pytest.mark.parametrize("shard_samples", [1, 4, 13])
    def test_workers_and_shard_sizes_change_nothing(self, data: Any, shard_samples: int) -> None:
        torch = pytest.importorskip("torch")
        reader = open_split(data(13, shard_samples), "train")
        seen = []
        for workers in (0, 1, 3):
            batches = EpochBatches(len(reader), 4, seed=5)
            loader = torch.utils.data.DataLoader(
                Keys(reader), batch_sampler=batches, num_workers=workers, collate_fn=list
            )
            epochs = []
            for batches.epoch in range(2):
                epochs.append([item for batch in counted(loader, 3, "batches") for item in batch])
            seen.append(epochs)
        assert seen[0] == seen[1] == seen[2]
        for epoch, items in enumerate(seen[0]):
            order = epoch_order(13, 5, epoch)[:12]
            assert items == [(epoch, f"train_{index}") for index in order]


class TestCounts:
    """Counts are compared with the manifest at every pass."""

    @quick
    @given(expected=st.integers(0, 6), came=st.integers(0, 6))
    def test_counted(self, expected: int, came: int) -> None:
        items = counted(iter(range(came)), expected, "voc, split 'train': samples")
        if came == expected:
            assert list(items) == list(range(came))
            return
        with pytest.raises(InputError) as caught:
            list(items)
        assert str(caught.value) == (
            f"voc, split 'train': samples: {came} came, {expected} were planned"
        )

    def test_a_reader_that_loses_a_sample(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reader = open_split(made(tmp_path / "d"), "train")
        monkeypatch.setattr(SplitReader, "__len__", lambda self: 8)
        with pytest.raises(InputError, match=r"split 'train': samples: 8 came, 9 were planned"):
            list(reader)

    @pytest.mark.parametrize(("rank", "world"), [(2, 2), (-1, 2), (0, 0)])
    def test_wrong_rank(self, data: Any, rank: int, world: int) -> None:
        for wrong in (
            lambda: evaluation_share(4, rank, world),
            lambda: EpochBatches(4, 2, 0, rank, world),
            lambda: stream(data(5, 2), "train", rank, world),
        ):
            with pytest.raises(InputError, match=f"rank {rank} of {world} processes"):
                wrong()

    @pytest.mark.parametrize(("batch", "world"), [(0, 1), (3, 2), (-2, 2)])
    def test_wrong_batch(self, batch: int, world: int) -> None:
        with pytest.raises(InputError, match=f"batch is {batch}; a multiple of the {world}"):
            EpochBatches(10, batch, 0, 0, world)
