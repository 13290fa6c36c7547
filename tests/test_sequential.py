from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from scipy import stats

from camsweep.shards.errors import InputError
from camsweep.sweeps.plan import Plan, make_plan
from camsweep.sweeps.profile import load_profile
from camsweep.sweeps.results import done_ids
from camsweep.sweeps.seeds import SeedRule, decide
from camsweep.sweeps.sequential import caught_up, comparisons, more_seeds
from camsweep.sweeps.spec import Sweep, SweepSpec, load_sweep
from camsweep.sweeps.stopping import read_stopping, write_stopping
from camsweep.sweeps.store import Store
from camsweep.sweeps.tables import trial_table

RULE = SeedRule(min=3, max=8, until=1.0)
ARMS = "{ref: {}, better: {lr: 1}, same: {lr: 2}, noisy: {lr: 3}}"
NOISE = (0.0, 3.0, -3.0, 2.5, -2.5, 2.8, -2.8, 0.1, 0.4, -0.4)
#: mIoU in percent by label and seed.
TRUTH = {
    "ref": lambda s: 40.0 + NOISE[s],
    "better": lambda s: 43.0 + NOISE[s] + 0.1 * (s % 2),
    "same": lambda s: 40.0 + NOISE[s] + 0.1 * (s % 2),
    "noisy": lambda s: 40.0 - NOISE[s],
}


def plan(rule: str = "{min: 3, max: 8, until: 1.0}", **options: Any) -> Plan:
    content = {"title": "x", "base": {"method": "cam"}, "arms": yaml.safe_load(ARMS)}
    spec = SweepSpec.model_validate({**content, "seeds": yaml.safe_load(rule)})
    sweep = Sweep("mine", "mine.yaml", spec)
    return make_plan([sweep], load_profile("embedded"), "digest", **options)


class World:
    """A store's rows, made by running plans without training anything."""

    def __init__(self, fails: set[tuple[str, int]] | None = None) -> None:
        self.fails = fails or set()
        self.rows: dict[str, dict[str, Any]] = {}
        self.ran: list[tuple[str, int]] = []

    def run(self, found: Plan) -> None:
        for trial in found.to_run:
            label, seed = trial.labels[0], trial.config.seed
            self.ran.append((label, seed))
            row = {"id": trial.id, "status": "done", "metric.miou": TRUTH[label](seed) / 100}
            failed = {"id": trial.id, "status": "failed", "cause": "broken"}
            self.rows[trial.id] = failed if (label, seed) in self.fails else row

    @property
    def history(self) -> pa.Table:
        tables = [trial_table(row) for row in self.rows.values()]
        if not tables:
            return trial_table({"id": "", "status": "done"}).slice(0, 0)
        return pa.concat_tables(tables, promote_options="permissive")

    def until_done(self, found: Plan) -> Plan:
        self.run(found)
        for _ in range(20):
            more = more_seeds(found, self.history)
            if more is None:
                return found
            found = more
            self.run(found)
        raise AssertionError("rounds have no end")

    def seeds(self, label: str) -> list[int]:
        return [seed for name, seed in self.ran if name == label]


@pytest.mark.parametrize("count", [3, 4, 7, 40])
def test_the_interval_is_students_on_the_differences(count: int) -> None:
    values = np.random.default_rng(count).normal(0.3, 1.0, count)
    found = decide(list(values), count, RULE)
    low, high = stats.t.interval(0.95, count - 1, values.mean(), stats.sem(values))
    assert found.low == pytest.approx(low)
    assert found.high == pytest.approx(high)


def test_what_the_rule_says() -> None:
    wide, narrow = [-3.0, 3.0, 0.5], [0.1, -0.1, 0.05]
    assert decide(wide, 3, RULE).verdict == "open"
    assert decide(narrow, 3, RULE).verdict == "narrow enough"
    assert decide(narrow, 2, RULE).verdict == "open", "fewer than min"
    assert decide(wide, 8, RULE).verdict == "max seeds"
    assert decide([5.0, 5.1, 5.2], 3, RULE).verdict == "excludes zero"
    assert decide([-5.0, -5.1, -5.2], 3, RULE).verdict == "excludes zero"
    assert decide([0.0, 0.0, 0.0], 3, RULE).verdict == "narrow enough"
    assert decide([1.0], 5, RULE).verdict == "open", "one pair has no interval"
    assert decide([], 8, RULE).verdict == "max seeds"


def test_narrow_is_the_whole_width() -> None:
    values = [0.0, 0.2, -0.2]  # half width: 4.303 * 0.2 / sqrt(3) = 0.497
    assert decide(values, 3, SeedRule(until=0.98)).verdict == "open"
    assert decide(values, 3, SeedRule(until=1.0)).verdict == "narrow enough"


def test_seeds_are_added_where_they_pay() -> None:
    world = World()
    last = world.until_done(plan())
    (found,) = comparisons(last, world.history)
    verdicts = {arm.label: arm.decision.verdict for arm in found.arms}
    assert verdicts == {
        "better": "excludes zero", "same": "narrow enough", "noisy": "max seeds"
    }  # fmt: skip
    assert world.seeds("better") == world.seeds("same") == [0, 1, 2]
    assert world.seeds("noisy") == world.seeds("ref") == list(range(8)), "the same seeds, paired"
    assert len(world.ran) == len(set(world.ran)), "no trial runs twice"


def test_rounds_are_recomputed_from_the_rows() -> None:
    whole = World()
    whole.until_done(plan())
    for cut in range(1, len(whole.ran), 3):
        world = World()
        found, done = plan(), 0
        # Stop after `cut` trials, as a killed driver does.
        while done < cut:
            for trial in list(found.to_run)[: cut - done]:
                row = whole.rows[trial.id]
                world.rows[trial.id] = row
                done += 1
            found = more_seeds(found, world.history) or found
        again = plan(cached=list(world.rows))
        resumed = caught_up(again, world.history)
        world.until_done(resumed)
        assert set(world.rows) == set(whole.rows)
        assert len(world.ran) == len(whole.ran) - cut


def test_a_failed_seed_is_left_out_of_the_pairs_and_ends() -> None:
    world = World({("noisy", seed) for seed in range(2, 10)} | {("same", 1)})
    last = world.until_done(plan())
    arms = {arm.label: arm for arm in comparisons(last, world.history)[0].arms}
    assert arms["noisy"].paired == (0, 1)
    assert arms["noisy"].seeds == tuple(range(8))
    assert arms["noisy"].decision.verdict == "max seeds"
    assert arms["same"].paired == (0, 2)
    assert len(world.ran) == len(set(world.ran)), "a failed trial is tried once a run"


def test_a_failed_reference_ends_too() -> None:
    world = World({("ref", seed) for seed in range(10)})
    last = world.until_done(plan())
    for arm in comparisons(last, world.history)[0].arms:
        assert (arm.paired, arm.decision.verdict) == ((), "max seeds")


def test_a_failure_of_an_earlier_run_is_tried_again_first() -> None:
    world = World({("ref", 1)})
    world.until_done(plan())
    done = [i for i, row in world.rows.items() if row["status"] == "done"]
    found = caught_up(plan(cached=done), world.history)
    assert [(t.labels[0], t.config.seed) for t in found.to_run] == [("ref", 1)]


def test_rows_that_do_not_count_are_no_tried_seeds() -> None:
    """Damaged samples left out, where those don't count, and trainings that a search ended."""
    found = plan("{min: 2, max: 3, until: 1e-6}")
    third = plan("{min: 2, max: 3, until: 1e-6}", seeds=3)
    for spoilt in ({"skipped": ["val/x"]}, {"status": "stopped", "metric.miou": None}):
        world = World()
        world.run(third)
        wanted = next(t for t in third.trials if (t.labels[0], t.config.seed) == ("same", 2))
        world.rows[wanted.id] |= spoilt
        done = done_ids(world.history)
        assert wanted.id not in done
        again = caught_up(replace(found, cached=frozenset(done)), world.history)
        assert [t.id for t in again.to_run] == [wanted.id]
        (compared,) = comparisons(again, world.history)
        (arm,) = [arm for arm in compared.arms if arm.label == "same"]
        assert (arm.seeds, arm.paired, arm.decision.verdict) == ((0, 1, 2), (0, 1), "open")
        assert more_seeds(again, world.history) is None, "the round is not finished"
    world.rows[wanted.id] |= {"status": "done", "metric.miou": 0.4, "skipped": ["val/x"]}
    (compared,) = comparisons(again, world.history, skip_damaged=True)
    (arm,) = [arm for arm in compared.arms if arm.label == "same"]
    assert (arm.paired, arm.decision.verdict) == ((0, 1, 2), "max seeds")


def test_no_round_follows_one_that_is_not_finished() -> None:
    world, found = World(), plan()
    world.run(found)
    del world.rows[found.to_run[-1].id]
    assert more_seeds(found, world.history) is None


def test_a_number_of_seeds_on_the_command_line_replaces_the_rule() -> None:
    world, found = World(), plan(seeds=2)
    assert len(found.trials) == 8
    world.run(found)
    assert more_seeds(found, world.history) is None
    assert comparisons(found, world.history) == []


def test_the_reference_is_the_first_cell_or_the_named_one() -> None:
    found = plan("{min: 3, until: 1, compare: same}")
    assert found.references == {("mine", "same")}
    assert plan().references == {("mine", "ref")}
    with pytest.raises(InputError, match=r"seeds.compare: no cell 'sam'; did you mean 'same'"):
        plan("{min: 3, until: 1, compare: sam}")


def test_later_rounds_keep_first_seed_and_cells_of_other_sweeps() -> None:
    world = World()
    found = plan(first_seed=1)
    also = ("cpn/table1", "baseline")
    found = replace(found, trials=tuple(replace(t, also=(also,)) for t in found.trials))
    world.run(found)
    more = more_seeds(found, world.history)
    assert more is not None
    assert {t.config.seed for t in more.to_run} == {4}
    assert all(t.also == (also,) for t in more.trials if t.config.seed < 4)


def test_how_arms_stopped_is_kept_in_the_store(tmp_path: Path) -> None:
    world, store = World(), Store(str(tmp_path))
    last = world.until_done(plan())
    write_stopping(store, last, world.history)
    write_stopping(store, last, world.history)
    (found,) = read_stopping(store)
    assert (found.sweep, found.profile, found.data_digest) == ("mine", "embedded", "digest")
    assert "3 to 8 seeds an arm" in found.rule
    assert "narrower than 1 points" in found.rule
    assert found.first_seed == 0
    texts = dict(found.arms)
    assert texts["better"].startswith("3 seeds, excludes zero (+3.03 [+2.89, +3.18])")
    assert texts["noisy"].startswith("8 seeds, undecided at the most seeds")
    (path,) = tmp_path.glob("seeds/*.json")
    path.write_text(path.read_text().replace('"format": 1', '"format": 9'))
    with pytest.raises(InputError, match="written by a newer camsweep"):
        read_stopping(store)
    path.write_text("{")
    with pytest.raises(InputError, match="damaged"):
        read_stopping(store)


def test_looking_after_every_seed_triples_the_level() -> None:
    """The number that docs/sweep-files.md gives for what looking every round costs."""
    rng, rule, wrong = np.random.default_rng(0), SeedRule(min=3, max=10, until=1e-9), 0
    for _ in range(1500):
        values = list(rng.normal(0, 1, 10))
        tried = next(n for n in range(3, 11) if decide(values[:n], n, rule).verdict != "open")
        wrong += decide(values[:tried], tried, rule).verdict == "excludes zero"
    assert 0.13 < wrong / 1500 < 0.21


@pytest.mark.parametrize(
    ("seeds", "says"),
    [
        ("0", "seeds: must be a number from 1 to 1000 or a rule"),
        ("yes", "seeds: must be a number"),
        ("2.5", "seeds: must be a number"),
        ("{min: 3}", "seeds: until: .*required"),
        ("{until: 0.5, mim: 3}", "seeds: mim: unknown .*mean 'min'"),
        ("{until: 0.5, min: 5, max: 4}", r"seeds: max must be at least min \(5\), not 4"),
        ("{until: 0.5, min: 1}", "seeds: min: .*2"),
        ("{until: 0}", "seeds: until: .*greater than 0"),
        ("{until: .nan}", "seeds: until: .*finite"),
    ],
)
def test_a_wrong_rule_is_one_line(tmp_path: Path, seeds: str, says: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"title: x\nbase: {{method: cam}}\nseeds: {seeds}")
    with pytest.raises(InputError, match=says) as error:
        load_sweep(str(path))
    assert "\n" not in str(error.value)
