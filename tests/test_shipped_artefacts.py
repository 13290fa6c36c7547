"""The shipped sweeps and artefacts of SIPE, PPL, CPMC and of all methods together."""

from __future__ import annotations

import pytest

from camsweep.methods.base import method_names
from camsweep.reports.spec import PicturesSpec, TableSpec, paper, shipped
from camsweep.sweeps.identity import stage_ids
from camsweep.sweeps.plan import resolve
from camsweep.sweeps.profile import load_profile, profile_names
from camsweep.sweeps.spec import load_sweep, shipped_names

OURS = ("sipe", "ppl", "cpmc")


def ids(sweep: str, label: str, profile: str = "embedded") -> dict[str, str]:
    """The stage ids of a cell."""
    cell = dict(load_sweep(sweep).cells())[label]
    return stage_ids(resolve(sweep, cell, load_profile(profile), {}, {}), "digest")


def test_nothing_is_published_for_our_readings() -> None:
    assert paper("ppl").artefacts == paper("cpmc").artefacts == {}


def test_every_table_of_cpmc_says_that_it_is_our_reading() -> None:
    specs = [spec for spec in shipped().values() if spec.paper == "cpmc"]
    assert len(specs) == 4
    for spec in specs:
        assert "our reading" in spec.title
        assert "no published number" in spec.about


def test_every_artefact_has_a_sweep_and_the_other_way_round() -> None:
    for name in OURS:
        sweeps = {sweep for sweep in shipped_names() if sweep.startswith(f"{name}/")}
        specs = {spec.id: spec.sweep for spec in shipped().values() if spec.paper == name}
        assert sweeps <= set(specs)
        # The others show trials of another artefact's sweep.
        others = {spec: sweep for spec, sweep in specs.items() if spec not in sweeps}
        assert set(others) <= {"sipe/fig5", "sipe/fig6"}
        assert set(others.values()) <= sweeps


@pytest.mark.parametrize("profile", profile_names())
def test_ipe_only_localizes_the_baselines_weights(profile: str) -> None:
    base, ipe = (ids("sipe/table4", label, profile) for label in ("baseline", "+IPE"))
    assert base["train"] == ipe["train"]
    assert base["localize"] != ipe["localize"]
    assert ids("sipe/table4", "+GSC", profile)["train"] != base["train"]
    # What figure 7 shows is table 4's, so that nothing is trained for it.
    assert ids("sipe/fig7", "without GSC", profile) == ipe
    assert ids("sipe/fig7", "with GSC", profile) == ids("sipe/table4", "+GSC", profile)


def test_tables_share_what_is_the_same() -> None:
    sipe = ids("sipe/table1", "sipe")
    assert ids("sipe/table5", "hierarchical, w/ BPM") == sipe
    assert ids("sipe/fig8", "structure") == ids("cpmc/components", "SIPE") == sipe
    seam = ids("cpn/table1", "seam")
    assert ids("cpn/table3", "seam") == ids("sipe/table1", "seam") == seam
    assert ids("cpn/table1", "seam+prcm") != seam
    cpmc = ids("cpmc/components", "+both")
    assert ids("cpmc/steps", "refine_steps=2") == ids("cpmc/gamma", "gamma=0.5") == cpmc
    assert ids("cpmc/thresholds", "t_high=0.5, t_low=0.25") == cpmc
    ppl = ids("ppl/modes", "implicit")
    assert ids("ppl/depth", "cuts=3,2,1") == ids("ppl/grid", "grid=2") == ppl


def test_cells_of_a_sweep_are_different_trials() -> None:
    for name in (sweep for sweep in shipped_names() if sweep.split("/")[0] != "cpn"):
        for profile in profile_names():
            found = [ids(name, label, profile)["evaluate"] for label, _ in load_sweep(name).cells()]
            # Where the form's recipe is wholly overruled both forms are one trial.
            allowed = 1 if name == "leaderboard/methods" else 0
            assert len(found) - len(set(found)) <= allowed, (name, profile)


def test_the_leaderboard_has_every_method() -> None:
    cells = dict(load_sweep("leaderboard/methods").cells())
    assert {cell["method"] for cell in cells.values()} == set(method_names())


def test_both_kinds_of_labels_stand_in_table5() -> None:
    spec = shipped()["sipe/table5"]
    assert isinstance(spec, TableSpec)
    assert [column.metric for column in spec.columns] == ["miou_is_cam", "miou_estimated"]


def test_figure7_shows_both_maps_of_both_networks() -> None:
    spec = shipped()["sipe/fig7"]
    assert isinstance(spec, PicturesSpec)
    shown = [(column.show, column.label) for column in spec.columns]
    assert shown[2:] == [
        (show, label) for label in ("without GSC", "with GSC") for show in ("raw", "map")
    ]


@pytest.mark.parametrize("profile", profile_names())
def test_chains_share_what_is_the_same(profile: str) -> None:
    maps, crf = (ids("sipe/table1", label, profile) for label in ("sipe", "sipe + crf"))
    assert maps["train"] == crf["train"]
    assert "affinity" not in crf
    seam, plain, smooth = (ids("cpn/table5", x, profile) for x in ("seam", "cpn", "cpn + crf"))
    assert ids("sipe/table2", "seam", profile) == seam
    assert ids("sipe/table2", "cpn", profile) == smooth
    assert plain["segment"] == smooth["segment"], "the CRF of the test alone differs"
    assert plain["evaluate"] != smooth["evaluate"]
    r38, r101 = (ids("sipe/table2", label, profile) for label in ("sipe R38", "sipe R101"))
    assert r38["refine"] == r101["refine"] != crf["refine"]
    assert r38["localize"] == crf["localize"]
    on_coco = ids("sipe/table3", "sipe R38", profile)
    assert on_coco["refine"] == crf["refine"], "COCO's masks are those of table 1's column"
    seams = (
        ids(*cell, profile) for cell in (("sipe/table3", "seam"), ("sipe/table1", "seam + crf"))
    )
    assert len({found["refine"] for found in seams}) == 1
    assert ids("cpn/table1", "cpn", profile)["train"] == plain["train"]
