"""The benchmarks measure what they say: same images, by turns, ratios round by round.

Nothing here asserts a time: only that the pieces deliver what is timed.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from camsweep.platform import bench
from camsweep.platform.bench import bare, loader, opening, page, pair, photos, rounds, table
from camsweep.platform.cli.bench import bench as command
from camsweep.shards.errors import InputError
from camsweep.shards.places import as_place
from camsweep.shards.reader import open_split

N = 6


@pytest.fixture(scope="module")
def made() -> Iterator[photos.Photos]:
    with photos.photos(None, N) as found:
        yield found


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


# --- measuring and telling ---


def test_everything_is_measured_once_a_round_in_an_order_that_moves_on() -> None:
    calls: list[str] = []
    clock = itertools.count(1)

    def measured(name: str) -> float:
        calls.append(name)
        return float(next(clock))

    names = ("a", "b", "c")
    values = rounds.alternate({name: lambda n=name: measured(n) for name in names}, 4)
    assert "".join(calls) == "abcbcacababc"
    assert values == {"a": (1, 6, 8, 10), "b": (2, 4, 9, 11), "c": (3, 5, 7, 12)}


def test_a_ratio_is_taken_round_by_round() -> None:
    found = table.ratio({"thing": (2.0, 30.0, 4.0), "peer": (1.0, 10.0, 4.0)}, "thing", "peer", "g")
    assert found.values == (2.0, 3.0, 1.0)
    assert table.spread(found.values) == table.Spread(2.0, 1.0, 3.0)


@pytest.mark.parametrize(
    ("goal", "at", "below"),
    [
        ("at least 2", True, False),
        ("above 2", False, False),
        ("at most 2", True, True),
        ("under 2", False, True),
        ("", None, None),
    ],
)
def test_a_goal_is_met_or_not(goal: str, at: bool | None, below: bool | None) -> None:
    assert table.met(2.0, goal) is at
    assert table.met(1.9, goal) is below


def test_a_goal_that_nobody_understands_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least, above, at most, under and a number"):
        table.met(2.0, "2 or more")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12345.6, "12,346"),
        (1234.5, "1,234"),
        (123.45, "123"),
        (12.345, "12.3"),
        (1.2345, "1.23"),
        (0.98765, "0.988"),
        (0.0123456, "0.0123"),
        (0.0, "0"),
    ],
)
def test_three_digits_are_shown(value: float, text: str) -> None:
    assert table.number(value) == text


def test_a_rate_is_of_images_after_the_warm_ones_and_closes_the_stream() -> None:
    delivered, closed = 0, False

    def stream() -> Iterator[np.ndarray]:
        nonlocal delivered, closed
        try:
            while True:
                delivered += 1
                yield np.zeros((2, 2, 3), np.uint8)
        finally:
            closed = True

    assert rounds.rate(stream(), 0.0) > 0
    assert delivered == rounds.WARM + 1
    assert closed


def test_unknown_benchmarks_get_a_hint() -> None:
    assert bench.choose([]) == tuple(bench.BENCHMARKS)
    assert bench.choose(["open", "loader", "open"]) == ("open", "loader")
    with pytest.raises(InputError, match="no benchmark 'lodaer'; did you mean 'loader'"):
        bench.choose(["lodaer"])


# --- the images ---


def test_files_and_shards_hold_the_same_bytes(made: photos.Photos) -> None:
    reader = open_split(made.data, photos.SPLIT)
    files = sorted(made.files.iterdir())
    assert len(reader) == len(files) == N
    for index, path in enumerate(files):
        assert reader.read(index, "jpg") == path.read_bytes()
        assert pixels(path).shape == (*photos.SIZE, 3)
    assert len({path.read_bytes() for path in files}) == N


def test_given_data_are_measured_on_their_own_images(made: photos.Photos) -> None:
    given = open_split(made.data, photos.SPLIT)
    cache = os.environ.get("CAMSWEEP_CACHE")
    with photos.photos(as_place(made.data), N - 2) as taken:
        reader = open_split(taken.data, photos.SPLIT)
        assert len(reader) == len(list(taken.files.iterdir())) == N - 2
        assert np.array_equal(reader.labels, given.labels[: N - 2])
        for index in range(N - 2):
            assert reader.read(index, "jpg") == given.read(index, "jpg")
        assert os.environ["CAMSWEEP_CACHE"] != cache
    assert os.environ.get("CAMSWEEP_CACHE") == cache
    assert not taken.data.exists()


# --- the loader and its peers ---


@pytest.mark.parametrize("decoded", [False, True])
def test_the_loader_gives_every_image_once_an_epoch(made: photos.Photos, decoded: bool) -> None:
    reader = open_split(made.data, photos.SPLIT, decoded=decoded)
    images = loader.epochs(reader)
    want = sorted(pixels(path).tobytes() for path in made.files.iterdir())
    epochs = [[image.tobytes() for image in itertools.islice(images, N)] for _ in range(3)]
    images.close()
    assert all(sorted(epoch) == want for epoch in epochs)
    assert epochs[0] != epochs[1] or epochs[1] != epochs[2]


def test_dataloader_gives_the_same_images(made: photos.Photos) -> None:
    images = loader.plain_files(made)
    got = [image.tobytes() for image in itertools.islice(images, 2 * N)]
    images.close()
    want = sorted(pixels(path).tobytes() for path in made.files.iterdir())
    assert sorted(got[:N]) == sorted(got[N:]) == want


def test_every_first_epoch_fills_a_cache_of_its_own(made: photos.Photos) -> None:
    images = loader.filling(made)
    got, filled = [], set()
    for image in itertools.islice(images, 2 * N):
        got.append(image.tobytes())
        filled.update(Path(os.environ["CAMSWEEP_CACHE"]).glob("decoded/*.data"))
    images.close()
    assert got[:N] == got[N:]
    assert len({path.parent for path in filled}) == 2
    assert not any(path.exists() for path in filled)


def test_first_epochs_use_a_new_reader_each(made: photos.Photos) -> None:
    images = loader.first_epochs(open_split(made.data, photos.SPLIT))
    got = [image.tobytes() for image in itertools.islice(images, 2 * N)]
    images.close()
    assert got[:N] == got[N:]
    assert len(set(got)) == N


@pytest.mark.parametrize("kept", [False, True])
def test_bare_decoding_answers_and_ends(made: photos.Photos, kept: bool) -> None:
    with bare.BareDecoding(made.files, 2, kept=kept) as decoding:
        assert decoding.rate(0.01) > 0
        assert decoding.rate(0.01) > 0
        processes = decoding._processes
    assert [process.returncode for process in processes] == [0, 0]


def test_a_bare_process_that_dies_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no JPEG")
    with pytest.raises(InputError, match="bare decoding"):
        bare.BareDecoding(tmp_path, 1)


def test_the_loader_benchmark_compares_with_all_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "IMAGES", N)
    monkeypatch.setattr(rounds, "WARM", 2)
    found = bench.measure("loader", None, 0.01, 2)
    assert all(len(values) == 2 and min(values) > 0 for values in found.rounds.values())
    compared = {(ratio.thing, ratio.peer): ratio.goal for ratio in found.ratios}
    assert compared[loader.LOADER, loader.BARE] == "at least 0.85"
    assert compared[loader.KEPT, loader.BARE] == "at least 5"
    assert compared[loader.LOADER, loader.TORCH] == "above 1"
    assert found.notes[0].startswith(f"{N} images of rendered 500 x 375 photographs")


# --- pairs ---


def test_the_pair_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair, "IMAGES", 2)
    monkeypatch.setattr(pair, "BATCH", 2)
    shown: list[np.ndarray] = []
    superpixel = pair._Given.superpixel

    def kept(self: pair._Given, chosen: pair.Chosen) -> tuple:
        first, second = superpixel(self, chosen)
        shown.append((first + second == self.images[: len(chosen)]).numpy())
        assert first.any()
        assert second.any()
        return first, second

    monkeypatch.setattr(pair._Given, "superpixel", kept)
    found = bench.measure("pair", None, 0.0, 1)
    assert shown
    assert all(equal.all() for equal in shown)
    assert set(found.rounds) == {pair.GRID, pair.SUPERPIXEL, pair.ANEW, pair.RELEASED}
    assert found.ratios[0].goal == "at most 1.3"
    assert found.ratios[-1].goal == "at least 200"


def test_the_released_way_hides_whole_regions_of_one_image_in_the_other() -> None:
    cells = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0)) + 0.5
    image = cells.repeat_interleave(12, 1).repeat_interleave(12, 2)
    config = pair.CpnConfig(patches="superpixel", s_n=20)
    first, second = pair.hide_by_pixel(image, config, torch.Generator().manual_seed(1))
    assert torch.equal(first + second, image)
    assert first.any()
    assert second.any()
    assert ((first == 0) | (second == 0)).all()


# --- opening ---


def test_many_samples_open_like_any_data(tmp_path: Path) -> None:
    opening.many_samples(tmp_path / "data", shards=3, shard_samples=4)
    place = as_place(tmp_path / "data")
    reader = open_split(place, opening.SPLIT)
    assert reader.keys == [f"{number:08d}" for number in range(12)]
    assert reader.image(11).shape == (8, 8, 3)
    assert opening.by_index(place, opening.SPLIT) == 12
    assert opening.by_headers(place, opening.SPLIT) == 12


def test_the_open_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "SHARDS", 2)
    monkeypatch.setattr(opening, "SHARD_SAMPLES", 3)
    found = bench.measure("open", None, 1.0, 1)
    assert set(found.rounds) == {opening.INDEX, opening.HEADERS}
    assert found.notes[0].startswith("6 samples in 2 shards")
    assert "MB" in found.notes[1]


def test_opening_that_fails_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"bench: opening .* failed"):
        opening._opened("index", as_place(tmp_path), "train", [])


def test_the_memory_told_is_this_process_own() -> None:
    code = (
        "from camsweep.platform.bench.opening import peak_megabytes; "
        "import numpy; before = peak_megabytes(); kept = numpy.ones(50_000_000, numpy.uint8); "
        "print(peak_megabytes() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert 45 < float(done.stdout) < 60


# --- the command ---

RESULT = table.Result(
    "loader",
    "images a second",
    {"ours": (10.0, 20.0, 40.0), "theirs": (5.0, 5.0, 5.0)},
    (table.Ratio("ours", "theirs", (2.0, 4.0, 8.0), "at least 3"),),
    ("a note",),
    {"ours": "under 30"},
)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch):
    asked: list[tuple] = []

    def measure(name: str, *rest: object) -> table.Result:
        asked.append((name, *rest))
        return RESULT

    monkeypatch.setattr(bench, "measure", measure)
    app = typer.Typer()
    app.command()(command)

    def call(*words: str) -> tuple[str, list[tuple]]:
        done = CliRunner().invoke(app, words, catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout, asked

    return call


def test_the_command_prints_json(run, made: photos.Photos) -> None:
    out, asked = run("open", "--json", "--repeat", "3", "--seconds", "2", "--data", str(made.data))
    assert asked == [("open", as_place(made.data), 2.0, 3)]
    content = json.loads(out)
    assert content["machine"]
    assert content["versions"]["pillow"]
    (found,) = content["benchmarks"]
    assert found["values"]["ours"] == {
        "median": 20.0,
        "low": 10.0,
        "high": 40.0,
        "rounds": [10.0, 20.0, 40.0],
        "goal": "under 30",
        "met": True,
    }
    assert found["ratios"][0]["of"] == "ours"
    assert found["ratios"][0]["median"] == 4.0
    assert found["ratios"][0]["goal"] == "at least 3"
    assert found["ratios"][0]["met"] is True
    assert found["values"]["theirs"]["met"] is None


def test_a_page_is_made_of_the_json(run) -> None:
    out, _ = run("open", "--json")
    made = page.page(json.loads(out))
    assert "### loader" in made
    assert "| ours | 20.0 | 10.0 to 40.0 | under 30 | yes |" in made
    assert "| ours / theirs | 4.00 | 2.00 to 8.00 | at least 3 | yes |" in made
    assert "- a note" in made
    assert "| theirs | 5.00 | 5.00 to 5.00 |  |  |" in made


def test_the_command_prints_tables_of_all_benchmarks(run) -> None:
    out, asked = run()
    assert [name for name, *_ in asked] == list(bench.choose([]))
    assert out.count("a note") == len(asked)
    console = Console(width=100)
    with console.capture() as printed:
        for part in table.tables(RESULT):
            console.print(part)
    for words in ("20.0", "10.0 to 40.0", "ours / theirs", "4.00", "at least 3", "yes"):
        assert words in printed.get()


def test_what_cannot_be_measured_takes_nothing_else_with_it(
    run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(name: str, *rest: object) -> table.Result:
        if name == "crf":
            raise InputError("bench: crf: no")
        return RESULT

    monkeypatch.setattr(bench, "measure", measure)
    app = typer.Typer()
    app.command()(command)
    for words in ((), ("--json",)):
        done = CliRunner().invoke(app, ["open", "crf", "loader", *words])
        assert isinstance(done.exception, InputError)
        assert "could not measure crf" in str(done.exception)
        assert "bench: crf: no" in done.stderr
        assert done.stdout.count("a note") == 2
        if words:
            content = json.loads(done.stdout)
            assert len(content["benchmarks"]) == 2
            assert content["failed"] == {"crf": "bench: crf: no"}


def test_wrong_data_are_refused_before_anything_is_measured(run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="manifest"):
        run("loader", "--data", str(tmp_path))


def test_the_names_of_the_help_are_the_benchmarks() -> None:
    for name in bench.BENCHMARKS:
        assert f"{name}:" in (command.__doc__ or "")
