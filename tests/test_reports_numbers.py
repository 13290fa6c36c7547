"""Every number of the artefacts and the leaderboard against computations made here."""

from __future__ import annotations

import math
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import synthetic_store as synthetic

from camsweep.reports.artefacts import fill
from camsweep.reports.board.entry import Leaderboard
from camsweep.reports.board.ranking import leaderboard
from camsweep.reports.board.records import board_records
from camsweep.reports.board.text import leaderboard_caption, ranks
from camsweep.reports.cells import gather
from camsweep.reports.filled import Filled
from camsweep.reports.load import Selection, choose, read_trials
from camsweep.reports.measure import Measurements
from camsweep.reports.naming import variant_names
from camsweep.reports.spec import paper, read_spec, select, shipped
from camsweep.reports.text import against_paper, effect, grid, notes
from camsweep.shards.errors import InputError
from camsweep.shards.sources.voc import VOC_CLASSES
from camsweep.sweeps.spec import load_sweep
from camsweep.sweeps.store import Store


class World:
    """A store with everything read once."""

    def __init__(self, store: Store, profile: str | None = None) -> None:
        self.store = store
        self.selection: Selection = choose(read_trials(store), profile, None)
        self.measurements = Measurements(store, self.selection.trials, resamples=300)

    def fill(self, name: str) -> Filled:
        return fill(shipped()[name], self.selection, self.measurements, "STORE")

    def rank(self, metric: str = "miou") -> Leaderboard:
        return leaderboard(self.selection, self.measurements, metric)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("store")
    gone, bad = frozenset({"s_n=4000"}), frozenset({"p_h=0.3"})
    return World(synthetic.make(folder, missing=gone, failing=bad))


def counts_of(store: Store, sweep: str, label: str) -> tuple[list[int], np.ndarray]:
    """Seeds and int64 [S, I, C, 3] straight from the files, row by row."""
    found = {}
    for name in store.names("trials", ".arrow"):
        row = store.read_table(f"trials/{name}").to_pylist()[0]
        if row["status"] != "done":
            continue
        if (sweep, label) in zip(row["sweeps"], row["labels"], strict=True):
            rows = store.read_table(f"images/{name}").to_pylist()
            keys = sorted({r["image"] for r in rows})
            counts = np.zeros((len(keys), 7, 3), dtype=np.int64)
            for r in rows:
                counts[keys.index(r["image"]), r["class"]] = r["tp"], r["fp"], r["fn"]
            found[row["seed"]] = counts
    return sorted(found), np.stack([found[s] for s in sorted(found)])


def miou(total: np.ndarray) -> float:
    present = [(tp, tp + fp + fn) for tp, fp, fn in total if tp + fp + fn > 0]
    return float(np.mean([tp / union for tp, union in present]))


def loop_interval(
    counts: np.ndarray, base: np.ndarray | None, rng: np.random.Generator, resamples: int
) -> tuple[float, float]:
    """The 95 % interval of a mean over seeds [S, I, C, 3] (less that of ``base``), by loops."""
    seeds, images = counts.shape[:2]
    widen = {2: 12.706, 3: 4.303, 4: 3.182}[seeds] / 1.959964 * math.sqrt(seeds / (seeds - 1))
    drawn = []
    for _ in range(resamples):
        chosen = rng.integers(0, images, images)
        each = [miou(one[chosen].sum(axis=0)) for one in counts]
        if base is not None:
            each = [a - miou(b[chosen].sum(axis=0)) for a, b in zip(each, base, strict=True)]
        centre = float(np.mean(each))
        some = rng.integers(0, seeds, seeds)
        drawn.append(centre + widen * (float(np.mean([each[s] for s in some])) - centre))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def test_specs_name_labels_of_their_sweeps_and_numbers_of_their_paper() -> None:
    for spec in shipped().values():
        labels = {label for label, _ in load_sweep(spec.sweep).cells()}
        published = set(paper(spec.paper).artefacts.get(spec.name, {}))
        items = [*getattr(spec, "rows", ()), *getattr(spec, "points", ())]
        items += [c for c in getattr(spec, "columns", ()) if hasattr(c, "label")]
        used = {item.label for item in items if item.label is not None}
        assert used <= labels, spec.id
        if spec.kind in ("table", "curve"):
            assert used == labels, f"{spec.id}: a cell of the sweep is in no row"
            assert {item.published for item in items if item.published} == published
        for one in getattr(spec, "contrasts", ()):
            for side in (one.first, one.second):
                assert set(side.labels) <= {label for label, _ in load_sweep(side.sweep).cells()}


def test_published_numbers_are_those_of_the_shared_file(shared: Path) -> None:
    import yaml

    given = yaml.safe_load((shared / "papers" / "cpn.yaml").read_text())
    ours = paper("cpn").artefacts
    for name in ("table1", "table3"):
        for row, numbers in given[name]["rows"].items():
            assert list(ours[name][row].values()) == numbers
    assert [r["miou"] for r in ours["table2"].values()] == [
        r["miou"] for r in given["table2"]["rows"]
    ]
    for name in ("table4", "fig6", "fig7"):
        points = {str(k): v for k, v in given[name]["points"].items()}
        assert {k: v["miou"] for k, v in ours[name].items()} == points
    contrast = given["strategies"]["superpixel_minus_grid_mean_miou"]
    assert next(iter(ours["strategies"].values()))["miou"] == contrast


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


def test_draws_equal_a_loop_over_drawn_images_and_seeds(tmp_path: Path) -> None:
    store = synthetic.make(tmp_path / "s", sweeps=("cpn/table1",), images=7)
    selection = choose(read_trials(store), None, None)
    measurements = Measurements(store, selection.trials, resamples=30, seed=5)
    trials = gather(selection, "cpn/table1", "cpn", {}).trials
    got = measurements.estimate(trials, "miou")
    again = Measurements(store, selection.trials, resamples=30, seed=5).estimate(trials, "miou")
    other = Measurements(store, selection.trials, resamples=30, seed=6).estimate(trials, "miou")
    assert got is not None
    assert again is not None
    assert other is not None
    assert (got.low, got.high) == (again.low, again.high)
    assert got.low != other.low
    _, counts = counts_of(store, "cpn/table1", "cpn")
    keys = "\n".join(f"val_{i:05d}" for i in range(7)).encode()
    rng = np.random.default_rng([5, 0, zlib.crc32(keys)])
    images = rng.multinomial(7, [1 / 7] * 7, size=30)
    rng = np.random.default_rng([5, 1, zlib.crc32(b"(0, 1, 2)")])
    seeds = rng.multinomial(3, [1 / 3] * 3, size=30)
    expected = []
    for b in range(30):
        drawn = [i for i in range(7) for _ in range(images[b, i])]
        each = [miou(counts[s, drawn].sum(axis=0)) for s in range(3)]
        centre = sum(each) / 3
        chosen = sum(value * k for value, k in zip(each, seeds[b], strict=True)) / 3
        expected.append(centre + 4.303 / 1.959964 * math.sqrt(3 / 2) * (chosen - centre))
    np.testing.assert_allclose(got.draws, expected, rtol=1e-6)
    assert (got.low, got.high) == pytest.approx(np.quantile(expected, [0.025, 0.975]), rel=1e-6)


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
    low, high = loop_interval(first, base, np.random.default_rng(98), 600)
    assert value.effect.low == pytest.approx(low, abs=0.25 * (high - low))
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


def test_other_data_is_never_compared_with_the_paper(world: World, tmp_path: Path) -> None:
    for name in ("cpn/table1", "cpn/table4", "cpn/fig6"):
        filled = world.fill(name)
        assert not filled.comparable
        for line in filled.lines:
            for value in line.values:
                assert value.difference is None
                if value.estimate is not None and value.published is not None:
                    assert against_paper(value) == "other data"
        assert "profile embedded" in grid(filled).caption
        assert "Other data than the paper's" in grid(filled).caption
    only = ("cpn/table4",)
    voc = {"profile": "voc12", "data_name": "VOC2012", "images": 20, "sweeps": only}
    voc["classes"] = paper("cpn").comparable.classes
    mini = World(synthetic.make(tmp_path / "mini", **voc))
    assert mini.fill("cpn/table4").unlike == "other data", "voc-mini is not VOC"
    voc["eval_images"] = 1464
    full = World(synthetic.make(tmp_path / "full", **voc))
    filled = full.fill("cpn/table4")
    assert filled.comparable, "whatever the folder was called"
    assert "than the paper's" not in grid(filled).caption
    value = filled.lines[0].values[0]
    assert value.estimate is not None
    assert value.difference is not None
    assert value.difference == pytest.approx(100 * value.estimate.mean - 55.52)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"profile": "smoke"}, "other settings"),
        ({"overrides": {"epochs": 1}}, "other settings"),
        ({"classes": synthetic.CLASSES}, "other data"),
        ({"classes": paper("cpn").comparable.classes[::-1]}, "other data"),
        ({"eval_images": 1449}, "other data"),
    ],
)
def test_each_fact_is_needed_to_compare_with_the_paper(
    tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    voc = {
        "profile": "voc12", "data_name": "voc", "images": 5, "sweeps": ("cpn/table4",),
        "seeds": (0,), "classes": paper("cpn").comparable.classes, "eval_images": 1464,
    }  # fmt: skip
    filled = World(synthetic.make(tmp_path / "s", **{**voc, **change})).fill("cpn/table4")
    assert filled.unlike == reason
    assert against_paper(filled.lines[0].values[0]) == reason
    assert f"{reason.capitalize()} than the paper's" in grid(filled).caption


def test_the_papers_classes_are_vocs() -> None:
    assert paper("cpn").comparable.classes == VOC_CLASSES


def test_shape_of_table4(world: World) -> None:
    filled = world.fill("cpn/table4")
    assert filled.shape is not None
    means = [line.values[0].estimate.mean for line in filled.lines if line.values[0].estimate]
    published = [55.52, 56.87, 56.29, 57.05, 57.43]
    agree = sum(
        np.sign(means[i] - means[j]) * np.sign(published[i] - published[j])
        for i in range(5)
        for j in range(i)
    )
    assert filled.shape.tau == pytest.approx(agree / 10)
    assert filled.shape.tau_low <= filled.shape.tau <= filled.shape.tau_high
    assert filled.shape.published_peak == "p_h = 0.5"
    assert filled.shape.peak == filled.lines[int(np.argmax(means))].name
    assert [e.name for e in filled.shape.ends] == ["p_h = 0.1"]


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


def test_leaderboard_ranks_and_ties(world: World) -> None:
    board = world.rank()
    means = [e.estimate.mean for e in board.entries]
    assert means == sorted(means, reverse=True)
    assert [e.rank for e in board.entries] == list(range(1, len(means) + 1))
    assert len({e.name for e in board.entries}) == len(means) == 26
    assert board.pairs == 26 * 25 // 2
    for e in board.entries:
        assert e.rank in e.tied
        assert all(e.rank in board.entries[other - 1].tied for other in e.tied)
    cam = next(e for e in board.entries if e.name == "CAM")
    assert len(cam.trials) == 3
    assert cam.train_seconds == pytest.approx(17.0)
    assert cam.images_per_second == pytest.approx(280.0)
    assert (cam.peak_memory, cam.parameters) == (700_000_000, 90_000)
    assert "cpn/table1 baseline" in cam.labels
    assert "cpn/table2 cls" in cam.labels
    assert ranks((1, 2, 3, 5)) == "1–3, 5"
    assert ranks((4,)) == "–"


def test_leaderboard_by_another_metric(world: World) -> None:
    board = world.rank("background_iou")
    assert board.entries[0].background is not None
    assert board.entries[0].estimate.mean == board.entries[0].background.mean
    with pytest.raises(InputError, match="did you mean 'miou'"):
        world.rank("mioU")


def test_all_failed_still_gives_tables_with_the_failures(tmp_path: Path) -> None:
    bad = frozenset({"p_h=0.1", "p_h=0.2", "p_h=0.3", "p_h=0.4", "p_h=0.5"})
    made = synthetic.make(tmp_path / "s", sweeps=("cpn/table4",), seeds=(0,), failing=bad)
    world = World(made)
    filled = world.fill("cpn/table4")
    assert all(line.values[0].hole for line in filled.lines)
    assert len(filled.failed) == 5
    assert world.rank().entries == ()


def test_names_tell_what_differs() -> None:
    base = {"patches": "superpixel", "s_n": 200, "p_h": 0.5, "prcm": True, "ramp": False}
    variants = {
        "a": ("cpn", base),
        "b": ("cpn", {**base, "prcm": False}),
        "c": ("cpn", {**base, "ramp": True}),
        "d": ("cpn", {**base, "p_h": 0.1}),
        "e": ("cpn", {"patches": "grid", "grid_sizes": [4, 7], "prcm": True, "ramp": False}),
        "f": ("strange<method>", {"epochs": 3}),
    }
    names = variant_names(variants)
    assert names["a"].endswith("superpixel S_N=200")
    assert names["b"].endswith("S_N=200, no prcm")
    assert names["c"].endswith("S_N=200, ramp")
    assert names["d"].endswith("S_N=200, p_h=0.1")
    assert names["e"].endswith("grid K={4, 7}")
    assert names["f"] == "strange<method>"


def test_a_method_as_published_has_the_plain_name_beside_its_compositions() -> None:
    plain = {"ipe": True, "gsc": True, "pair": False, "bpm": True}
    pairs = {**plain, "pair": True, "patches": "grid", "grid_sizes": [56, 112]}
    variants = {
        "sipe": ("sipe", plain),
        "pairs": ("sipe", pairs),
        "more": ("sipe", {**pairs, "grid_sizes": [4, 7]}),
        "bpm": ("sipe", {**plain, "bpm": False}),
    }
    assert variant_names(variants) == {
        "sipe": "SIPE",
        "pairs": "SIPE, grid K={56, 112}, pair",
        "more": "SIPE, grid K={4, 7}, pair",
        "bpm": "SIPE, no bpm",
    }


def test_estimated_labels_and_the_floor_are_told(world: World) -> None:
    selection = world.selection
    first, *others = [t for t in selection.trials if t.done]
    estimated = {"miou": 0.4, "miou_estimated": 0.4, "miou_floor": 0.117}
    trials = (replace(first, metrics=estimated), *others)
    board = leaderboard(replace(selection, trials=trials), world.measurements)
    told = [e.name for e in board.entries if e.name.endswith(" †")]
    assert len(told) <= 1
    alone = leaderboard(replace(selection, trials=trials[:1]), world.measurements)
    assert alone.entries[0].name.endswith(" †")
    caption = leaderboard_caption(alone)
    assert "† labels estimated by the maps' own background" in caption
    assert "No-skill floor (uniform maps with the true image labels): 11.7." in caption
    assert board_records(alone)[0]["no_skill_floor"] == pytest.approx(11.7)
    assert "†" not in leaderboard_caption(world.rank())


def test_select_names_the_nearest_artefact() -> None:
    assert [s.id for s in select(["cpn/fig6", "cpn/table4"])] == ["cpn/table4", "cpn/fig6"]
    assert len(select(["cpn"])) == 8
    with pytest.raises(
        InputError, match="unknown artefact 'cpn/tabel4'; did you mean 'cpn/table4'"
    ):
        select(["cpn/tabel4"])


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


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("metric: miou,", "metric: mioo,", "did you mean 'miou'"),
        ("metric: miou,", "metric: miou_scale_1.0,", "did you mean 'miou_scale_1'"),
        ("ordered: true", "orderd: true", "orderd"),
        ("kind: table", "kind: tabel", "tabel"),
    ],
)
def test_a_wrong_spec_is_refused_in_one_line(
    tmp_path: Path, root: Path, old: str, new: str, message: str
) -> None:
    text = (root / "reports/specs/cpn/table4.yaml").read_text()
    assert old in text
    path = tmp_path / "table4.yaml"
    path.write_text(text.replace(old, new))
    with pytest.raises(InputError, match=message) as raised:
        read_spec(path, "cpn")
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)
