"""Progress where there is no terminal: a line now and then, so that a batch job is not silent."""

from __future__ import annotations

import pytest

from camsweep.platform.cli import bars as module


def test_a_log_gets_a_line_twice_a_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    with module.bars() as on_progress:
        for done in range(1, 101):
            now += 1.0
            on_progress("train", done * 1000, 100_000)
    said = capsys.readouterr()
    assert said.err.splitlines() == [
        "train: 30,000 of 100,000",
        "train: 60,000 of 100,000",
        "train: 90,000 of 100,000",
    ]
    assert not said.out


def test_what_is_quick_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with module.bars() as on_progress:
        on_progress("train", 1, 1)
    assert capsys.readouterr().err == ""
