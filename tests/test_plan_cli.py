from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny

from camsweep.platform.cli.main import main
from camsweep.sweeps.plan import make_plan
from camsweep.sweeps.profile import load_profile
from camsweep.sweeps.results import write_trial
from camsweep.sweeps.spec import load_sweep
from camsweep.sweeps.store import Store
from camsweep.sweeps.tables import trial_table

DESIGN = """
title: x
base: {method: cpn}
ablate: {components: [tcp, ohem, prcm, cpcr], design: fractional, resolution: 4}
seeds: 1
"""
RULE = """
title: x
base: {method: cam}
arms: {a: {}, b: {lr: 1}, c: {lr: 2, resources: {gpus: 0.5}}}
seeds: {min: 2, max: 3, until: 0.5}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("plan")
    tiny.build_data(found, train=8, val=2)
    tiny.write_profile(found)
    return found


def words(folder: Path, text: str, *more: str) -> list[str]:
    sweep = tiny.write_sweep(folder, text)
    profile, data = str(folder / "tiny.yaml"), str(folder / "data")
    where = ["--profile", profile, "--data", data, "--store", str(folder / "store")]
    return ["plan", str(sweep), *where, *more]


def as_json(
    capsys: pytest.CaptureFixture[str], folder: Path, text: str, *more: str
) -> dict[str, Any]:
    assert main(words(folder, text, "--json", *more)) == 0
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


def test_a_design_is_told_with_what_it_excludes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = as_json(capsys, folder, DESIGN)
    design = content["designs"]["mine"]
    assert (design["rows"], design["resolution"], design["generators"]) == (8, 4, ["D=ABC"])
    assert {row["rule"] for row in content["excluded"]} == {"ohem needs cpcr"}
    assert len(content["trials"]) + len(content["excluded"]) == 8
    assert main(words(folder, DESIGN)) == 0
    text = capsys.readouterr().out
    assert "design of mine: fractional, 8 rows, resolution 4 (D=ABC), 2 excluded by rules" in text
    assert "not told apart" in text
    assert "excluded: tcp=on, ohem=on, prcm=off, cpcr=off (ohem needs cpcr, says cpn)" in text


def test_nothing_is_known_of_an_empty_store(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = as_json(capsys, folder, DESIGN, "--max-trials", "2")
    assert (content["to_run"], content["left_out"]) == (2, 4)
    assert content["order"] == [t["id"] for t in content["trials"][:2]]
    assert content["estimate_seconds"] == content["cost"]["gpu_hours"] == "unknown"
    assert content["disk"]["by_rule"] == 2
    assert 0 < content["disk"]["needed"] < content["disk"]["free"]
    assert not (folder / "store").exists(), "plan must write nothing"


def test_seeds_time_and_cost_of_a_store_with_results(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = as_json(capsys, folder, RULE)
    assert (first["requested"], first["to_run"], first["stages_cached"]["train"]) == (6, 6, 0)
    profile = load_profile(str(folder / "tiny.yaml"))
    digest = json.loads((folder / "data" / "manifest.json").read_text())["digest"]
    plan = make_plan([load_sweep(str(folder / "mine.yaml"))], profile, digest)
    truth = {"a": (0.40, 0.43), "b": (0.50, 0.53), "c": (0.42, 0.40)}
    store = Store(str(folder / "results"))
    for trial in plan.trials:
        row = {
            "id": trial.id,
            "sweeps": trial.sweeps,
            "labels": trial.labels,
            "status": "done",
            "profile": "tiny",
            "method": "cam",
            "data_digest": digest,
            "device": "Some processor, 8 cores",
            "config.backbone": "small",
            "seconds.train": 3600.0,
            "metric.miou": truth[trial.labels[0]][trial.config.seed],
            **{f"stage.{name}": value for name, value in trial.stages.items()},
        }
        write_trial(store, trial.id, {"trials": trial_table(row)})
    more = ["--store", str(folder / "results"), "--max-concurrent", "2"]
    content = as_json(capsys, folder, RULE, *more)
    (found,) = content["seeds"]
    verdicts = {arm["label"]: (len(arm["seeds"]), arm["verdict"]) for arm in found["arms"]}
    assert verdicts == {"b": (2, "excludes zero"), "c": (3, "open")}
    assert [t["seed"] for t in content["trials"] if not t["cached"]] == [2, 2]
    assert content["stages_cached"]["train"] == 6
    assert content["cost"]["wall_seconds"] == {"low": 3600.0, "middle": 3600.0, "high": 3600.0}
    assert content["cost"]["gpu_hours"]["middle"] == 0.5, "arm c's"
    assert content["cost"]["cpu_hours"]["middle"] == 1.0
    assert content["cost"]["measured_trials"] == {"cam": 6}
    assert main([*words(folder, RULE), *more, "--time-budget", "30m"]) == 0
    text = capsys.readouterr().out
    assert "8 trials requested, 8 unique, 6 in the store, 1 to run (1 left for later)" in text
    assert "about 60 min (60 min to 60 min) with 2 at a time" in text
    assert "2 to 3 seeds an arm" in text
    assert "b: 2 seeds, excludes zero (+10.00 [+10.00, +10.00])" in text


def test_a_tracker_that_there_is_not_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "title: x\nbase: {method: cam}\ntrack: {tensorbord: runs}\n"
    assert main(words(folder, text)) == 2
    said = capsys.readouterr().err
    assert "mine.yaml: track tensorbord: no such tracker; did you mean 'tensorboard'" in said


def test_a_search_and_a_design_are_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["sweeps", "searches/cpn"]) == 0
    said = capsys.readouterr().out
    for text in (
        "60 samples by tpe (seed 0), for miou",
        "scheduler: asha",
        "every trial: method=cpn",
        "patches     grid, superpixel",
        "s_n         10 to 2000, whole, on a logarithmic scale  patches=superpixel",
        "p_h         0.1 to 0.9",
        "setting of cpn",
    ):
        assert text in said
    assert main(["sweeps", "ablate/cpn"]) == 0
    said = capsys.readouterr().out
    assert "cpcr=on, ohem=on, prcm=off    method=cpn, cpcr=True, ohem=True, prcm=False" in said
    assert "factorial design of cpcr, ohem, prcm: 8 rows" in said
    assert "left out: cpcr=off, ohem=on, prcm=on (ohem needs cpcr)" in said
    search = "search: {space: {lr: {choice: ['[red]', 2]}, epochs: {int: [1, 9]}}, samples: 4, %s}"
    scheduler = "scheduler: {name: asha, grace: 2}"
    text = "title: x\nbase: {method: cam, batch: 2}\n" + search % scheduler
    assert main(["sweeps", str(tiny.write_sweep(tmp_path, text))]) == 0
    said = capsys.readouterr().out
    assert "scheduler: asha, grace 2" in said
    assert "[red], 2" in said
    assert "epochs   1 to 9, whole" in said
    assert main(["sweeps"]) == 0
    assert "60 samples" in capsys.readouterr().out
