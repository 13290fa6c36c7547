"""Side shard sets of the store, maps as pictures, and the counts of stored masks."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import build_data

from camsweep.methods.base import load_method, make_config, method_names
from camsweep.methods.inference import ClassMaps, _localize_group
from camsweep.methods.team import SOLO, Team
from camsweep.methods.training import build_net
from camsweep.platform.chain.links import classes_of, decode_maps, encode_maps
from camsweep.platform.chain.quality import Counted, image_counts, quality_of
from camsweep.platform.chain.sidesets import SideSet, Target, publish, shards_of, write_share
from camsweep.shards.errors import DamagedSample, InputError
from camsweep.shards.reader import SplitReader, open_split
from camsweep.sweeps.leasing.leases import LeaseLost
from camsweep.sweeps.store import Store


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> SplitReader:
    return open_split(build_data(tmp_path_factory.mktemp("sets"), 8, 70), "val")


def bytes_of(index: int) -> bytes | None:
    return None if index == 3 else f"picture {index}".encode()


def made(reader: SplitReader, store: Store, ranks: int = 1) -> Target:
    target = Target(store, "stage", "masks", "val")
    shards = [list(range(32)), list(range(32, 64)), list(range(64, 70))]
    for rank in range(ranks):
        team = Team()
        team.rank, team.world = rank, ranks
        write_share(target, reader.keys, shards, team, bytes_of)
    publish(target, "digest", len(shards), 1.5, lambda: {"miou": 0.5})
    return target


def test_pictures_are_read_back_by_index(reader: SplitReader, tmp_path: Path) -> None:
    target = made(reader, Store(str(tmp_path)))
    found = SideSet(target, reader)
    again = pickle.loads(pickle.dumps(found))
    for index in range(len(reader)):
        if index != 3:
            assert found.read(index) == again.read(index) == bytes_of(index)
    with pytest.raises(DamagedSample, match="no picture"):
        found.read(3)
    facts = target.facts()
    assert facts is not None
    assert (facts.images, facts.quality) == (69, {"miou": 0.5})


def test_shards_are_webdatasets(reader: SplitReader, tmp_path: Path) -> None:
    import webdataset as wds

    made(reader, Store(str(tmp_path)))
    urls = sorted(str(p) for p in (tmp_path / "artefacts/stage/masks-val").glob("*.tar"))
    samples = list(wds.WebDataset(urls, shardshuffle=False, empty_check=False))
    assert [s["__key__"] for s in samples] == [k for i, k in enumerate(reader.keys) if i != 3]
    assert samples[0]["png"] == b"picture 0"


def test_the_set_does_not_depend_on_who_made_it(reader: SplitReader, tmp_path: Path) -> None:
    one = made(reader, Store(str(tmp_path / "one"))).facts()
    many = made(reader, Store(str(tmp_path / "many")), ranks=2).facts()
    assert one == many


def test_whole_shards_are_not_made_again(reader: SplitReader, tmp_path: Path) -> None:
    target = made(reader, Store(str(tmp_path)))
    target.store.delete(target.shard(1))
    asked: list[int] = []

    def make(index: int) -> bytes | None:
        asked.append(index)
        return bytes_of(index)

    shards = [list(range(32)), list(range(32, 64)), list(range(64, 70))]
    write_share(target, reader.keys, shards, SOLO, make)
    assert asked == list(range(32, 64))


def test_who_lost_the_lock_writes_no_shard(reader: SplitReader, tmp_path: Path) -> None:
    """Another has indexed what is there: other bytes in its place would be damage."""
    target = Target(Store(str(tmp_path)), "stage", "masks", "val")
    asked: list[int] = []

    def require() -> None:
        asked.append(1)
        if len(asked) == 2:
            raise LeaseLost("slept")

    with pytest.raises(LeaseLost):
        write_share(target, reader.keys, [[0], [1], [2]], SOLO, bytes_of, require)
    assert [target.store.exists(target.shard(n)) for n in range(3)] == [True, False, False]


def test_changed_bytes_and_newer_sets_are_refused(reader: SplitReader, tmp_path: Path) -> None:
    target = made(reader, Store(str(tmp_path)))
    with pytest.raises(InputError, match="is not there"):
        SideSet(Target(target.store, "stage", "masks", "train"), reader)
    content = target.store.read(target.shard(0))
    target.store.write(target.shard(0), content.replace(b"picture 5", b"picture 6"))
    with pytest.raises(DamagedSample, match="bytes have changed"):
        SideSet(target, reader).read(5)
    facts = json.loads(target.store.read(target.name("facts.json")))
    target.store.write(target.name("facts.json"), json.dumps({**facts, "format": 99}).encode())
    with pytest.raises(InputError, match="newer camsweep"):
        target.facts()


def test_tars_hold_nothing_of_time_or_machine(reader: SplitReader, tmp_path: Path) -> None:
    target = made(reader, Store(str(tmp_path)))
    with tarfile.open(fileobj=io.BytesIO(target.store.read(target.shard(0)))) as archive:
        assert {(m.mtime, m.uid, m.uname) for m in archive} == {(0, 0, "")}


def test_groups_are_dealt_whole() -> None:
    groups = [[i, i + 1, i + 2] for i in range(0, 300, 3)]
    shards = shards_of(groups)
    assert [g for shard in shards for g in shard] == groups
    assert all(64 <= sum(map(len, shard)) < 67 for shard in shards[:-1])
    assert shards_of([]) == []


@pytest.mark.parametrize("classes", [(), (2,), (0, 1, 5)])
def test_maps_survive_as_pictures(classes: tuple[int, ...]) -> None:
    values = torch.rand(len(classes), 5, 7, generator=torch.Generator().manual_seed(0))
    found = decode_maps(encode_maps(ClassMaps(classes, values)), classes, "here")
    assert found.classes == classes
    assert found.values.shape == (len(classes), 5, 7)
    assert torch.allclose(found.values, values, atol=1 / 65535)


def test_maps_of_other_labels_are_refused() -> None:
    content = encode_maps(ClassMaps((1,), torch.zeros(1, 5, 7)))
    with pytest.raises(DamagedSample, match="5 rows are no 3 maps"):
        decode_maps(content, (1, 2, 3), "here")


def test_own_background_comes_first() -> None:
    assert classes_of([3, 7], own_background=True) == (0, 3, 7)
    assert classes_of([], own_background=False) == ()


def naive(found: Any, truth: Any, classes: int) -> list[list[int]]:
    rows = []
    for label in range(classes):
        keep = truth != 255
        rows.append(
            [
                int(((found == label) & (truth == label) & keep).sum()),
                int(((found == label) & (truth != label) & keep).sum()),
                int(((found != label) & (truth == label) & keep).sum()),
            ]
        )
    return rows


def test_counts_of_an_image_are_the_plain_ones() -> None:
    rng = np.random.default_rng(0)
    truth = rng.choice([0, 1, 2, 255], (9, 11)).astype(np.uint8)
    found = rng.choice([0, 1, 3, 255], (9, 11)).astype(np.uint8)
    assert image_counts(found, truth, 4).tolist() == naive(found, truth, 4)


@pytest.mark.parametrize(
    ("found", "truth", "said"),
    [
        (np.full((2, 2), 9, np.uint8), np.zeros((2, 2), np.uint8), "a mask has class 9"),
        (np.zeros((2, 2), np.uint8), np.full((2, 2), 9, np.uint8), "mask has class 9"),
        (np.zeros((2, 3), np.uint8), np.zeros((2, 2), np.uint8), "does not fit"),
    ],
)
def test_counts_refuse_what_does_not_fit(found: Any, truth: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        image_counts(found, truth, 4)


def test_floor_is_background_everywhere() -> None:
    truth = np.array([[0, 0, 1], [2, 2, 255]], np.uint8)
    found = np.zeros_like(truth)
    counts = Counted(["a"], image_counts(found, truth, 3)[None], [])
    assert counts.floor == pytest.approx(quality_of(counts)["miou"]) == pytest.approx(2 / 5 / 3)
    assert quality_of(Counted([], np.zeros((0, 3, 3), np.int64), [])) == {}


# CPMC makes prototype maps of its own in place of IS-CAMs.
CASES = [
    (name, ipe) for name in method_names() for ipe in (False, True) if (name, ipe) != ("cpmc", True)
]


@pytest.mark.parametrize(("method", "ipe"), CASES)
def test_configs_know_which_maps_have_a_background(method: str, ipe: bool) -> None:
    """The maps that a method makes are asked, of random weights."""
    values = {"method": method, "backbone": "small", "pretrain": "none", "ipe": ipe}
    config = make_config({**values, "scales": [1.0], "refine": "crf"})
    net = build_net(load_method(method), config, 4, None)
    images = [np.zeros((48, 48, 3), np.uint8)]
    (maps,) = _localize_group(
        load_method(method), net.eval(), images, torch.ones(1, 3), config, "cpu"
    )
    found = {name for name, scales in maps.items() if scales["all"].has_background}
    assert found == set(config.backed_maps())
