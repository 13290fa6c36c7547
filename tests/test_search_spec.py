"""The `search:` section: what it accepts, and one clear line for what it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from camsweep.platform.searching.points import Ground, longest_training, sample_trial
from camsweep.platform.searching.run import check_search
from camsweep.platform.searching.spacecheck import check_space
from camsweep.platform.searching.spaces import decode, distribution, encode
from camsweep.shards.errors import InputError
from camsweep.sweeps.dimension import Dimension
from camsweep.sweeps.profile import load_profile
from camsweep.sweeps.search import SearchSpec
from camsweep.sweeps.spec import load_sweep

GOOD = "space: {lr: {log: [0.001, 0.1]}, p_h: {uniform: [0.1, 0.9]}}"
CONDITIONAL = "space: {patches: {choice: [grid, superpixel]}, s_n: {int: [5, 2000], log: true, "


def ground(tmp_path: Path, search: str, base: str = "method: cpn", **options: Any) -> Ground:
    path = tmp_path / "mine.yaml"
    path.write_text(f"title: x\nbase: {{{base}}}\nsearch: {{{search}}}\n")
    return Ground(load_sweep(str(path)), load_profile("embedded"), "d", **options)


@pytest.mark.parametrize(
    ("search", "says"),
    [
        ("space: {lr: {lig: [0.001, 0.1]}}, samples: 3", "search.*lr: lig: unknown .*mean 'log'"),
        ("space: {lr: {log: [0.1, 0.01]}}, samples: 3", "space.lr.*low below high"),
        ("space: {lr: {log: [0.1]}}, samples: 3", r"space.lr.log.*two numbers"),
        ("space: {lr: {log: [1e-3, 0.1]}}, samples: 3", r"two numbers \(0.001, not 1e-3\)"),
        ("space: {lr: {log: [0, 0.1]}}, samples: 3", "space.lr.*above 0, not 0"),
        ("space: {lr: 3}, samples: 3", "space.lr.*write e.g."),
        ("space: {epochs: {int: [1.5, 4]}}, samples: 3", "space.epochs.int.*two whole numbers"),
        ("space: {lr: {log: [0.1, 1], uniform: [0, 1]}}, samples: 3", "one of uniform, log, int"),
        ("space: {p_h: {uniform: [0.1, 0.9], step: 2}}, samples: 3", "space.p_h.*step: 2 is wider"),
        ("space: {ohem: {choice: []}}, samples: 3", "space.ohem.choice.*at least 1"),
        ("space: {ohem: {choice: [true, true]}}, samples: 3", "names a value twice"),
        ("space: {}, samples: 3", "search.*space.*at least 1"),
        (f"{GOOD}", "search.*samples: .*required"),
        (f"{GOOD}, samples: 0", "search.*samples: .*not 0"),
        (f"{GOOD}, samples: 3, algoritm: tpe", "algoritm: unknown .*did you mean 'algorithm'"),
        (f"{GOOD}, samples: 3, algorithm: tpee", "algorithm: .*'tpe'.*not 'tpee'"),
        (f"{GOOD}, samples: 3, metric: []", "metric: must name one metric"),
        (f"{GOOD}, samples: 3, scheduler: ash", "scheduler.*'asha'.*not 'ash'"),
        (f"{GOOD}, samples: 3, scheduler: {{name: asha, others: 2}}", "others is a setting of med"),
        (f"{GOOD}, samples: 3, scheduler: asha, metric: [miou, train_seconds]", "one metric"),
        (f"{GOOD}, samples: 3, scheduler: pbt", "algorithm: pbt draws its own points"),
        (f"{GOOD}, samples: 3, algorithm: random, scheduler: pbt", "samples: pbt .*4 or more"),
        (CONDITIONAL + "when: {patch: superpixel}}}, samples: 3", "mean 'patches'"),
        (CONDITIONAL + "when: {patches: superpixels}}}, samples: 3", "patches is never 'superpix"),
        (CONDITIONAL + "when: superpixel}}, samples: 3", "s_n.when.*must be a mapping"),
        (
            CONDITIONAL + "when: {patches: superpixel}}}, samples: 3, algorithm: cmaes",
            "space.patches: is a `choice`; cmaes",
        ),
        ("space: {lr: {log: [0.1, 1]}}, samples: 3, algorithm: cmaes", "cmaes needs two settings"),
        (
            "space: {a: {choice: [1, 2], when: {b: 1}}, b: {choice: [1, 2], when: {a: 1}}}, "
            "samples: 3",
            "depend on each other in a circle",
        ),
    ],
)
def test_a_wrong_section_is_one_line(tmp_path: Path, search: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as error:
        ground(tmp_path, search)
    assert str(error.value).startswith(str(tmp_path / "mine.yaml"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("search", "says"),
    [
        ("space: {lrr: {log: [0.01, 0.1]}}, samples: 3", "lrr: unknown setting; did you mean 'lr'"),
        ("space: {p_h: {uniform: [0.5, 1.5]}}, samples: 3", "p_h: .*not 1.5"),
        ("space: {s_n: {int: [0, 100]}}, samples: 3", "s_n: .*not 0"),
        ("space: {patches: {choice: [grid, super]}}, samples: 3", "patches: .*not 'super'"),
        ("space: {tcp: {choice: [true, false]}}, samples: 3", "search.space.tcp: base sets it"),
        ("space: {seed: {int: [0, 9]}}, samples: 3", "search.space.seed"),
        ("space: {resize_min: {int: [1, 9]}}, samples: 3", "resize_min: changes nothing here"),
        (f"{GOOD}, samples: 3, metric: miuo", "search.metric: 'miuo' .*did you mean 'miou'"),
        (f"{GOOD}, samples: 3, metric: miou_is_cam", "'miou_is_cam' is nothing that cpn gives"),
        (f"{GOOD}, samples: 3, scheduler: asha, metric: parameters", "measured on the way"),
        (f"{GOOD}, samples: 3, scheduler: {{name: asha, grace: 4}}", "4 is not below the 4 epochs"),
        (
            "space: {lr: {log: [0.01, 0.1]}, batch: {int: [4, 8]}}, samples: 4, algorithm: random, "
            "scheduler: pbt",
            "space.batch: .*pbt can change",
        ),
        (
            "space: {lr: {log: [0.01, 0.1]}, scales: {choice: [[1.0], [2.0]]}}, samples: 4, "
            "algorithm: random, scheduler: pbt",
            "space.scales: .*pbt can change",
        ),
        (
            "space: {prcm: {choice: [true, false]}}, samples: 4, algorithm: random, scheduler: pbt",
            "space.prcm: .*pbt can change",
        ),
    ],
)
def test_an_impossible_search_is_one_line(tmp_path: Path, search: str, says: str) -> None:
    found = ground(tmp_path, search, "method: cpn, tcp: true")
    with pytest.raises(InputError, match=says) as error:
        check_search(found)
    assert str(tmp_path / "mine.yaml") in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("first", ["true, false", "false, true"])
@pytest.mark.parametrize("order", [1, -1])
def test_a_setting_that_needs_another_is_told_its_condition(
    tmp_path: Path, first: str, order: int
) -> None:
    both = [f"cpcr: {{choice: [{first}]}}", "ohem: {choice: [true, false]"][::order]
    wrong = ", ".join(part + "}" * (part.count("{") - part.count("}")) for part in both)
    with pytest.raises(InputError) as error:
        check_search(ground(tmp_path, f"space: {{{wrong}}}, samples: 3"))
    assert str(error.value) == (
        f"{tmp_path / 'mine.yaml'}: search.space.ohem: true needs cpcr: true; "
        "add `when: {cpcr: true}` to ohem, so that it is searched only there"
    )
    right = wrong.replace("ohem: {", "ohem: {when: {cpcr: true}, ")
    check_search(ground(tmp_path, f"space: {{{right}}}, samples: 3"))


def test_no_condition_is_named_where_none_helps(tmp_path: Path) -> None:
    found = ground(
        tmp_path, "space: {ohem: {choice: [true, false]}}, samples: 3", "method: cpn, cpcr: false"
    )
    with pytest.raises(InputError, match=r"search.space.ohem: true needs cpcr: true; set ohem: fa"):
        check_search(found)


def test_set_and_teams_are_refused_where_they_clash(tmp_path: Path) -> None:
    clash = ground(tmp_path, f"{GOOD}, samples: 3", overrides={"lr": 0.1})
    with pytest.raises(InputError, match=r"--set lr: .*mine.yaml searches it"):
        check_search(clash)
    early = ground(tmp_path, f"{GOOD}, samples: 3, scheduler: asha")
    with pytest.raises(InputError, match="ends trainings of one worker alone, not of 2"):
        check_search(early, workers=2)
    check_search(ground(tmp_path, f"{GOOD}, samples: 3"), workers=2)


def test_a_space_with_conditions_is_checked_under_them(tmp_path: Path) -> None:
    search = CONDITIONAL + "when: {patches: superpixel}}}, samples: 3"
    found = ground(tmp_path, search)
    check_space(found)
    assert found.spec.order() == ["patches", "s_n"]
    assert found.spec.conditional
    # Without the condition it still matters under one of the choices.
    check_space(ground(tmp_path, CONDITIONAL + "}}, samples: 3"))


def test_a_point_is_a_trial_like_any_other(tmp_path: Path) -> None:
    found = ground(tmp_path, f"{GOOD}, samples: 3", overrides={"epochs": 2}, seed=7)
    trial = found.trial({"lr": 0.02, "p_h": 0.25})
    assert trial.uses == (("mine", "lr=0.02, p_h=0.25"),)
    assert (trial.config.seed, trial.config.epochs) == (7, 2)
    assert trial.overrides == {"epochs": 2}
    assert longest_training(found) == 2
    path = tmp_path / "fixed.yaml"
    path.write_text("title: x\nbase: {method: cpn, lr: 0.02, p_h: 0.25, epochs: 2}\nseeds: 1\n")
    from camsweep.sweeps.plan import make_plan

    (same,) = make_plan([load_sweep(str(path))], found.profile, "d", first_seed=7).trials
    assert same.id == trial.id


def test_a_study_is_named_by_all_that_matters_but_its_length(tmp_path: Path) -> None:
    one = ground(tmp_path, f"{GOOD}, samples: 3").id
    assert ground(tmp_path, f"{GOOD}, samples: 9").id == one
    others = {
        ground(tmp_path, f"{GOOD}, samples: 3, algorithm: random").id,
        ground(tmp_path, f"{GOOD}, samples: 3, metric: background_iou").id,
        ground(tmp_path, f"{GOOD}, samples: 3", "method: cpn, ohem: false").id,
        ground(tmp_path, f"{GOOD}, samples: 3", overrides={"epochs": 1}).id,
        ground(tmp_path, "space: {lr: {log: [0.001, 0.2]}}, samples: 3").id,
        ground(tmp_path, f"{GOOD}, samples: 3", seed=1).id,
    }
    assert len(others | {one}) == 7


def test_which_trials_are_points() -> None:
    spec = SearchSpec.model_validate(
        {
            "space": {
                "patches": {"choice": ["grid", "superpixel"]},
                "s_n": {"int": [10, 100], "step": 10, "when": {"patches": "superpixel"}},
                "scales": {"choice": [[1.0], [0.5, 1.0]]},
            },
            "samples": 1,
        }
    )
    base = {"patches": "superpixel", "s_n": 50, "scales": (0.5, 1.0), "lr": 3}
    assert spec.contains(base) == {"patches": "superpixel", "s_n": 50, "scales": (0.5, 1.0)}
    assert spec.contains({**base, "patches": "grid"}) == {"patches": "grid", "scales": (0.5, 1.0)}
    assert spec.contains({**base, "s_n": 55}) is None
    assert spec.contains({**base, "s_n": 110}) is None
    assert spec.contains({**base, "scales": [2.0]}) is None
    assert spec.contains({"patches": "superpixel", "scales": [1.0]}) is None


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ({"uniform": [0.0, 1.0]}, FloatDistribution(0.0, 1.0)),
        ({"uniform": [0.0, 1.0], "step": 0.3}, FloatDistribution(0.0, 0.9, step=0.3)),
        ({"log": [0.1, 1.0]}, FloatDistribution(0.1, 1.0, log=True)),
        ({"int": [1, 8]}, IntDistribution(1, 8)),
        ({"int": [1, 8], "step": 3}, IntDistribution(1, 7, step=3)),
        ({"int": [1, 8], "log": True}, IntDistribution(1, 8, log=True)),
        ({"choice": ["a", None, True]}, CategoricalDistribution(["a", None, True])),
        ({"choice": [[1, 2], [3]]}, CategoricalDistribution(["[1,2]", "[3]"])),
    ],
)
def test_optunas_distributions(written: dict[str, Any], kind: Any) -> None:
    assert distribution(Dimension.model_validate(written)) == kind


def test_drawn_values_are_short_and_inside() -> None:
    dimension = Dimension.model_validate({"uniform": [0.1, 0.123456]})
    assert decode(dimension, 0.1111111111) == 0.11111
    assert decode(dimension, 0.123456) == 0.123456, "rounding would leave the range"
    lists = Dimension.model_validate({"choice": [[1, 2], [3]]})
    assert decode(lists, encode([1, 2])) == [1, 2]
    mixed = Dimension.model_validate({"choice": [1, True]})
    assert decode(mixed, True) is True


def test_the_shipped_search_is_possible() -> None:
    for profile in ("embedded", "voc12"):
        shipped = Ground(load_sweep("searches/cpn"), load_profile(profile), "d")
        check_search(shipped)
        assert sample_trial(shipped).config.method == "cpn"
