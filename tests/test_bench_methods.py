"""The benchmarks of the methods: ours and the peer compute the same, and tables have their fields.

Nothing here asserts a time.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from camsweep.platform import bench
from camsweep.platform.bench import (
    crf,
    inference,
    prototypes,
    start,
    step,
    store,
    suite,
    table,
    thresholds,
)
from camsweep.shards.errors import InputError


def check(found: table.Result, rounds: int) -> None:
    """Every value is positive, every ratio has all rounds and a goal that can be read."""
    assert found.rounds
    for values in found.rounds.values():
        assert len(values) == rounds
        assert min(values) > 0
    assert set(found.goals) <= set(found.rounds)
    content = table.as_json(found)
    for ratio in content["ratios"]:
        assert len(ratio["rounds"]) == rounds
        assert {"of", "to", "median", "low", "high", "goal", "met"} <= set(ratio)
    assert content["notes"]


# --- thresholds ---


def test_both_ways_count_the_same_at_every_level_that_both_have(tmp_path: Path) -> None:
    thresholds.write_maps(tmp_path, 3)
    ours, theirs = thresholds.once(tmp_path), thresholds.each(tmp_path)
    assert ours.shape == (10, 21, 3)
    assert ours.sum() > 0
    assert np.array_equal(ours, theirs)
    _, mask = thresholds.read_maps(tmp_path / "0000.npz")
    assert (mask == thresholds.IGNORE).any()


def test_the_thresholds_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "IMAGES", 2)
    found = bench.measure("thresholds", None, 0.0, 1)
    check(found, 1)
    assert found.ratios[0].goal == "at least 100"


def test_other_counts_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def counted(how: str, folder: str, counts: dict[str, list[object]]) -> float:
        counts.setdefault(how, []).append([1 if how == "once" else 2])
        return 1.0

    monkeypatch.setattr(thresholds, "IMAGES", 1)
    monkeypatch.setattr(thresholds, "_counted", counted)
    with pytest.raises(InputError, match="count differently"):
        bench.measure("thresholds", None, 0.0, 1)


# --- prototypes ---


def test_the_prototypes_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prototypes, "SIZES", (2, 5, 12, 6))
    features, seeds = prototypes.drawn()
    ours, theirs = prototypes.products(features, seeds), prototypes.broadcast(features, seeds)
    assert ours.shape == (2, 5, 6, 6)
    assert (ours > 0).any()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=prototypes.SAME)
    found = bench.measure("prototypes", None, 0.0, 2)
    check(found, 2)
    assert found.ratios[0].goal == "at least 8"


def test_prototypes_that_differ_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prototypes, "SIZES", (1, 3, 4, 4))
    monkeypatch.setattr(prototypes, "broadcast", lambda *given: prototypes.products(*given) + 1)
    with pytest.raises(InputError, match="differ by 1"):
        bench.measure("prototypes", None, 0.0, 1)


# --- the CRF ---


def test_the_crf_benchmark_at_another_size_has_no_recorded_peer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(crf, "SIZE", (20, 30))
    monkeypatch.setattr(crf, "peer_module", lambda: None)
    found = bench.measure("crf", None, 0.0, 1)
    check(found, 1)
    assert len(found.rounds) == len(crf.CASES)
    assert not found.ratios
    assert "nothing is recorded for this size" in found.notes[-1]


def test_recorded_times_of_the_peer_are_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crf, "CASES", {("cpn", 3): 190.0})
    monkeypatch.setattr(crf, "peer_module", lambda: None)
    monkeypatch.setattr(crf, "dense_crf", lambda *given: None)
    found = bench.measure("crf", None, 0.0, 2)
    check(found, 2)
    assert found.rounds["pydensecrf, cpn settings, 3 labels"] == (190.0, 190.0)
    assert "recorded times, of another machine and day" in found.notes[-1]
    assert found.ratios[0].goal == "at most 1.5"


@pytest.mark.parametrize("name", ["cpn", "seam", "label"])
def test_pydensecrf_gives_the_same_where_it_is_installed(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    pytest.importorskip("pydensecrf.densecrf")
    monkeypatch.setattr(crf, "SIZE", (40, 50))
    image, unary = crf.picture(), crf.unary_of(3)
    settings = crf.SETTINGS[name]
    ours, theirs = crf.dense_crf(image, unary, settings), crf.by_peer(image, unary, settings)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3)


# --- a training step ---


SMALL = step.Case("small", 32, 2, 6)


def test_the_plain_step_has_the_same_loss_and_gradient() -> None:
    given = step.Given(SMALL, "cpu")
    gradients = []
    for precision in (None, "float32"):
        net = given.net(ours=precision is not None).eval()
        given.loss(net, precision).backward()
        gradients.append({n: p.grad for n, p in net.named_parameters() if p.grad is not None})
    plain, ours = gradients
    assert plain.keys() == ours.keys()
    assert len(plain) > 5
    for name, gradient in plain.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(ours[name], gradient, rtol=1e-3, atol=1e-4 * scale)


def test_the_step_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(step, "has_bf16", lambda: False)
    monkeypatch.setattr(step, "ON_CPU", (SMALL,))
    found = bench.measure("step", None, 0.0, 2)
    check(found, 2)
    assert [ratio.goal for ratio in found.ratios] == ["at least 1.3"]
    assert "bf16 left out" in found.notes[-1]


def test_losses_that_differ_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "SAME", {"float32": -1.0})
    with pytest.raises(InputError, match=r"the losses differ by .* in float32"):
        step.Given(SMALL, "cpu").compare(["float32"])


# --- inference ---


def test_the_inference_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "CASES", {"tiny": ("small", (24, 32), 3, 4, 1)})
    found = bench.measure("inference", None, 0.0, 2)
    check(found, 2)
    assert set(found.rounds) == {"tiny: together", "tiny: one by one"}
    assert found.ratios[0].goal == "at least 2"


def test_images_together_have_the_maps_of_each_alone() -> None:
    made = inference.Made("small", (30, 24), 3, 4)
    assert made.gap() <= inference.SAME
    assert [maps.shape for maps in made.together()] == [(2, 30, 24)] * 3


# --- the store and the plan ---


def test_the_store_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    monkeypatch.setattr(store, "TRIALS", 12)
    found = bench.measure("store", None, 0.0, 2)
    check(found, 2)
    assert [ratio.goal for ratio in found.ratios] == ["at least 10"] * 4


def test_both_reports_are_equal_and_others_are_an_error(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    rows = store.made_rows(11)
    store.write_ours(tmp_path / "ours", rows)
    store.write_json(tmp_path / "theirs", rows)
    ours = store.report_ours(store.load_trials(store.Store(str(tmp_path / "ours"))))
    theirs = store.report_pandas(store.read_json(tmp_path / "theirs"))
    store._compare(ours, theirs)
    values = [row["metric.miou"] for row in rows[:5]]
    assert ours["s_n=2"] == pytest.approx((np.mean(values), np.std(values)))
    with pytest.raises(InputError, match=r"differ by 1\.0e\+00"):
        store._compare(ours, {name: (mean + 1, spread) for name, (mean, spread) in ours.items()})
    with pytest.raises(InputError, match="different variants"):
        store._compare(ours, {})


def test_the_suite_benchmark() -> None:
    found = bench.measure("suite", None, 0.0, 2)
    check(found, 2)
    plan = suite.planned()
    alone, shared = suite.epochs(plan)
    assert alone > shared > 0
    assert sum(len(trial.labels) for trial in plan.trials) == plan.requested


# --- the command line ---


def test_the_start_benchmark() -> None:
    found = bench.measure("start", None, 0.0, 1)
    check(found, 1)
    assert set(found.goals.values()) == {"under 0.5"}


def test_the_command_line_loads_nothing_heavy_before_it_must() -> None:
    assert start.imported(start.HEAVY) == []
    assert start.imported(("yaml", "torch"), "yaml") == ["yaml"]
