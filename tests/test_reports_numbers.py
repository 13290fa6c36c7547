"""Every number of the artefacts against computations made here."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import synthetic_store as synthetic
from reports_world import World, counts_of, loop_interval, miou

from camsweep.reports.cells import gather
from camsweep.reports.load import choose, read_trials
from camsweep.reports.measure import Measurements
from camsweep.reports.text import effect, notes
from camsweep.shards.errors import InputError
from camsweep.sweeps.spec import load_sweep


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("store")
    gone, bad = frozenset({"s_n=4000"}), frozenset({"p_h=0.3"})
    return World(synthetic.make(folder, missing=gone, failing=bad))


def test_every_cell_of_table4_and_its_interval(world: World) -> None:
    filled = world.fill("cpn/table4")
    for line in filled.lines:
        label = line.name.replace(" ", "")
        seeds, counts = counts_of(world.store, "cpn/table4", label)
        estimate = line.values[0].estimate
        assert estimate is not None
        assert estimate.mean == pytest.approx(np.mean([miou(c.sum(axis=0)) for c in counts]))
        assert estimate.seeds == tuple(seeds)
        assert line.seeds == len(seeds)
        # an interval of the same kind from other random numbers: the same up to its own noise
        low, high = loop_interval(counts, None, np.random.default_rng(99), 600)
        assert estimate.low == pytest.approx(low, abs=0.2 * (high - low))
        assert estimate.high == pytest.approx(high, abs=0.2 * (high - low))


def test_intervals_come_from_the_seed_alone(tmp_path: Path) -> None:
    store = synthetic.make(tmp_path / "s", sweeps=("cpn/table1",), images=7)
    selection = choose(read_trials(store), None, None)
    trials = gather(selection, "cpn/table1", "cpn", {}).trials
    found = []
    for seed in (5, 5, 6):
        measurements = Measurements(store, selection.trials, resamples=30, seed=seed)
        estimate = measurements.estimate(trials, "miou")
        assert estimate is not None
        found.append((estimate.low, estimate.high))
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_effects_are_paired(world: World) -> None:
    value = world.fill("cpn/table4").lines[-1].values[0]
    _, first = counts_of(world.store, "cpn/table4", "p_h=0.5")
    _, base = counts_of(world.store, "cpn/table4", "p_h=0.1")
    assert value.effect is not None
    assert value.estimate is not None
    both = zip(first, base, strict=True)
    assert value.effect.mean == pytest.approx(
        np.mean([miou(a.sum(axis=0)) - miou(b.sum(axis=0)) for a, b in both])
    )
    # The loop counts what seeds and images share twice, so it is the wider one, but not by much.
    low, high = loop_interval(first, base, np.random.default_rng(98), 600)
    room = 0.05 * (high - low)
    assert low - room <= value.effect.low < value.effect.mean < value.effect.high <= high + room
    # Nor is it narrower than the noise of the images alone.
    rng = np.random.default_rng(97)
    drawn = []
    for _ in range(400):
        chosen = rng.integers(0, first.shape[1], first.shape[1])
        pairs = [
            (a[chosen].sum(axis=0), b[chosen].sum(axis=0)) for a, b in zip(first, base, strict=True)
        ]
        drawn.append(np.mean([miou(a) - miou(b) for a, b in pairs]))
    least = 2 * 1.96 * float(np.std(drawn))
    assert value.effect.high - value.effect.low > 0.9 * least
    assert value.effect.high - value.effect.low < value.estimate.high - value.estimate.low


def test_other_columns_come_from_the_metrics(world: World) -> None:
    rows = [
        world.store.read_table(f"trials/{name}").to_pylist()[0]
        for name in world.store.names("trials", ".arrow")
    ]
    cpn = [r for r in rows if ("cpn/table1", "cpn") in zip(r["sweeps"], r["labels"], strict=True)]
    line = world.fill("cpn/table1").lines[-1]
    for column, scale in enumerate(("0.5", "1", "1.5", "2")):
        values = np.array([r[f"metric.miou_scale_{scale}"] for r in cpn])
        estimate = line.values[column].estimate
        assert estimate is not None
        assert estimate.mean == pytest.approx(values.mean())
        assert estimate.images == 0
        assert estimate.low <= values.mean() <= estimate.high
    table3 = world.fill("cpn/table3").lines[-1]
    assert table3.values[0].estimate is not None
    assert table3.values[1].estimate is not None
    wanted = np.mean([r["metric.background_iou"] for r in cpn])
    assert table3.values[0].estimate.mean == pytest.approx(wanted)
    wanted = np.mean([r["metric.foreground_iou"] for r in cpn])
    assert table3.values[1].estimate.mean == pytest.approx(wanted)
    raw = world.fill("cpn/table2").lines[-1].values[1].estimate
    assert raw is not None
    assert raw.mean == pytest.approx(np.mean([r["metric.miou_raw"] for r in cpn]))


def test_strategies_average_the_points_of_both_figures(tmp_path: Path) -> None:
    figures = ("cpn/fig6", "cpn/fig7")
    world = World(synthetic.make(tmp_path / "s", sweeps=(*figures, "cpn/strategies")))
    filled = world.fill("cpn/strategies")
    sides = []
    for sweep in figures:
        values = [
            [miou(c.sum(axis=0)) for c in counts_of(world.store, sweep, label)[1]]
            for label, _ in load_sweep(sweep).cells()
        ]
        sides.append(np.mean(values))
    first, second, both = (v.estimate for v in filled.lines[1].values)
    assert first is not None
    assert second is not None
    assert both is not None
    assert first.mean == pytest.approx(sides[0])
    assert second.mean == pytest.approx(sides[1])
    assert both.mean == pytest.approx(sides[0] - sides[1])
    assert both.low < both.mean < both.high


def test_a_mean_over_fewer_points_is_a_hole(world: World) -> None:
    filled = world.fill("cpn/strategies")  # s_n=4000 is missing
    first, second, both = filled.lines[1].values
    assert (first.estimate, first.hole) == (None, True)
    assert second.estimate is not None
    assert (both.estimate, both.hole) == (None, True)
    assert any("s_n=4000" in hole.what for hole in filled.holes)


def test_holes_and_failures_are_named_with_the_command(world: World) -> None:
    filled = world.fill("cpn/fig6")
    assert [h.what for h in filled.holes] == ["s_n=4000"]
    assert filled.holes[0].command == (
        "camsweep run cpn/fig6 --profile embedded --store STORE --seeds 3"
    )
    assert [line.name for line in filled.lines if line.values[0].hole] == ["4000"]
    failed = world.fill("cpn/table4").failed
    assert [(t.seed, t.cause) for t in failed] == [(0, "out of memory")]
    said = "\n".join(notes(world.fill("cpn/table4")))
    assert "Failed: cpn/table4 p_h=0.3, seed 0: out of memory" in said
    table1 = world.fill("sipe/table1")
    published = next(hole for hole in table1.holes if "EDAM" in hole.what)
    assert published.command == "", "no command fills a row that no arm measures"


def test_an_effect_inside_its_noise_is_called_noise(tmp_path: Path) -> None:
    world = World(synthetic.make(tmp_path / "s", noise=0.05, sweeps=("cpn/table4",)))
    lines = world.fill("cpn/table4").lines[1:]
    assert all(v.effect is not None and v.effect.noise for line in lines for v in line.values)
    assert all(effect(line.values[0].effect).endswith("noise") for line in lines)


def test_one_seed_has_no_seed_noise_and_is_never_separated(tmp_path: Path) -> None:
    world = World(synthetic.make(tmp_path / "s", seeds=(0,), sweeps=("cpn/table1",)))
    filled = world.fill("cpn/table1")
    scale, whole = filled.lines[-1].values[0], filled.lines[-1].values[-1]
    assert scale.estimate is not None
    assert whole.estimate is not None
    assert math.isnan(scale.estimate.low), "one number has no interval"
    assert whole.estimate.images == 60
    assert whole.estimate.low < whole.estimate.high
    assert "One seed" in "\n".join(notes(filled))
    assert {e.tied for e in world.rank().entries} == {(1, 2)}


def test_a_table_never_mixes_settings_profiles_or_data_sets(tmp_path: Path) -> None:
    only = ("cpn/table4",)
    store = synthetic.make(tmp_path / "s", sweeps=only)
    synthetic.make(tmp_path / "s", sweeps=only, seeds=(0, 1), digest="ffff0000")
    synthetic.make(tmp_path / "s", sweeps=only, seeds=(5,), profile="smoke")
    trials = read_trials(store)
    chosen = choose(trials, None, None)
    assert (chosen.profile, chosen.data_digest, len(chosen.trials)) == (
        "embedded",
        "ab12cd34ef",
        15,
    )
    assert len(chosen.others) == 2
    assert choose(trials, "smoke", None).trials[0].seed == 5
    assert choose(trials, None, "ffff").data_digest == "ffff0000"
    with pytest.raises(InputError, match=r"--profile voc12: no such trials; the store has .*smoke"):
        choose(trials, "voc12", None)
    before = gather(chosen, "cpn/table4", "p_h=0.1", {})
    longer = {**synthetic.CPN, "p_h": 0.1, "epochs": 12}
    common = dict.fromkeys(("sweeps", "labels"), None) | {
        "config": longer, "seed": 0, "fail": False, "sweeps": ["cpn/table4"], "labels": ["p_h=0.1"],
    }  # fmt: skip
    where = {
        "profile": "embedded", "data_name": "embedded", "data_digest": "ab12cd34ef",
        "eval_images": 60, "started": synthetic.START,
    }  # fmt: skip
    synthetic._write(store, "e" * 64, common, 60, 0.0, "", where)
    world = World(store)
    after = gather(world.selection, "cpn/table4", "p_h=0.1", {})
    assert [t.id for t in after.trials] == [t.id for t in before.trials]
    assert after.left_out == 1
    assert any("1 trial left out, of other settings" in n for n in world.fill("cpn/table4").notes)


def test_all_failed_still_gives_tables_with_the_failures(tmp_path: Path) -> None:
    bad = frozenset({"p_h=0.1", "p_h=0.2", "p_h=0.3", "p_h=0.4", "p_h=0.5"})
    made = synthetic.make(tmp_path / "s", sweeps=("cpn/table4",), seeds=(0,), failing=bad)
    world = World(made)
    filled = world.fill("cpn/table4")
    assert all(line.values[0].hole for line in filled.lines)
    assert len(filled.failed) == 5
    assert world.rank().entries == ()


def test_one_seed_of_several_is_told_and_proves_nothing(tmp_path: Path) -> None:
    bad = frozenset({"s_n=5"})
    made = synthetic.make(tmp_path / "s", sweeps=("cpn/fig6",), seeds=(0, 1), failing=bad)
    filled = World(made).fill("cpn/fig6")
    assert filled.lines[0].seeds == 1
    assert filled.shape is not None
    assert next(e.verdict for e in filled.shape.ends) == "one seed"
    assert any("open marker" in note for note in notes(filled))
    assert any("miss the noise between trainings" in note for note in notes(filled))


def test_seeds_that_differ_are_compared_unpaired(tmp_path: Path) -> None:
    made = synthetic.make(tmp_path / "s", sweeps=("cpn/table1",), seeds=(0, 1, 2, 3))
    world = World(made)
    first = gather(world.selection, "cpn/table1", "cpn", {}).trials[:2]
    second = gather(world.selection, "cpn/table1", "baseline", {}).trials[2:]
    a = world.measurements.estimate(first, "miou")
    b = world.measurements.estimate(second, "miou")
    assert a is not None
    assert b is not None
    both = world.measurements.difference(a, b)
    assert both.mean == pytest.approx(a.mean - b.mean)
    assert not both.one_seed
    np.testing.assert_allclose(both.draws, a.draws - b.draws)
