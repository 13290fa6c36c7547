"""The notification command: what it is told, and that nothing it does matters to the run."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from pathlib import Path

import pytest

from camsweep.platform import notify
from camsweep.platform.notify import Ending, notified, notify_command, run_command
from camsweep.shards.errors import InputError


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def writes(path: Path) -> list[str]:
    """A command that writes down what it is told."""
    code = (
        "import json, os, sys\n"
        "seen = {k: v for k, v in os.environ.items() if k.startswith('CAMSWEEP_')}\n"
        f"open({str(path)!r}, 'w').write(json.dumps([seen, json.load(sys.stdin)]))\n"
    )
    return python(code)


def told(path: Path) -> tuple[dict[str, str], dict[str, object]]:
    environment, facts = json.loads(path.read_text())
    return environment, facts


def test_the_facts_are_in_the_environment_and_on_standard_input(tmp_path: Path) -> None:
    said: list[str] = []
    with notified(writes(tmp_path / "seen"), said.append) as ending:
        ending.status, ending.done, ending.failed = "failed", 3, 1
        ending.store, ending.best = "s3://b/r", 0.4321
    environment, facts = told(tmp_path / "seen")
    assert environment["CAMSWEEP_STATUS"] == "failed"
    assert (environment["CAMSWEEP_DONE"], environment["CAMSWEEP_FAILED"]) == ("3", "1")
    assert environment["CAMSWEEP_STORE"] == "s3://b/r"
    assert environment["CAMSWEEP_BEST"] == "0.432"
    assert 0 <= float(environment["CAMSWEEP_SECONDS"]) < 60
    assert (facts["status"], facts["done"], facts["best"]) == ("failed", 3, 0.4321)
    assert said == []


def test_what_is_not_known_is_left_out() -> None:
    assert "CAMSWEEP_BEST" not in Ending().environment()


def test_ctrl_c_is_told_and_goes_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), notified(writes(tmp_path / "seen")):
        raise KeyboardInterrupt
    assert told(tmp_path / "seen")[1]["status"] == "interrupted"


def test_an_error_is_told_and_goes_on(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no cluster"), notified(writes(tmp_path / "seen")):
        raise InputError("--address x: no cluster there")
    _, facts = told(tmp_path / "seen")
    assert (facts["status"], facts["message"]) == ("error", "--address x: no cluster there")


def test_without_a_command_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify.subprocess, "Popen", None)
    with notified([]):
        pass


def test_a_failing_command_is_one_line() -> None:
    said: list[str] = []
    run_command(python("raise SystemExit(3)"), Ending(), said.append)
    run_command(["/nowhere/at/all"], Ending(), said.append)
    assert said[0].endswith("exit status 3")
    assert "No such file" in said[1]
    assert len(said) == 2


def test_a_hanging_command_is_ended_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "SECONDS", 1.5)
    child = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)"
    code = (
        f"import os, subprocess, sys, time; os.chdir({str(tmp_path)!r});"
        f"subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    )
    said: list[str] = []
    began = time.monotonic()
    run_command(python(code), Ending(), said.append)
    assert time.monotonic() - began < 10
    assert "ended after" in said[0]
    pid = int((tmp_path / "pid").read_text())
    end = time.monotonic() + 5
    while alive(pid):
        assert time.monotonic() < end
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has reaped yet is dead."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_no_shell_sees_the_command(tmp_path: Path) -> None:
    words = notify_command(f"{shlex.quote(sys.executable)} -c 'pass' '; touch {tmp_path}/x' $HOME")
    assert words[1:] == ["-c", "pass", f"; touch {tmp_path}/x", "$HOME"]
    run_command(words, Ending())
    assert not (tmp_path / "x").exists()


def test_the_option_stands_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAMSWEEP_NOTIFY", raising=False)
    assert notify_command(None) == []
    monkeypatch.setenv("CAMSWEEP_NOTIFY", "echo environment")
    assert notify_command(None) == ["echo", "environment"]
    assert notify_command("echo option") == ["echo", "option"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("echo 'x", "--notify echo 'x: No closing quotation"),
        ("", "--notify: empty"),
        ("no-such-program-here x", "--notify no-such-program-here: no such program"),
    ],
)
def test_a_wrong_command_is_refused_before_the_run(text: str, line: str) -> None:
    with pytest.raises(InputError, match=line):
        notify_command(text)


def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "CAMSWEEP_NOTIFY", "no-such-program-here")
    with pytest.raises(InputError, match="CAMSWEEP_NOTIFY no-such-program-here"):
        notify_command(None)
