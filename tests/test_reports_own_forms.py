"""What the store remembers of a sweep's form: complete, written once, never in the way of a run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from planted_store import own_sweep
from tiny import build_data, write_profile, write_sweep

from camsweep.platform.cli.main import main
from camsweep.sweeps.forms import Form, form_of, read_forms, safe_name
from camsweep.sweeps.plan import make_plan
from camsweep.sweeps.profile import load_profile
from camsweep.sweeps.remembered import write_forms
from camsweep.sweeps.spec import Sweep, load_sweep, shipped_names
from camsweep.sweeps.store import Store

DESIGN = {
    "base": {"method": "cpn"},
    "ablate": {"components": ["cpcr", "ohem", "prcm"], "design": "factorial"},
}


def remember(store: Store, *sweeps: Sweep, profile: str = "embedded") -> list[Form]:
    write_forms(store, make_plan(sweeps, load_profile(profile), "ab12"))
    forms, problems = read_forms(store)
    assert not problems
    return forms


@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_form_comes_back_as_it_was(name: str) -> None:
    form = form_of(load_sweep(name), profile="embedded", data_digest="ab12")
    again = Form.model_validate(json.loads(json.dumps(form.as_json())))
    assert again == form
    assert again.id == form.id
    assert form.path == name


def test_cells_have_what_the_sweep_gives_them() -> None:
    content = {
        "base": {"method": "cpn"},
        "arms": {"one": {"w": 1}, "two": {}},
        "ablate": {"components": ["tcp", "prcm"], "design": "cumulative"},
        "axes": {"p_h": [0.1, 0.5], "grid_sizes": [[4, 7]]},
    }
    sweep = own_sweep(content)
    form = form_of(sweep)
    assert [(c.label, c.settings) for c in form.cells] == [
        (label, settings) for label, settings in sweep.cells()
    ]
    assert len(form.cells) == 12
    assert len({cell.group for cell in form.cells}) == 4
    last = form.cells[-1]
    assert (last.arm, last.point) == ("two", {"p_h": 0.5, "grid_sizes": [4, 7]})
    assert last.on == {"tcp": True, "prcm": True}
    assert form.compare == form.cells[0].label


def test_rules_of_the_method_are_kept_with_the_rows(tmp_path: Path) -> None:
    """The sweep file has no rule of its own; a report must not import the method to know."""
    (form,) = remember(Store(str(tmp_path)), own_sweep(DESIGN))
    barred = {cell.label: cell.rule for cell in form.cells if cell.rule}
    assert set(barred) == {f"cpcr=off, ohem=on, prcm={state}" for state in ("on", "off")}
    assert set(barred.values()) == {"ohem needs cpcr"}
    assert len(form.labels) == 6


def test_a_form_is_written_once_and_again_where_words_change(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    remember(store, own_sweep(DESIGN))
    (path,) = (tmp_path / "sweeps").iterdir()
    before = path.stat().st_mtime_ns
    remember(store, own_sweep(DESIGN))
    assert path.stat().st_mtime_ns == before
    (form,) = remember(store, own_sweep({**DESIGN, "title": "Another"}))
    assert form.title == "Another"
    assert len(remember(store, own_sweep({**DESIGN, "base": {"method": "cpn", "p_h": 0.1}}))) == 2
    assert len(remember(store, own_sweep(DESIGN), profile="smoke")) == 3


def test_only_some_cells_asked_for_is_the_whole_form(tmp_path: Path) -> None:
    sweep = own_sweep(DESIGN)
    some = Sweep(sweep.name, sweep.path, sweep.spec, only=("cpcr=on, ohem=on, prcm=on",))
    (form,) = remember(Store(str(tmp_path)), some)
    assert len(form.cells) == 8


def test_a_disk_that_takes_nothing_does_not_end_the_run(tmp_path: Path) -> None:
    (tmp_path / "sweeps").write_text("a file where the folder should be")
    write_forms(Store(str(tmp_path)), make_plan([own_sweep(DESIGN)], load_profile("embedded"), ""))
    assert (tmp_path / "sweeps").read_text().startswith("a file")


def test_names_are_safe_in_file_names() -> None:
    assert safe_name("../../etc/passwd") == "etc-passwd"
    assert safe_name("☃") == "sweep"
    assert len(safe_name("x" * 500)) == 60
    form = form_of(own_sweep(DESIGN, "../<b>"))
    assert form.file.startswith("sweeps/b-")
    assert form.file.count("/") == 1


def test_a_run_remembers_its_sweep(tmp_path: Path) -> None:
    build_data(tmp_path, train=8, val=4)
    profile = write_profile(tmp_path, 1)
    text = "title: one\nbase: {method: cam}\naxes: {lr: [0.01]}\nseeds: 1\n"
    sweep = write_sweep(tmp_path, text)
    store = tmp_path / "store"
    words = ["run", str(sweep), "--profile", str(profile), "--data", str(tmp_path / "data")]
    assert main([*words, "--store", str(store), "--in-process"]) == 0
    forms, problems = read_forms(Store(str(store)))
    assert not problems
    (form,) = forms
    assert (form.name, form.path, form.profile) == ("mine", str(sweep), "tiny")
    assert form.axes == {"lr": [0.01]}
    assert form.labels == ["lr=0.01"]


def test_reading_forms_needs_no_torch() -> None:
    code = (
        "import sys\nimport camsweep.sweeps.forms, camsweep.reports.own.showing\n"
        "heavy = {'torch', 'ray', 'optuna'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
