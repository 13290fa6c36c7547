"""A run as a whole, in this process: limits, rounds of seeds, what it says at its end."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tiny import build_data, write_profile, write_sweep

from camsweep.platform.cli.main import main
from camsweep.platform.ledger import last_run
from camsweep.sweeps.results import load_trials
from camsweep.sweeps.store import Store

TWO = """
title: two arms
base: {method: cam}
arms: {slow: {lr: 0.01}, fast: {lr: 0.02}}
seeds: SEEDS
"""
TELL = "import json, sys, pathlib; pathlib.Path(sys.argv[1]).write_text(sys.stdin.read())"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("execute")
    build_data(made)
    write_profile(made, 1)
    return made


def run(folder: Path, store: str, seeds: str, *more: str) -> int:
    sweep = write_sweep(folder, TWO.replace("SEEDS", seeds))
    return main(
        [
            *("run", str(sweep), "--profile", str(folder / "tiny.yaml"), "--in-process"),
            *("--data", str(folder / "data"), "--store", str(folder / store), *more),
        ]
    )


def seeds_of(folder: Path, store: str) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {"slow": [], "fast": []}
    for row in load_trials(Store(str(folder / store))).to_pylist():
        assert row["status"] == "done"
        found[next(label for label in row["labels"] if label in found)].append(row["seed"])
    return {label: sorted(seeds) for label, seeds in found.items()}


def test_a_limit_runs_the_first_trials_and_is_no_failure(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both arms before a second seed of any; the same command goes on where the limit was."""
    words = ("--max-trials", "2", "--notify", f'{sys.executable} -c "{TELL}" {folder}/told')
    assert run(folder, "limited", "2", *words) == 0
    said = capsys.readouterr()
    assert "2 trials left for another time" in said.out + said.err
    assert "not done yet" not in said.err
    assert seeds_of(folder, "limited") == {"slow": [0], "fast": [0]}
    told = json.loads((folder / "told").read_text())
    assert (told["status"], told["done"], told["left"]) == ("done", 2, 0)
    last = last_run(Store(str(folder / "limited")))
    assert last is not None
    assert last["state"] == "ended"
    assert run(folder, "limited", "2", *words) == 0
    assert seeds_of(folder, "limited") == {"slow": [0, 1], "fast": [0, 1]}


def test_seeds_are_added_until_a_comparison_is_decided(folder: Path) -> None:
    """No interval of so few seeds is that narrow, so both arms get all; again, nothing is run."""
    rule = "{min: 2, max: 3, until: 0.0001}"
    assert run(folder, "rounds", rule) == 0
    found = seeds_of(folder, "rounds")
    assert found["slow"] == found["fast"]
    assert len(found["slow"]) in (2, 3)
    before = load_trials(Store(str(folder / "rounds")))
    assert run(folder, "rounds", rule) == 0
    assert load_trials(Store(str(folder / "rounds"))).equals(before)
    # Wide enough for anything: the first seeds decide.
    assert run(folder, "wide", "{min: 2, max: 3, until: 1000000}") == 0
    assert seeds_of(folder, "wide") == {"slow": [0, 1], "fast": [0, 1]}


def test_a_batch_that_workers_cannot_share_is_refused_before_anything_starts(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = write_sweep(folder, TWO.replace("SEEDS", "1"))
    status = main(
        [
            *("run", str(sweep), "--profile", str(folder / "tiny.yaml")),
            *("--data", str(folder / "data"), "--store", str(folder / "refused")),
            *("--workers-per-trial", "3"),
        ]
    )
    assert status == 2
    assert "batch: 8 images cannot be divided equally among 3" in capsys.readouterr().err
    assert not list((folder / "refused").rglob("*.arrow"))
