"""The command line: exit status, one clear line for wrong input, help with examples."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny import build_data, write_profile, write_sweep

from camsweep.platform.cli.main import main
from camsweep.platform.cli.options import parse_duration, parse_settings, parse_weights
from camsweep.shards.errors import InputError

SWEEP = "title: x\nbase: {method: cpn}\naxes: {s_n: [20]}\nseeds: 1\n"
COMMANDS = (
    *("quickstart", "sweeps", "plan", "run", "status", "report", "leaderboard"),
    *("shards build voc", "shards build coco", "shards build folder", "shards build embedded"),
    *("shards info", "shards verify", "shards superpixels", "bench"),
    *("weights check", "weights convert"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    build_data(folder, 16, 4)
    write_profile(folder, epochs=1)
    write_sweep(folder, SWEEP)
    return folder


def words(folder: Path, command: str, *more: str) -> list[str]:
    found = [command, str(folder / "mine.yaml"), "--profile", str(folder / "tiny.yaml")]
    return [*found, "--data", str(folder / "data"), "--store", str(folder / "store"), *more]


def wrong(capsys: pytest.CaptureFixture[str], argv: list[str]) -> str:
    """Run a command that must be refused; returns the one line it says."""
    assert main(argv) == 2
    said = capsys.readouterr().err
    (line,) = said.splitlines()
    assert line.startswith("camsweep: ")
    assert "Traceback" not in said
    return line


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert main([*command.split(), "--help"]) == 0
    said = capsys.readouterr().out
    assert "Example" in said
    assert f"camsweep {command.split()[0]}" in said


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("camsweep ")


def test_plan_run_plan_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(folder, "plan", "--json")) == 0
    before = json.loads(capsys.readouterr().out)
    assert before["estimate_seconds"] == "unknown"
    assert (before["unique"], before["cached"], before["to_run"]) == (1, 0, 1)
    assert not (folder / "store").exists(), "plan must write nothing"
    assert main(words(folder, "run", "--in-process")) == 0
    capsys.readouterr()
    assert main(words(folder, "plan", "--json")) == 0
    after = json.loads(capsys.readouterr().out)
    assert after["cached"] == after["unique"] == 1
    assert after["estimate_seconds"] == 0
    assert main(words(folder, "plan", "--json", "--seeds", "3")) == 0
    assert json.loads(capsys.readouterr().out)["estimate_seconds"] > 0
    assert main(words(folder, "plan")) == 0
    assert "1 in the store" in capsys.readouterr().out
    assert main(["status", "--store", str(folder / "store")]) == 0
    assert "1 done, 0 failed" in capsys.readouterr().out


def test_sweeps(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweeps"]) == 0
    assert "cpn/fig7" in capsys.readouterr().out
    assert main(["sweeps", "cpn/fig6"]) == 0
    assert "S_N: superpixels asked for" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["run"], "Missing argument"),
        (["rum"], "No such command 'rum'"),
        (["run", "cpn/fig66"], "unknown sweep 'cpn/fig66'; did you mean 'cpn/fig6'?"),
        (["run", "none.yaml"], "none.yaml: No such file or directory"),
        (["run", "cpn/fig6", "--profile", "vocc"], "unknown profile 'vocc'"),
        (["run", "cpn/fig6", "--set", "s_m=3"], "--set s_m: unknown setting; did you mean 's_n'?"),
        (["run", "cpn/fig6", "--set", "p_h"], "must be key=value"),
        (["run", "cpn/table4", "--set", "s_n=0"], "s_n: should be greater than or equal to 2"),
        (["run", "cpn/fig6", "--set", "p_h=1.5"], "p_h: should be less than 1, not 1.5"),
        (["run", "cpn/fig7", "--set", "seed=3"], "--seeds"),
        (["run", "cpn/fig6", "--time-budget", "soon"], "--time-budget soon"),
        (["run", "cpn/fig6", "--profile", "voc12"], "shards build voc"),
        (["run", "cpn/fig6", "--set", "s_n=50"], "--set s_n: sweeps/cpn/fig6.yaml varies it"),
        (["run", "cpn/fig6", "--in-process", "--max-concurrent", "2"], "leave it out with --in-"),
        (["plan", "cpn/fig6", "--store", "foo://x"], "--store foo://x"),
        (["run", "cpn/fig6", "--seeds", "0"], "--seeds"),
        (["status", "--store", "nowhere"], "no results there"),
        (["report", "--store", "nowhere"], "nowhere"),
        (["leaderboard", "--store", "nowhere"], "nowhere"),
        (["shards", "info", "nowhere"], "nowhere"),
    ],
)
def test_wrong_input_is_one_line(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    argv: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert says in wrong(capsys, argv)
    assert list(tmp_path.iterdir()) == [], "wrong input must leave nothing behind"


def test_k_larger_than_the_crop(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ("--set", "patches=grid", "--set", "grid_sizes=[500]")
    assert "448, not 500" in wrong(capsys, words(folder, "run", *settings))


def test_data_without_a_manifest(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = words(folder, "run")
    argv[argv.index("--data") + 1] = str(tmp_path)
    assert "manifest" in wrong(capsys, argv)


def test_a_batch_larger_than_the_split(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = wrong(capsys, words(folder, "run", "--set", "batch=17"))
    assert "split 'train' has 16 images, less than a batch of 17" in line


def test_an_empty_store_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = words(folder, "run")
    for empty in ("", "s3://"):
        argv[argv.index("--store") + 1] = empty
        assert "empty; name a folder" in wrong(capsys, argv)


def test_no_cluster_at_the_address(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = wrong(capsys, words(folder, "run", "--address", "ray://127.0.0.1:10001", "--seeds", "9"))
    assert "--address ray://127.0.0.1:10001: nothing answers at 127.0.0.1:10001" in line


def test_a_split_that_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = wrong(capsys, words(folder, "run", "--set", "train_split=trian"))
    assert "no split 'trian' (train_split); it has: train, val" in line


def test_a_flipped_byte_stops_the_run_before_it_starts(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(folder / "data", data)
    shard = next(data.glob("train*.tar"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    argv = words(folder, "run", "--seeds", "2")
    argv[argv.index("--data") + 1] = str(data)
    argv[argv.index("--store") + 1] = str(tmp_path / "store")
    assert f"{shard.name}: SHA-256 differs" in wrong(capsys, argv)
    assert not list((tmp_path / "store").rglob("*.arrow"))


def test_a_store_that_cannot_be_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "file").write_text("in the way")
    argv = words(folder, "run")
    argv[argv.index("--store") + 1] = str(folder / "file" / "store")
    assert "not writable" in wrong(capsys, argv)


def test_debug_shows_the_traceback(folder: Path) -> None:
    with pytest.raises(InputError):
        main(["run", "cpn/fig66", "--debug"])


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1.5d", 129600), ("7", 7)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


def test_settings_are_yaml() -> None:
    read = parse_settings(["p_h=0.3", "grid_sizes=[1, 2]", "ohem=false", "patches=grid"])
    assert read == {"p_h": 0.3, "grid_sizes": [1, 2], "ohem": False, "patches": "grid"}


def test_weights_are_files_by_backbone() -> None:
    assert parse_weights(None) == {}
    assert parse_weights(["a.pth"]) == {"": "a.pth"}
    found = parse_weights(["resnet38=a=b.pth", "./x=y.pth"])
    assert found == {"resnet38": "a=b.pth", "": "./x=y.pth"}
    with pytest.raises(InputError, match="no backbone 'resnet36'; did you mean 'resnet38'"):
        parse_weights(["resnet36=a.pth"])
    with pytest.raises(InputError, match="a second file for all backbones"):
        parse_weights(["a.pth", "b.pth"])


def test_seeds_begin_where_they_are_asked_to(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    argv = words(folder, "plan", "--seeds", "2", "--first-seed", "7", "--json")
    assert main(argv) == 0
    trials = json.loads(capsys.readouterr().out)["trials"]
    assert [trial["seed"] for trial in trials] == [7, 8]
