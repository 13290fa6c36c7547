from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from camsweep.methods.base import load_method
from camsweep.platform.quickstart import ONLY
from camsweep.shards.errors import InputError
from camsweep.sweeps.estimate import estimate
from camsweep.sweeps.identity import canonical_json, content_id, stage_ids
from camsweep.sweeps.plan import Plan, make_plan
from camsweep.sweeps.profile import load_profile, profile_names
from camsweep.sweeps.spec import Sweep, SweepSpec, expand_names, load_sweep, shipped_names
from camsweep.sweeps.tables import trial_table

FIVE = ["cpn/table1", "cpn/table2", "cpn/table3", "cpn/table4", "cpn/fig6"]


def plan(names: list[str], profile: str = "embedded", **options: object) -> Plan:
    sweeps = [load_sweep(name) for name in names]
    return make_plan(sweeps, load_profile(profile), "digest", **options)  # type: ignore[arg-type]


def spec_file(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return str(path)


def test_the_full_cpn_is_one_trial_a_seed_shared_by_five_artefacts() -> None:
    found = plan(FIVE)
    full = [t for t in found.trials if set(t.sweeps) == set(FIVE)]
    assert [t.config.seed for t in full] == [0, 1, 2]
    for trial in full:
        config = trial.config.model_dump()
        assert (config["method"], config["s_n"], config["p_h"]) == ("cpn", 200, 0.5)
        assert all(config[part] for part in ("pair", "tcp", "cpcr", "ohem", "pcm", "prcm"))
        assert trial.labels == ["cpn", "+PRCM", "cpn", "p_h=0.5", "s_n=200"]
    assert found.requested == (4 + 6 + 3 + 5 + 11) * 3
    # The baseline serves three artefacts, SEAM two, the full CPN five.
    assert len(found.trials) == found.requested - 3 * (2 + 1 + 4)


def test_a_map_that_is_not_made_is_refused_in_a_sweep_and_falls_back_with_set(
    tmp_path: Path,
) -> None:
    text = "title: x\narms: {a: {method: cam, map: is_cam}}\nseeds: 1\n"
    with pytest.raises(
        InputError, match=r"mine.yaml: map: cam makes no 'is_cam' map here, but raw"
    ):
        plan([spec_file(tmp_path, text)])
    found = plan(["cpn/table1"], overrides={"map": "refined"}, seeds=1)
    assert [t.config.headline for t in found.trials] == ["raw", "refined", "refined", "refined"]


def test_json_of_a_plan() -> None:
    content = plan(FIVE).to_json(None)
    assert content["estimate_seconds"] == "unknown"
    assert content["requested"] >= content["unique"] == content["to_run"] == len(content["trials"])
    assert content["cached"] == 0
    assert content["stages"] == sum(content["stage_counts"].values())
    assert content["stage_counts"]["pretrain"] == 1
    assert {"id", "sweeps", "label", "seed", "config"} <= set(content["trials"][0])


def test_finished_trials_count_as_cached() -> None:
    ids = [t.id for t in plan(["cpn/table4"]).trials]
    found = plan(["cpn/table4"], cached=[ids[0], "of another sweep"])
    assert found.to_json(None)["cached"] == 1
    assert ids[0] not in {t.id for t in found.to_run}


def test_a_test_scale_trains_nothing_again() -> None:
    (before,) = plan(["cpn/table4"], seeds=1).trials[:1]
    (after,) = plan(["cpn/table4"], seeds=1, overrides={"scales": [1.0]}).trials[:1]
    assert before.stages["train"] == after.stages["train"]
    assert before.stages["localize"] != after.stages["localize"]
    assert before.id != after.id


def test_thresholds_change_the_last_stage_only() -> None:
    before = plan(["cpn/fig5"]).trials[0].stages
    after = plan(["cpn/fig5"], overrides={"thresholds": [0, 0.5, 0.1]}).trials[0].stages
    assert [s for s in before if before[s] != after[s]] == ["evaluate"]


@pytest.mark.parametrize("key", ["seed", "epochs", "lr", "precision", "crop"])
def test_everything_that_changes_training_changes_its_id(key: str) -> None:
    config = plan(["cpn/fig5"]).trials[0].config
    other = {"seed": 7, "epochs": 99, "lr": 0.5, "precision": "bf16", "crop": 64}
    changed = config.model_copy(update={key: other[key]})
    before, after = stage_ids(config, "d"), stage_ids(changed, "d")
    assert before["pretrain"] == after["pretrain"]
    assert before["train"] != after["train"]


def test_the_data_set_changes_all_but_pretraining() -> None:
    config = plan(["cpn/fig5"]).trials[0].config
    before, after = stage_ids(config, "one"), stage_ids(config, "two")
    assert [s for s in before if before[s] == after[s]] == ["pretrain"]


def test_settings_that_cannot_matter_do_not_change_the_id() -> None:
    grid = {"patches": "grid"}
    one = plan(["cpn/table4"], seeds=1, overrides={**grid, "s_n": 5}).trials
    two = plan(["cpn/table4"], seeds=1, overrides={**grid, "s_n": 500}).trials
    assert [t.id for t in one] == [t.id for t in two]


def test_every_setting_names_its_stage() -> None:
    for method in ("cam", "cpn"):
        config = load_method(method).config
        assert set(config.stages()) == set(config.model_fields)


def test_canonical_json_is_one_text() -> None:
    assert canonical_json({"b": 1, "a": [0.1, "ü"]}) == '{"a":[0.1,"ü"],"b":1}'.encode()
    assert content_id({"a": 1, "b": 2}) == content_id({"b": 2, "a": 1})
    with pytest.raises(ValueError, match="Out of range"):
        canonical_json(float("nan"))


def test_ids_stay_what_they_are() -> None:
    """A frozen id: when this fails, every store of every user is orphaned. Mean it."""
    assert content_id({"stage": "train", "settings": {"lr": 0.01}}) == (
        "d1e8e6464e58164be8fc7702e0735724b02f98a7817ecc8a864dbc9aae546223"
    )


@pytest.mark.parametrize("name", shipped_names())
@pytest.mark.parametrize("profile", profile_names())
def test_every_shipped_sweep_plans_under_every_profile(name: str, profile: str) -> None:
    found = plan([name], profile)
    assert found.trials or found.searches


def test_a_paper_stands_for_all_its_sweeps() -> None:
    names = expand_names(["cpn", "cpn/fig6"])
    assert "cpn/table1" in names
    assert len(names) == len(set(names))


def test_later_settings_win(tmp_path: Path) -> None:
    mine = "title: x\nbase: {method: cpn, epochs: 2}\narms: {a: {}, b: {epochs: 4}}\n"
    path = spec_file(tmp_path, mine)
    assert [t.config.epochs for t in plan([path], seeds=1).trials] == [2, 4]
    trials = plan([path], seeds=1, overrides={"batch": 5}).trials
    assert [t.config.batch for t in trials] == [5, 5]


def test_a_swept_setting_cannot_be_set() -> None:
    with pytest.raises(InputError, match=r"--set p_h: sweeps/cpn/table4.yaml varies it"):
        plan(["cpn/table4"], overrides={"p_h": 0.3})
    with pytest.raises(InputError, match="--set method: sweeps/cpn/table3"):
        plan(["cpn/table3"], overrides={"method": "cam"})


def test_overrides_are_those_that_change_the_trial() -> None:
    trials = plan(["cpn/table4"], seeds=1, overrides={"epochs": 1, "s_n": 200}).trials
    assert [t.overrides for t in trials] == [{"epochs": 1}] * 5
    assert all(not t.overrides for t in plan(["cpn/table4"], seeds=1).trials)


def test_threads_are_part_of_the_training() -> None:
    config = plan(["cpn/fig5"]).trials[0].config
    one, two = stage_ids(config, "d", threads=1), stage_ids(config, "d", threads=2)
    assert [s for s in one if one[s] == two[s]] == ["pretrain"]


def test_a_shared_training_is_estimated_once() -> None:
    row = {"status": "done", "profile": "embedded", "method": "cam", "config.patches": None}
    row |= {"seconds.train": 8.0, "seconds.evaluate": 2.0, "id": "x", "config.backbone": "small"}
    history = trial_table(row)
    arms = "{all: {}, one: {scales: [1.0]}}"
    sweep = Sweep(
        "x", "x.yaml", SweepSpec(title="x", base={"method": "cam"}, arms=yaml.safe_load(arms))
    )
    found = make_plan([sweep], load_profile("embedded"), "d", seeds=1)
    assert estimate(found, history, 1) == 8.0 + 2.0 + 2.0
    assert estimate(found, history, 2) == 12.0  # one training is one job, in one slot
    assert estimate(plan(["cpn/table4"]), history, 1) is None


def test_some_cells_of_a_sweep() -> None:
    sweep = replace(load_sweep("cpn/table4"), only=("p_h=0.1", "p_h=0.5"))
    assert [label for label, _ in sweep.cells()] == ["p_h=0.1", "p_h=0.5"]
    named = {label for labels in ONLY.values() for label in labels}
    assert named <= {label for name in ONLY for label, _ in load_sweep(name).cells()}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("title: x\nbase: {method: cpn}\naxes: {s_m: [1]}", "s_m: unknown .* did you mean 's_n'"),
        ("title: x\nbase: {method: cpn}\naxes: {s_n: [0]}", "s_n: .* not 0"),
        ("title: x\nbase: {method: cpn}\naxes: {p_h: [1.5]}", "p_h: .* not 1.5"),
        ("title: x\nbase: {method: cpn, grid_sizes: [600], patches: grid}", "448, not 600"),
        ("title: x\nbase: {method: cpm}", "no 'cpm'.*did you mean 'cp"),
        ("title: x\nbase: {method: cpn}\naxis: {}", "axis: unknown .* did you mean 'axes'"),
        ("title: x", "base.method: missing"),
        ("- 1", "must be a mapping"),
        ("title: [", "not YAML"),
        ("title: x\nbase: {method: cpn}\naxes: {s_n: []}", "axes.s_n: .*at least 1"),
        ("title: !!python/object/apply:os.system [ls]", "not YAML"),
    ],
)
def test_a_wrong_sweep_file_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    path = spec_file(tmp_path, text)
    with pytest.raises(InputError, match=says) as error:
        plan([path])
    assert str(error.value).startswith(path)
    assert "\n" not in str(error.value)


def test_unknown_names_come_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'cpn/table4'"):
        load_sweep("cpn/tabel4")
    with pytest.raises(InputError, match="did you mean 'embedded'"):
        load_profile("embeded")
    with pytest.raises(InputError, match="--set s_m: unknown setting; did you mean 's_n'"):
        plan(["cpn/fig6"], overrides={"s_m": 3})


RESOURCES = """
title: x
base: {method: cam}
arms:
  plain: {}
  wide: {lr: 1, resources: {gpus: 2, workers: 4}}
  same as plain: {resources: {cpus: 8}}
  its training: {scales: [1.0], resources: {gpus: 0.5}}
resources: {cpus: 2, gpus: 1}
seeds: 1
"""


def test_resources_are_the_arms_over_the_files_and_no_part_of_an_id(tmp_path: Path) -> None:
    trials = plan([spec_file(tmp_path, RESOURCES)]).trials
    taken = {t.labels[0]: t.resources.model_dump(exclude_none=True) for t in trials}
    assert taken["wide"] == {"cpus": 2, "gpus": 2, "workers": 4}
    # One trial for two cells, and another with the same training: the larger of all.
    assert taken["plain"] == taken["its training"] == {"cpus": 8, "gpus": 1}
    without = RESOURCES.replace("resources: {cpus: 2, gpus: 1}", "")
    assert [t.id for t in plan([spec_file(tmp_path, without)]).trials] == [t.id for t in trials]
    with pytest.raises(InputError, match=r"--set lr: .*varies it"):
        plan([spec_file(tmp_path, RESOURCES)], overrides={"lr": 1})
    assert plan([spec_file(tmp_path, RESOURCES)], overrides={"batch": 4}).trials


SEARCH = "title: x\nbase: {method: cam}\nsearch: {space: {lr: {log: [0.001, 0.1]}}, samples: 3}\n"


def test_a_search_has_no_cells_and_is_passed_on(tmp_path: Path) -> None:
    found = plan([spec_file(tmp_path, SEARCH), "cpn/fig5"], overrides={"batch": 4})
    assert [s.name for s in found.searches] == ["mine"]
    assert {t.sweeps[0] for t in found.trials} == {"cpn/fig5"}
    alone = plan([spec_file(tmp_path, SEARCH)])
    assert (alone.trials, alone.to_json(0.0)["requested"]) == ((), 0)
    with pytest.raises(InputError, match=r"--set lr: .*varies it"):
        plan([spec_file(tmp_path, SEARCH)], overrides={"lr": 1})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("resources: {gpu: 1}", "resources: gpu: unknown setting; did you mean 'gpus'"),
        ("resources: {gpus: 1.5}", "resources: gpus is 1.5; .* whole"),
        ("arms: {a: {resources: {worker: 2}}}", "arms: a.resources: worker: .*'workers'"),
        ("arms: {a: {resources: 2}}", "arms: a.resources: must be a mapping"),
        ("search: {space: {lr: {log: [1, 2]}}, samples: 1}\narms: {a: {}}", "arms: not beside"),
        ("search: {space: {lr: {log: [1, 2]}}, samples: 1}\nseeds: {until: 1}", "seeds: a rule"),
        ("search: {space: {lr: {log: [1, 2]}}}", "search: samples: .*required"),
    ],
)
def test_wrong_sections_are_one_line(tmp_path: Path, text: str, says: str) -> None:
    path = spec_file(tmp_path, f"title: x\nbase: {{method: cam}}\n{text}")
    with pytest.raises(InputError, match=says) as error:
        plan([path])
    assert str(error.value).startswith(path)
    assert "\n" not in str(error.value)
