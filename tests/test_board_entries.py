"""What a leaderboard says of each place: ranks, chances, cost, filters, and what is read."""

from __future__ import annotations

import itertools
import json
import math
import time
from dataclasses import replace

import numpy as np
import pytest
from board_world import Made, made, trial

from camsweep.reports.board import facts
from camsweep.reports.board.filters import Filters
from camsweep.reports.board.grids import leaderboard_grid, objects_grid
from camsweep.reports.board.light import light
from camsweep.reports.board.ranking import DETAILED, TESTED
from camsweep.reports.board.records import RANKED, board_records, class_records
from camsweep.reports.board.text import leaderboard_caption
from camsweep.reports.formats.tables import json_text
from camsweep.reports.measure import Measurements
from camsweep.shards.errors import InputError
from camsweep.sweeps.store import Store


@pytest.fixture(scope="module")
def world() -> Made:
    return made(qualities=[0.5, 0.52, 0.6, 0.61], seeds=3)


def test_rank_intervals_and_chances_are_those_of_an_own_count(world: Made) -> None:
    entries = world.rank().entries
    draws = np.array([e.estimate.draws for e in entries])
    for place, e in enumerate(entries):
        ranks = np.sort((draws > draws[place]).sum(axis=0) + 1)
        number = len(ranks) - 1
        assert e.rank_low == ranks[math.floor(0.025 * number)]
        assert e.rank_high == ranks[math.ceil(0.975 * number)]
        assert e.rank_low <= e.rank <= e.rank_high
    for one, other in itertools.pairwise(entries):
        pairs = itertools.product(one.estimate.points, other.estimate.points)
        assert one.better == pytest.approx(np.mean([(a > b) + 0.5 * (a == b) for a, b in pairs]))
    assert math.isnan(entries[-1].better)


def test_precision_recall_and_classes_come_from_the_summed_counts(world: Made) -> None:
    best = world.rank().entries[0]
    sums = [world.known[t.id].values.sum(axis=0).astype(float) for t in best.trials]
    precision = np.mean([(s[1:, 0] / (s[1:, 0] + s[1:, 1])).mean() for s in sums])
    iou = np.mean([s[:, 0] / s.sum(axis=1) for s in sums], axis=0)
    assert best.precision is not None
    assert best.precision.mean == pytest.approx(precision)
    assert best.class_iou == pytest.approx(iou.tolist())
    board = world.rank("precision")
    assert [e.estimate.mean for e in board.entries] == sorted(
        (e.precision.mean for e in board.entries if e.precision), reverse=True
    )
    rows = class_records(board)
    assert [r["name"] for r in rows[:3]] == ["background", "cat", "dog"]
    assert len(rows) == 12


@pytest.mark.parametrize(
    ("devices", "gpu", "cpu"),
    [
        (("cpu", "Intel Xeon, 2 cores"), math.nan, (3600 * 4 + 3600 * 4) / 3600),
        (("NVIDIA H100 80GB HBM3", "cuda"), 2 * 2.0, math.nan),
        (("NVIDIA A100", "AMD EPYC, 64 cores"), 2.0, 4.0),
    ],
)
def test_hours_sum_stages_seeds_and_workers(
    devices: tuple[str, str], gpu: float, cpu: float
) -> None:
    seconds = {"pretrain": 600.0, "train": 2400.0, "evaluate": 600.0}
    trials = [
        trial(0, seed, 0.5, device=device, seconds=seconds, workers=2, threads=2)
        for seed, device in enumerate(devices)
    ]
    assert facts.gpu_hours(trials) == pytest.approx(gpu, nan_ok=True)
    assert facts.cpu_hours(trials) == pytest.approx(cpu, nan_ok=True)
    assert math.isnan(facts.cpu_hours([trial(0, 0, 0.5)])), "a row of before seconds were stored"


def test_the_stage_is_what_the_metric_is_measured_on() -> None:
    assert facts.stage(trial(0, 0, 0.5)) == "refined map"
    assert facts.stage(trial(0, 0, 0.5), "miou_raw") == "raw map"
    assert facts.stage(trial(0, 0, 0.5, config={"map": "is_cam"}), "precision") == "IS-CAM"
    plain = replace(trial(0, 0, 0.5), config={})
    assert facts.stage(plain) == "raw map"
    assert facts.settings(trial(0, 0, 0.5)) == {"s_n": 100}, "200 is CPN's own"
    assert facts.settings(trial(100, 0, 0.5)) == {}


def test_filters_choose_and_name_the_nearest() -> None:
    some = made(qualities=[0.5, 0.6], seeds=2)
    seam = tuple(replace(t, method="seam", variant="seam") for t in some.variants[0])
    world = Made([seam, some.variants[1]], some.known)
    assert [e.method for e in world.rank().entries] == ["cpn", "seam"]
    for name in ("seam", "SEAM"):
        board = world.rank(filters=Filters(method=name))
        assert [(e.rank, e.method) for e in board.entries] == [(1, "seam")]
        assert f"Only method {name}" in leaderboard_caption(board)
    board = world.rank(filters=Filters(top=1, stage="Refined map"))
    assert [e.method for e in board.entries] == ["cpn"]
    assert "The best 1 of 2 variants." in leaderboard_caption(board)
    assert board.entries[0].better == 1.0, "against the place that is not shown"
    for filters, words in (
        (Filters(method="sean"), "--method sean: no variant has it; did you mean 'seam'?"),
        (Filters(backbone="smal"), "--backbone smal: no variant has it; did you mean 'small'?"),
        (
            Filters(stage="raw map"),
            "--stage raw map: no variant has it; did you mean 'refined map'?",
        ),
        (Filters(top=0), "--top 0: must be 1 or more"),
    ):
        with pytest.raises(InputError) as error:
            world.rank(filters=filters)
        assert str(error.value) == words


def test_a_missing_number_is_no_number() -> None:
    some = made(qualities=[0.5, 0.6], seeds=2)
    first, second = some.variants
    blank = tuple(
        replace(t, metrics={"miou": math.nan}, train_seconds=math.nan, peak_memory=math.nan)
        for t in second
    )
    world = Made([first, blank], {t.id: some.known[t.id] for t in first})
    board = world.rank()
    assert [e.trials for e in board.entries] == [first]
    assert board.unknown == 1
    assert "1 variant left out, for which the metric is not known." in leaderboard_caption(board)
    # Rows alone: the interval is over seeds, the rest says that it is not known.
    rows = Made([first], {}).rank()
    entry = rows.entries[0]
    assert (entry.detailed, entry.precision, entry.class_iou) == (False, None, ())
    assert objects_grid(rows) is None
    record = json.loads(json_text(board_records(rows)))[0]
    assert set(record) == set(RANKED)
    assert record["precision"] is record["gpu_hours"] is None


def test_light_numbers_are_those_of_the_measurements(world: Made) -> None:
    uncounted = Measurements(Store("nowhere"), metrics=())
    for trials in (world.variants[0], world.variants[0][:1]):
        mine, other = light(trials, "miou"), uncounted.estimate(trials, "miou")
        assert mine is not None
        assert other is not None
        assert mine.mean == pytest.approx(other.mean)
        assert (mine.low, mine.high) == pytest.approx((other.low, other.high), nan_ok=True)
    assert light(world.variants[0], "none") is None


def test_only_the_best_of_many_variants_are_read() -> None:
    rng = np.random.default_rng(3)
    found = made(qualities=[0.5], seeds=2)
    many = [tuple(trial(i, s, float(rng.uniform(0.2, 0.7))) for s in (0, 1)) for i in range(2000)]
    shared = found.known[found.variants[0][0].id]
    world = Made(many, {t.id: shared for some in many for t in some})
    begun = time.process_time()
    board = world.rank(filters=Filters(top=150))
    assert time.process_time() - begun < 20
    means = {some[0].variant: np.mean([t.metrics["miou"] for t in some]) for some in many}
    best = sorted(means, key=lambda key: -means[key])
    assert len(world.read) == len(set(world.read)) == 2 * DETAILED
    assert {e.trials[0].variant for e in board.entries[:DETAILED]} == set(best[:DETAILED])
    assert [e.trials[0].variant for e in board.entries[DETAILED:]] == best[DETAILED:150]
    assert [e.rank for e in board.entries] == list(range(1, 151))
    later = board.entries[DETAILED]
    assert (later.detailed, later.rank_low, later.group) == (False, 0, "")
    assert board.entries[TESTED].group == "" != board.entries[TESTED - 1].group
    caption = leaderboard_caption(board)
    assert "Images were resampled for the best 100 places alone" in caption
    assert "Places beyond 60 are not tested." in caption
    grid = leaderboard_grid(board)
    assert len(grid.rows) == DETAILED
    assert grid.notes == ("50 more in the CSV and JSON.",)
