"""The commands that fill the holes of an artefact."""

from __future__ import annotations

import inspect
import shlex
from pathlib import Path
from typing import Any

import pytest
from table4_world import filled_of, make

from camsweep.platform.cli.quickstart import quickstart
from camsweep.reports.commands import QUICKSTART_OUT, Started, run_command, started
from camsweep.reports.load import settings_text


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("camsweep run x -p voc12 --data '/a b' --weights=r.pth", ("voc12", "/a b", ("r.pth",))),
        ("camsweep run cpn/fig6", ("", "", ())),
        ("camsweep run x --weights resnet38=a --weights b", ("", "", ("resnet38=a", "b"))),
        ("camsweep --debug run cpn --profile=my/p.yaml", ("my/p.yaml", "", ())),
        ("camsweep quickstart --seeds 2", ("", f"{QUICKSTART_OUT}/data", ())),
        ("camsweep quickstart -o 'x y'", ("", "x y/data", ())),
        ("pytest run.py", None),
        ("camsweep 'run", None),
        ("", None),
    ],
)
def test_inputs_are_read_from_stored_commands(command: str, found: tuple[Any, ...] | None) -> None:
    assert started(command) == (None if found is None else Started(*found))


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        ((), "--store s"),
        ((0, 1, 2), "--store s --seeds 3"),
        ((2,), "--store s --seeds 3"),
        ((100, 101, 104), "--store s --seeds 5 --first-seed 100"),
    ],
)
def test_the_command_for_a_hole_asks_for_the_seeds_of_the_others(
    seeds: tuple[int, ...], words: str
) -> None:
    found = run_command("cpn/fig6", "embedded", "s", [], seeds, {})
    assert found == f"camsweep run cpn/fig6 --profile embedded {words}"


def test_the_quickstarts_default_folder_is_the_commands() -> None:
    assert str(inspect.signature(quickstart).parameters["out"].default) == QUICKSTART_OUT


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("camsweep run cpn", "--profile embedded --store 'my store' --seeds 2"),
        (
            "camsweep run cpn --profile embedded --data 'a b/voc' --weights w.pth --seeds 7",
            "--profile embedded --data 'a b/voc' --store 'my store' --seeds 2 --weights w.pth",
        ),
        (
            "camsweep run cpn --profile 'my files/embedded.yaml'",
            "--profile 'my files/embedded.yaml' --store 'my store' --seeds 2",
        ),
        (
            "camsweep quickstart -o q",
            "--profile embedded --data q/data --store 'my store' --seeds 2",
        ),
    ],
)
def test_hole_commands_fill_the_hole(tmp_path: Path, command: str, words: str) -> None:
    store = make(tmp_path, command=command, missing=frozenset({"p_h=0.3"}))
    hole = filled_of(store, url="my store").holes[0]
    assert hole.command == f"camsweep run cpn/table4 {words}"


def test_hole_commands_repeat_the_overrides(tmp_path: Path) -> None:
    store = make(tmp_path, overrides={"epochs": 1, "s_n": 50}, missing=frozenset({"p_h=0.3"}))
    words = shlex.split(filled_of(store).holes[0].command)
    assert words[-4:] == ["--set", "epochs=1", "--set", "s_n=50"]
    assert settings_text({"scales": "[0.5, 1.0]"}) == "--set 'scales=[0.5, 1.0]'"


def test_another_trials_command_serves_where_the_artefact_has_none(tmp_path: Path) -> None:
    store = make(tmp_path, sweeps=("cpn/fig7",), command="camsweep run cpn/fig7 --data d")
    hole = filled_of(store).holes[0]
    assert hole.command == "camsweep run cpn/table4 --profile embedded --data d --store STORE"
