"""Every damage of a shard is named with shard and sample: by verify, by reading, by the stream."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_data import Members, as_format_1, edit_members, flip, made, seal_again

from camsweep.shards.errors import DamagedSample, InputError
from camsweep.shards.reader import SplitReader, open_split, stream
from camsweep.shards.verify import check_digests, verify

SHARD = "train-000001.tar"  # holds train_4 to train_7


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMSWEEP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return made(tmp_path / "d")


def cut_inside(root: Path) -> None:
    shard = root / SHARD
    shard.write_bytes(shard.read_bytes()[: shard.read_bytes().index(b"train_6.jpg") + 700])


def cut_between(root: Path) -> None:
    shard = root / SHARD
    shard.write_bytes(shard.read_bytes()[: shard.read_bytes().index(b"train_6.jpg")])


def flip_pixels(root: Path) -> None:
    flip(root / SHARD, b"train_6.jpg", 1400)


def flip_mask(root: Path) -> None:
    flip(root / SHARD, b"train_6.mask.png", 1000)


def _edit(root: Path, edit: Callable[[Members], Members]) -> None:
    edit_members(root / SHARD, edit)


def lose_image(root: Path) -> None:
    _edit(root, lambda members: [item for item in members if item[0] != "train_6.jpg"])


def lose_mask(root: Path) -> None:
    _edit(root, lambda members: [item for item in members if item[0] != "train_6.mask.png"])


def lose_json(root: Path) -> None:
    _edit(root, lambda members: [item for item in members if item[0] != "train_6.json"])


def lose_sample(root: Path) -> None:
    _edit(root, lambda members: [item for item in members if not item[0].startswith("train_6")])


def interleave(root: Path) -> None:
    """The image of train_6 goes to the end, behind train_7."""

    def edit(members: Members) -> Members:
        rest = [item for item in members if item[0] != "train_6.jpg"]
        return rest + [item for item in members if item[0] == "train_6.jpg"]

    _edit(root, edit)


def twice(root: Path) -> None:
    def edit(members: Members) -> Members:
        return members + [item for item in members if item[0].startswith("train_6")]

    _edit(root, edit)


# What is done, what the lines of train_6 say, and which samples cannot be read afterwards.
DAMAGES = [
    (cut_inside, r"the file ends inside its \.jpg", {6, 7}),
    (cut_between, "not in its shard, which is damaged after sample train_5", {6, 7}),
    (flip_pixels, r"its \.jpg has changed", {6}),
    (flip_mask, r"its \.mask\.png has changed|mask does not decode", {6}),
    (lose_image, r"no \.jpg", {6}),
    (lose_mask, r"no \.mask\.png", {6}),
    (lose_json, r"no \.json", {6}),
    (lose_sample, "not in its shard", {6}),
    (interleave, "its members are interleaved with those of sample train_7", {6}),
    (twice, "key comes twice", {6}),
]
each_damage = pytest.mark.parametrize(
    ("damage", "words", "lost"), DAMAGES, ids=[damage.__name__ for damage, _, _ in DAMAGES]
)


def unreadable(reader: SplitReader) -> dict[int, str]:
    """Which samples raise DamagedSample, and their lines; every other one must decode."""
    lines = {}
    for index in range(len(reader)):
        try:
            reader[index]
        except DamagedSample as error:
            lines[index] = str(error)
    return lines


@each_damage
def test_verify_names_it(
    data: Path, damage: Callable[[Path], None], words: str, lost: set[int]
) -> None:
    damage(data)
    problems = verify(data).problems
    named = [line for line in problems if f"{data / SHARD}, sample train_6: " in line]
    assert len(named) == 1
    assert re.search(words, named[0])
    others = {int(key) for line in problems for key in re.findall(r"tar, sample train_(\d)", line)}
    assert others == lost
    assert all("\n" not in line for line in problems)


@each_damage
def test_reading_names_it_and_goes_on(
    data: Path, damage: Callable[[Path], None], words: str, lost: set[int]
) -> None:
    whole = [sample.image for sample in open_split(data, "train", decoded=False)]
    damage(data)
    reader = open_split(data, "train", strict=False)
    lines = unreadable(reader)
    assert set(lines) == lost
    for index, line in lines.items():
        assert line.startswith(f"{data / SHARD}, sample train_{index}: ")
        assert "\n" not in line
    assert re.search(words, lines[6])
    for index in set(range(9)) - set(lines):
        assert np.array_equal(reader[index].image, whole[index])


@each_damage
def test_the_stream_names_it(
    data: Path, damage: Callable[[Path], None], words: str, lost: set[int]
) -> None:
    damage(data)
    seen = []
    samples = (seen.append(sample.key) for sample in stream(data, "train", strict=False))
    with pytest.raises(DamagedSample) as caught:
        list(samples)
    assert str(caught.value).startswith(f"{data / SHARD}, sample train_6: ")
    assert re.search(words, str(caught.value))
    # That a sample comes again shows at the end of its shard.
    assert seen == [f"train_{index}" for index in range(8 if damage is twice else 6)]


def test_a_broken_header_hides_the_rest_from_tar_but_not_from_the_index(data: Path) -> None:
    shard = data / SHARD
    content = bytearray(shard.read_bytes())
    content[content.index(b"train_6.jpg") + 150] ^= 1  # its checksum
    shard.write_bytes(content)
    problem = "damaged after sample train_5 (a header is broken)"
    assert f"{shard}: {problem}" in verify(data).problems
    assert [sample.key for sample in open_split(data, "train")] == [f"train_{n}" for n in range(9)]
    lines = unreadable(open_split(data, "train", strict=False))
    assert set(lines) == {6, 7}
    assert problem in lines[6]
    with pytest.raises(DamagedSample, match="sample train_6: not in its shard"):
        list(stream(data, "train"))


def test_bytes_that_no_sample_has(data: Path) -> None:
    """Damage between members or behind the last one: the shard is named, all samples are read."""
    shard = data / SHARD
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    assert any(line.startswith(f"{shard}: SHA-256 differs") for line in verify(data).problems)
    (line,) = check_digests(data, ["train"], raise_=False)
    assert line.endswith("(all of its samples can still be read)")
    assert unreadable(open_split(data, "train", strict=False)) == {}


def test_a_warm_cache_does_not_hide_damage(data: Path) -> None:
    for _ in open_split(data, "train"):
        pass
    flip_pixels(data)
    assert set(unreadable(open_split(data, "train", strict=False))) == {6}


def test_damage_that_comes_while_reading(data: Path) -> None:
    reader = open_split(data, "train", decoded=False)
    assert reader[6].key == "train_6"
    flip_pixels(data)
    assert set(unreadable(reader)) == {6}


def test_a_newer_manifest_is_refused_by_all(data: Path) -> None:
    path = data / "manifest.json"
    path.write_text(path.read_text().replace('"format": 2', '"format": 3'))
    for read in (
        lambda: open_split(data, "train"),
        lambda: stream(data, "train"),
        lambda: verify(data),
        lambda: check_digests(data, ["train"]),
    ):
        with pytest.raises(InputError, match="format is 3, this camsweep reads up to 2; update"):
            read()


@pytest.mark.parametrize("damage", [interleave, lose_image, lose_json, twice, cut_inside])
def test_what_another_tool_wrote_so_is_refused(data: Path, damage: Callable[[Path], None]) -> None:
    """Digests that fit do not help: without an index the shards are scanned, and named."""
    damage(data)
    seal_again(data, index=False)
    as_format_1(data)
    with pytest.raises(DamagedSample, match=rf"^{data / SHARD}, sample train_6: "):
        open_split(data, "train")
    with pytest.raises(DamagedSample, match=r"sample train_6: "):
        seal_again(data, index=True)


def test_every_single_bit_of_a_sample_is_watched(data: Path) -> None:
    """A bit in each of 60 places of one sample's members: never other pixels in silence."""
    whole = [(sample.image, sample.mask) for sample in open_split(data, "train", decoded=False)]
    shard = data / SHARD
    content = shard.read_bytes()
    first, last = content.index(b"train_5.jpg"), content.index(b"train_6.jpg")
    for place in range(first, last, (last - first) // 60):
        changed = bytearray(content)
        changed[place] ^= 1
        shard.write_bytes(changed)
        reader = open_split(data, "train", decoded=False)
        try:
            sample = reader[5]
        except DamagedSample as error:
            assert "sample train_5: its ." in str(error)  # noqa: PT017
            continue
        assert np.array_equal(sample.image, whole[5][0])
        assert np.array_equal(sample.mask, whole[5][1])  # type: ignore[arg-type]
