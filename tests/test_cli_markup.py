"""Names with brackets, which rich would read as markup, are shown as they are.

Read as markup, a style is dropped without a word; a closing tag without an opening one is an error.
"""

from __future__ import annotations

import dataclasses
import io
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from made_data import make_source
from rich.console import Console
from safetensors.torch import save_file
from tiny import write_sweep

from camsweep.methods import compose
from camsweep.methods.base import load_method, make_config
from camsweep.platform.cli import bars as module
from camsweep.platform.cli.main import main
from camsweep.shards.writing.writer import build


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def test_shards_info(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = dataclasses.replace(
        make_source(4),
        name="data [red]",
        source="from [/x]",
        classes=("background", "cat [red]", "dog [/x]"),
    )
    build(source, tmp_path / "d", workers=1)
    assert main(["shards", "info", str(tmp_path / "d")]) == 0
    said = capsys.readouterr().out
    assert "data [red]  from [/x]" in said
    assert "cat [red]" in said
    assert "dog [/x]" in said


def test_sweeps_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_sweep(
        tmp_path, "title: 't [red] [/x]'\nnotes: 'n [red] [/x]'\nbase: {method: cam}\n"
    )
    assert main(["sweeps", str(path)]) == 0
    said = capsys.readouterr().out
    assert "mine  t [red] [/x]" in said
    assert "n [red] [/x]" in said


def test_weights_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config: Any = make_config({"method": "cam", "backbone": "small", "pretrain": "none"})
    state = compose.build(load_method("cam"), config, 3).state_dict() | {"[/x].a": torch.zeros(1)}
    save_file(state, tmp_path / "w.safetensors")
    options = ["--for", "cam", "--classes", "3"]
    assert main(["weights", "check", str(tmp_path / "w.safetensors"), *options]) == 2
    assert re.search(r"\[/x\] +│ +0 │ +0 │ +1", capsys.readouterr().out)


def test_progress_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    terminal = Console(file=stream, force_terminal=True, width=200)
    monkeypatch.setattr("rich.console.Console", lambda **_: terminal)
    with module.bars() as on_progress:
        on_progress("split [red] [/x]", 1, 2)
    assert "split [red] [/x]" in stream.getvalue()
