"""Exhibits of designs: planted effects come back, holes are told, text is escaped."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted_store import additive, own_sweep, plant

from camsweep.reports.choosing import chosen
from camsweep.reports.effects.bars import waterfall
from camsweep.reports.effects.figures import dots, kind_of
from camsweep.reports.effects.steps import steps_of
from camsweep.reports.effects.waterfall import waterfall_drawn
from camsweep.reports.exhibit import Exhibit
from camsweep.reports.measure import Estimate, Measurements
from camsweep.reports.own.showing import sweep_exhibits
from camsweep.sweeps.spec import Sweep, load_sweep
from camsweep.sweeps.store import Store

PARTS = {"cpcr": 0.03, "ohem": 0.0, "prcm": 0.02}
BOTH = {frozenset({"cpcr", "prcm"}): 0.015}


def exhibits(store: Store, said: list[str] | None = None) -> dict[str, Exhibit]:
    opened, selection = chosen(store.url, None, None, lambda line: None)
    measurements = Measurements(opened, resamples=300)
    say = (said if said is not None else []).append
    found = sweep_exhibits(selection, measurements, opened, "results", say)
    assert len({e.stem.lower() for e in found}) == len(found)
    return {e.id: e for e in found}


def records(exhibit: Exhibit, part: str = "") -> list[dict[str, Any]]:
    return [dict(row) for row in dict(exhibit.records)[part].rows]


def effects(exhibit: Exhibit) -> dict[str, dict[str, Any]]:
    return {f"{row['kind']} {row['effect']}": row for row in records(exhibit, "effects")}


def test_planted_effects_of_a_factorial_come_back(tmp_path: Path) -> None:
    """Of the shipped design, whose rules leave out OHEM without CPCR."""
    store = plant(tmp_path, load_sweep("ablate/cpn"), additive(PARTS, BOTH), noise=0.002)
    shown = exhibits(store)["ablate/cpn"]
    assert (shown.page, shown.commands, shown.failed) == ("ablate", (), 0)
    assert [d.name for d in shown.figures] == ["effects", "interactions", "shapley"]
    found = effects(shown)
    # CPCR over the two rows without OHEM: 0.03 and 0.045; PRCM over three: twice with CPCR.
    planted = {"cpcr": 3.75, "ohem": 0.0, "prcm": 3.0}
    for name, points in planted.items():
        row = found[f"main {name}"]
        assert row["mean"] == pytest.approx(points, abs=0.3)
        assert row["low"] - 0.3 <= points <= row["high"] + 0.3
        assert row["seeds"] == 3
        assert row["images"] == 40
    assert found["main cpcr"]["verdict"] == "effect"
    assert found["main ohem"]["verdict"] == "noise"
    assert found["interaction cpcr × prcm"]["mean"] == pytest.approx(1.5, abs=0.4)
    assert found["interaction cpcr × prcm"]["low"] > 0
    assert found["interaction cpcr × ohem"]["mean"] is None
    shares = [found[f"share {name}"]["mean"] for name in PARTS]
    assert sum(shares) == pytest.approx(found["total all - none"]["mean"])
    # Orders with CPCR before OHEM: CPCR meets PRCM already on in one of three.
    assert shares[0] == pytest.approx(3.5, abs=0.3)
    assert shares[2] == pytest.approx(3.0, abs=0.3)
    notes = " ".join(dict(shown.grids)[""].notes)
    assert "Faigle and Kern" in notes
    assert "can't be: ohem needs cpcr" in notes


def test_numbers_are_those_of_the_counts(tmp_path: Path) -> None:
    """Means and effects against sums over the counts' files themselves."""
    sweep = load_sweep("ablate/cpn")
    store = plant(tmp_path, sweep, additive(PARTS, BOTH))
    by_row: dict[str, dict[int, float]] = {}
    for name in store.names("trials"):
        row = store.read_table(f"trials/{name}").to_pylist()[0]
        images = store.read_table(f"images/{name}").to_pydict()
        ious = []
        for klass in range(4):
            mine = [i for i, c in enumerate(images["class"]) if c == klass]
            tp, fp, fn = (sum(images[key][i] for i in mine) for key in ("tp", "fp", "fn"))
            ious.append(tp / (tp + fp + fn))
        by_row.setdefault(row["labels"][0], {})[row["seed"]] = 100 * float(np.mean(ious))
    shown = exhibits(store)["ablate/cpn"]
    for record in records(shown):
        assert record["mean"] == pytest.approx(np.mean(list(by_row[record["row"]].values())))
        if record["effect_mean"] is not None:
            against = by_row[record["against"]]
            apart = [by_row[record["row"]][seed] - against[seed] for seed in (0, 1, 2)]
            assert record["effect_mean"] == pytest.approx(np.mean(apart))

    def mean(*on: str) -> float:
        label = ", ".join(f"{n}={'on' if n in on else 'off'}" for n in PARTS)
        return float(np.mean(list(by_row[label].values())))

    prcm = [mean(*some, "prcm") - mean(*some) for some in ((), ("cpcr",), ("cpcr", "ohem"))]
    assert effects(shown)["main prcm"]["mean"] == pytest.approx(np.mean(prcm))


def test_the_interval_of_a_contrast_is_paired(tmp_path: Path) -> None:
    """Levels jump by the seed, effects don't: their intervals must not be as wide."""
    store = plant(tmp_path, load_sweep("ablate/cpn"), additive(PARTS), noise=0.02)
    shown = exhibits(store)["ablate/cpn"]
    row = records(shown)[0]
    prcm = effects(shown)["main prcm"]
    assert prcm["high"] - prcm["low"] < row["high"] - row["low"]


def test_a_hole_is_named_with_its_command_and_takes_the_shares(tmp_path: Path) -> None:
    hole = "cpcr=on, ohem=off, prcm=on"
    store = plant(tmp_path, load_sweep("ablate/cpn"), additive(PARTS), missing={hole})
    shown = exhibits(store)["ablate/cpn"]
    assert len(shown.commands) == 1
    notes = dict(shown.grids)[""].notes
    command = "camsweep run ablate/cpn --profile embedded --store results --seeds 3"
    assert f"Not measured: {hole}. Fill it with: {command}" in notes
    assert f"No Shapley shares: not measured: {hole}." in notes
    assert not any(row["kind"] in ("share", "total") for row in records(shown, "effects"))
    assert any("ohem: averaged over 1 of the 2 comparisons" in note for note in notes)
    assert "not measured" in str(shown.body)


def test_a_seed_that_a_row_lacks_is_a_hole_and_shares_still_sum(tmp_path: Path) -> None:
    lacking = {("cpcr=on, ohem=off, prcm=on", 2)}
    store = plant(tmp_path, load_sweep("ablate/cpn"), additive(PARTS, BOTH), lacking=lacking)
    shown = exhibits(store)["ablate/cpn"]
    assert any("cpcr=on, ohem=off, prcm=on (seed 2)" in n for n in dict(shown.grids)[""].notes)
    found = effects(shown)
    shares = [found[f"share {name}"] for name in PARTS]
    assert {row["seeds"] for row in shares} == {2}
    assert sum(row["mean"] for row in shares) == pytest.approx(found["total all - none"]["mean"])


def test_one_seed_is_no_verdict(tmp_path: Path) -> None:
    store = plant(tmp_path, load_sweep("ablate/cpn"), additive(PARTS), seeds=(0,))
    shown = exhibits(store)["ablate/cpn"]
    assert {row["verdict"] for row in records(shown, "effects") if row["verdict"]} == {"one seed"}
    assert any("nothing is known of the noise" in n for n in dict(shown.grids)[""].notes)
    assert "one seed" in shown.figures[0].alt


def test_a_fraction_says_what_it_confounds(tmp_path: Path) -> None:
    names = ["p", "q", "r", "s", "t", "u"]
    parts: dict[str, Any] = {name: {"on": {name: 1}, "off": {name: 0}} for name in names}
    design = {"components": parts, "design": "fractional", "resolution": 4}
    sweep = own_sweep({"base": {"method": "cpn"}, "ablate": design}, "fraction")
    planted = additive({"p": 0.03, "q": -0.02}, {frozenset({"p", "q"}): 0.04})
    store = plant(tmp_path, sweep, planted, noise=0.002, seeds=(0, 1))
    shown = exhibits(store)["ablate/fraction"]
    found = effects(shown)
    # The planted effect of two halves into those of one.
    assert found["main p"]["mean"] == pytest.approx(5.0, abs=0.3)
    assert found["main q"]["mean"] == pytest.approx(0.0, abs=0.3)
    mixed = next(row for row in found.values() if row["effect"] == "p × q")
    assert mixed["aliases"]
    assert mixed["mean"] == pytest.approx(4.0, abs=0.6)
    notes = " ".join(dict(shown.grids)[""].notes)
    assert "resolution 4" in notes
    assert f"p:q = {mixed['aliases'][0].replace(' × ', ':')}" in notes
    assert "No Shapley shares" in notes


def estimate(measurements: Measurements, level: float, seeds: tuple[int, ...]) -> Estimate:
    points = level + 0.01 * np.array(seeds)
    values = np.repeat(points[:, None], measurements.resamples, axis=1)
    return measurements.build(seeds, points, values, 0)


def test_the_steps_of_a_waterfall_sum(tmp_path: Path) -> None:
    """Also where a row has a seed more and another is a hole: all are over the common seeds."""
    measurements = Measurements(Store(str(tmp_path)), resamples=200)
    given = [(0.40, (0, 1, 2)), (0.44, (0, 1)), None, (0.43, (0, 1, 2)), (0.45, (0, 1, 2))]
    names = ["none", "+ a", "+ b", "+ c", "+ d"]
    estimates = [None if one is None else estimate(measurements, *one) for one in given]
    steps = steps_of(names, estimates, measurements)
    assert [step.level is None for step in steps] == [False, False, True, False, False]
    levels = [step.level for step in steps if step.level]
    gains = [step.gain for step in steps if step.gain]
    assert levels[0].mean == pytest.approx(0.405)
    assert [g.mean for g in gains] == pytest.approx([0.04, -0.01, 0.02])
    assert levels[0].mean + sum(g.mean for g in gains) == pytest.approx(levels[-1].mean)
    assert steps[3].since == "+ a"
    drawn = waterfall_drawn(names, estimates, measurements, "Steps")
    assert drawn is not None
    bars = {t.name: t for t in drawn.figure.data if t.type == "bar"}
    assert list(bars["gain"].x) == [1, 4]
    assert list(bars["loss"].x) == [3]
    assert bars["loss"].base[0] == pytest.approx(44.5)
    assert bars["loss"].marker.pattern.shape
    assert list(bars["level"].x) == [0, 5]
    texts = [a.text for a in drawn.figure.layout.annotations]
    assert "not<br>measured" in texts
    assert waterfall_drawn(names, [None] * 5, measurements, "Steps") is None
    apart = [estimate(measurements, 0.4, (0,)), estimate(measurements, 0.5, (1,))]
    assert waterfall_drawn(["a", "b"], apart, measurements, "Steps") is None


def test_a_cumulative_design_tells_each_step(tmp_path: Path) -> None:
    design = {"components": ["tcp", "cpcr", "prcm"], "design": "cumulative"}
    sweep = own_sweep({"base": {"method": "cpn"}, "ablate": design}, "steps")
    gains = additive({"tcp": 0.03, "cpcr": -0.02, "prcm": 0.01})
    store = plant(tmp_path, sweep, gains, noise=0.001, missing={"+ cpcr"})
    shown = exhibits(store)["ablate/steps"]
    assert [d.name for d in shown.figures] == ["waterfall"]
    rows = {row["row"]: row for row in records(shown)}
    assert rows["none"]["step_mean"] is None
    assert rows["+ tcp"]["step_mean"] == pytest.approx(3.0, abs=0.2)
    # Two steps together, as the row between them is a hole.
    assert rows["+ prcm"]["step_mean"] == pytest.approx(-1.0, abs=0.2)
    whole = sum(row["step_mean"] for row in rows.values() if row["step_mean"] is not None)
    assert rows["none"]["mean"] + whole == pytest.approx(rows["+ prcm"]["mean"])
    assert dict(shown.grids)[""].headers == ("", "mIoU", "step", "against none", "seeds")


def test_noise_is_told_by_shape_and_pattern(tmp_path: Path) -> None:
    measurements = Measurements(Store(str(tmp_path)), resamples=200)
    clear = estimate(measurements, 0.05, (1, 2, 3))
    wide = measurements.build((0, 1), np.array([-0.02, 0.03]), np.full((2, 200), 0.005), 0)
    alone = estimate(measurements, 0.05, (1,))
    assert [kind_of(e) for e in (clear, wide, alone)] == ["effect", "noise", "one seed"]
    figure = dots([("a", clear), ("b", wide), ("c", alone)], "points")
    assert len({trace.marker.symbol for trace in figure.data}) == 3
    steps = steps_of(["x", "y"], [estimate(measurements, 0.4, (0, 1)), wide], measurements)
    patterns = {t.name: t.marker.pattern.shape for t in waterfall(steps).data if t.type == "bar"}
    assert len(set(patterns.values())) == len(patterns)


@pytest.mark.parametrize("design", ["leave-one-out", "add-one-in", "cumulative", "factorial"])
def test_hostile_names_are_text(tmp_path: Path, design: str) -> None:
    bad = ["<script>alert(1)</script>", "a \\input{x} & 50 % ☃", "<img src=x onerror=alert(2)>"]
    components = {n: {"on": {f"k{i}": True}, "off": {f"k{i}": False}} for i, n in enumerate(bad)}
    content = {
        "title": "<b>bold</b>",
        "notes": "<i>note</i>",
        "base": {"method": "cpn"},
        "ablate": {"components": components, "design": design},
    }
    sweep = own_sweep(content, "<script>x")
    parts = additive(dict.fromkeys(bad, 0.02))
    store = plant(tmp_path, sweep, parts, seeds=(0, 1), missing={_last(sweep)})
    (shown,) = exhibits(store).values()
    assert shown.id == "ablate/script-x"
    whole = f"{shown.body}{shown.notes}" + "".join(d.figure.to_json() for d in shown.figures)
    for word in ("<script", "<img", "<b>bold", "<i>note"):
        assert word not in whole
    assert "&lt;script&gt;" in whole


def _last(sweep: Sweep) -> str:
    return [label for label, _ in sweep.cells()][-1]


def test_a_design_of_each_arm_and_point_is_its_own(tmp_path: Path) -> None:
    content = {
        "base": {"method": "cpn"},
        "arms": {"one": {"w": 1}, "two": {"w": 2}},
        "axes": {"p_h": [0.1, 0.5]},
        "ablate": {"components": ["tcp", "prcm"], "design": "factorial"},
    }

    def quality(cell: Any) -> float:
        strength = cell.settings["w"] * cell.settings["p_h"]
        return 0.4 + 0.04 * strength * cell.on["tcp"]

    found = exhibits(plant(tmp_path, own_sweep(content), quality, noise=0.001))
    assert len(found) == 4
    for (arm, w), p_h in itertools.product((("one", 1), ("two", 2)), (0.1, 0.5)):
        shown = next(e for e in found.values() if e.title == f"Mine: {arm}, p_h={p_h}")
        assert effects(shown)["main tcp"]["mean"] == pytest.approx(4 * w * p_h, abs=0.2)
