"""`camsweep report --watch`: the report follows its store, waits, and ends as it was told."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import synthetic_store as synthetic
from s3_server import Bucket, s3, server

from camsweep.platform.cli.main import main
from camsweep.platform.runfiles import write_json
from camsweep.platform.watching import mark, watch
from camsweep.reports.build import Request
from camsweep.shards.errors import InputError
from camsweep.sweeps.leasing.processes import this_process
from camsweep.sweeps.store import Store

__all__ = ["s3", "server"]

SWEEPS = ("cpn/table4",)
REFRESH = 'http-equiv="refresh"'


def fill(folder: Path, **given: Any) -> Store:
    return synthetic.make(folder, images=6, seeds=(0, 1), sweeps=SWEEPS, **given)


def tell_run(store: Store, state: str, planned: int = 0) -> None:
    """What a driver tells of a run that this process is."""
    about = {"state": state, "beat": 1, "updated": time.time(), "process": this_process().to_json()}
    write_json(store, "runs/r1.json", about)
    trials = [
        {"id": f"p{i}", "uses": [["cpn/table4", "x"]], "seed": i, "overrides": {}, "weights": None}
        for i in range(planned)
    ]
    plan = {"run": "r1", "written": 0.0, "profile": "embedded", "data": "ab", "trials": trials}
    write_json(store, "plans/r1.json", plan)


class Turns:
    """Stands for `time.sleep`: does the next thing on its list, and stops at the end."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self.steps = list(steps)
        self.slept: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        if not self.steps:
            raise KeyboardInterrupt
        self.steps.pop(0)()


def request(store: str | Path, out: Path, **given: Any) -> Request:
    return Request(str(store), out, resamples=20, **given)


def test_waits_for_a_store_follows_it_and_stops_at_ctrl_c(tmp_path: Path) -> None:
    folder, out, said = tmp_path / "s", tmp_path / "o", []
    page = out / "index.html"
    texts: list[str] = []
    fewer = frozenset({"p_h=0.1", "p_h=0.2", "p_h=0.3"})
    turns = Turns(
        lambda: tell_run(Store(str(folder)), "running", planned=6),
        lambda: fill(folder, missing=fewer),
        lambda: texts.append(page.read_text()),
        lambda: None,
        lambda: fill(folder),
        lambda: texts.append(page.read_text()),
    )
    watch(request(folder, out), 7, said.append, sleep=turns)
    assert said[0] == f"no results in {folder} yet; waiting"
    assert re.fullmatch(rf"\d\d:\d\d:\d\d 4 of 10 trials done: {page}", said[1])
    assert re.fullmatch(rf"\d\d:\d\d:\d\d 10 of 16 trials done \(6 new\): {page}", said[2])
    assert said[3:] == ["stopped watching"], "nothing is said or written where nothing is new"
    assert all(REFRESH in text for text in texts)
    assert texts[0] != texts[1]
    assert REFRESH not in page.read_text(), "the page that stays does not read itself again"
    assert [path.name for path in out.iterdir()] == ["index.html"], "the page alone"
    assert all(seconds >= 7 for seconds in turns.slept)


def test_ends_when_no_sweep_runs_any_more(tmp_path: Path) -> None:
    store = fill(tmp_path / "s", failing=frozenset({"p_h=0.3"}))
    tell_run(store, "running")
    said: list[str] = []
    turns = Turns(lambda: None, lambda: tell_run(store, "ended"))
    wanted = request(store.url, tmp_path / "o", formats=("html", "csv"))
    watch(wanted, 1, said.append, until_done=True, sleep=turns)
    assert len(turns.slept) == 2
    assert "9 of 10 trials done, 1 failed" in said[0]
    assert said[1:] == ["no sweep is running any more: 9 of 10 trials done, 1 failed"]
    assert (tmp_path / "o" / "cpn-table4.csv").exists()


def test_goes_on_after_the_sweep_and_tells_of_the_next_one(tmp_path: Path) -> None:
    store = fill(tmp_path / "s")
    said: list[str] = []
    turns = Turns(
        lambda: None,
        lambda: tell_run(store, "running"),
        lambda: tell_run(store, "ended"),
    )
    watch(request(store.url, tmp_path / "o"), 1, said.append, sleep=turns)
    assert sum("no sweep is running any more" in line for line in said) == 2
    assert said[-1] == "stopped watching"


def test_what_can_not_be_read_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fill(tmp_path / "s")
    said: list[str] = []
    times = Store.times

    def fails(self: Store, folder: str) -> dict[str, float]:
        raise OSError(5, "the server does not answer", "s3://b")

    monkeypatch.setattr(Store, "times", fails)
    turns = Turns(lambda: None, lambda: monkeypatch.setattr(Store, "times", times), lambda: None)
    watch(request(store.url, tmp_path / "o"), 1, said.append, sleep=turns)
    assert "the server does not answer" in said[0]
    assert sum("does not answer" in line for line in said) == 1, "told once"
    assert "10 of 10 trials done" in said[1]


def test_a_profile_that_has_no_trials_yet_is_waited_for(tmp_path: Path) -> None:
    store = fill(tmp_path / "s")
    said: list[str] = []
    turns = Turns(lambda: fill(tmp_path / "s", profile="voc12"), lambda: None)
    watch(request(store.url, tmp_path / "o", profile="voc12"), 1, said.append, sleep=turns)
    assert said[0].startswith("waiting: --profile voc12: no such trials")
    assert any("20 of 20 trials done" in line for line in said)


def test_wrong_requests_end_at_once(tmp_path: Path) -> None:
    store = fill(tmp_path / "s")
    (tmp_path / "file").write_text("x")
    never = Turns()
    for wanted, message in (
        (request(store.url, tmp_path / "o", artefacts=("cpn/tabel4",)), "did you mean"),
        (request(store.url, tmp_path / "file"), "a file is in the way"),
        (request(store.url, tmp_path / "file" / "o"), "a file is in the way"),
    ):
        with pytest.raises(InputError, match=message):
            watch(wanted, 1, print, sleep=never)
    assert not never.slept


def test_the_mark_changes_with_results_alone(tmp_path: Path) -> None:
    store = fill(tmp_path / "s")
    before = mark(store)
    tell_run(store, "running")
    assert mark(store) == before
    path = next((tmp_path / "s" / "trials").glob("*.arrow"))
    os.utime(path, (1, 1))
    assert mark(store) != before


def test_a_bucket_is_watched(s3: Bucket, tmp_path: Path) -> None:
    made = fill(tmp_path / "s")
    store = Store(s3.url("watched"))
    said: list[str] = []
    names = sorted(p.relative_to(made.local) for p in made.local.rglob("*.arrow"))
    half = len(names) // 2

    def put(some: list[Path]) -> None:
        # A row comes last, as drivers write them.
        for name in sorted(some, key=lambda n: n.parts[0] == "trials"):
            store.write(str(name), (made.local / name).read_bytes())

    rows = [n for n in names if n.parts[0] == "trials"]
    others = [n for n in names if n.parts[0] != "trials"]
    assert half
    turns = Turns(lambda: put([*others, *rows[:4]]), lambda: put(rows[4:]))
    watch(request(store.url, tmp_path / "o"), 1, said.append, sleep=turns)
    done = [re.findall(r"(\d+) of \d+ trials done", line) for line in said]
    assert [found[0] for found in done if found] == ["4", "4", "10"], said


def test_the_command_ends_with_0_at_ctrl_c(tmp_path: Path) -> None:
    store = fill(tmp_path / "s")
    words = ["report", "--store", store.url, "--out", str(tmp_path / "o"), "--watch", "1"]
    code = f"import sys; from camsweep.platform.cli.main import main; sys.exit(main({words!r}))"
    # A shell may have its background jobs ignore Ctrl-C.
    signal_on = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    process = subprocess.Popen(
        [sys.executable, "-c", signal_on + code], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert "10 of 10 trials done" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest = process.stdout.read()
    assert process.wait(60) == 0
    assert rest.splitlines()[-1] == "stopped watching"
    assert REFRESH not in (tmp_path / "o" / "index.html").read_text()


def test_watch_alone_and_wrong_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(
        "camsweep.platform.watching.watch",
        lambda wanted, seconds, say, until_done: seen.append(
            (wanted.artefacts, seconds, until_done)
        ),
    )
    assert main(["report", "--watch", "cpn", "--out", str(tmp_path)]) == 0
    assert main(["report", "--until-done", "--watch", "3"]) == 0
    assert main(["report", "--watch"]) == 0
    assert seen == [(("cpn",), 10, False), ((), 3, True), ((), 10, False)]
    assert main(["report", "--until-done"]) == 2
    assert main(["report", "--watch", "0"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
