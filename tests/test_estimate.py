from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
import yaml

from camsweep.methods.backbones import backbone_names
from camsweep.methods.base import load_method, make_config
from camsweep.methods.compose import ComposedConfig, build
from camsweep.sweeps.disk import PARAMETERS, disk
from camsweep.sweeps.estimate import cost, estimate, seconds_by_trial
from camsweep.sweeps.plan import Plan, make_plan
from camsweep.sweeps.profile import load_profile
from camsweep.sweeps.resources import Resources
from camsweep.sweeps.spec import Sweep, SweepSpec
from camsweep.sweeps.store import Store
from camsweep.sweeps.tables import trial_table

PROFILE = load_profile("embedded")


def plan(text: str, **options: Any) -> Plan:
    spec = SweepSpec.model_validate({"title": "x", **yaml.safe_load(text)})
    return make_plan([Sweep("x", "x.yaml", spec)], PROFILE, "digest", **{"seeds": 1, **options})


def measured(train: float, rest: float = 0.0, method: str = "cam", **more: Any) -> dict[str, Any]:
    row = {
        "id": f"{method}{train}{rest}{sorted(more.items())}",
        "status": "done",
        "profile": "embedded",
        "method": method,
        "data_digest": "digest",
        "config.backbone": "small",
        "seconds.train": train,
        "seconds.evaluate": rest,
    }
    return row | {key.replace("__", "."): value for key, value in more.items()}


def history(*rows: dict[str, Any]) -> pa.Table:
    tables = [trial_table(row) for row in rows] or [trial_table({}).slice(0, 0)]
    return pa.concat_tables(tables, promote_options="permissive")


CAM = "{base: {method: cam}}"
THREE = "{base: {method: cam}, axes: {lr: [1, 2, 3]}}"


def test_without_history_time_is_unknown() -> None:
    found = cost(plan(CAM), history())
    assert (found.unknown, found.wall, found.trials) == (1, None, {})
    assert estimate(plan(CAM), history(), 1) is None
    assert seconds_by_trial(plan(CAM), history()) is None


def test_one_unknown_method_leaves_the_whole_unknown() -> None:
    both = plan("{arms: {a: {method: cam}, b: {method: seam}}}")
    found = cost(both, history(measured(8)))
    assert (len(found.trials), found.unknown, found.wall) == (1, 1, None)


def test_failures_and_other_profiles_are_no_history() -> None:
    failed = measured(8) | {"status": "failed"}
    elsewhere = measured(8) | {"profile": "voc12"}
    assert cost(plan(CAM), history(failed, elsewhere)).unknown == 1


def test_the_interval_is_quantiles_of_what_was_measured() -> None:
    found = cost(plan(CAM), history(*(measured(float(t)) for t in range(101))))
    (span,) = found.trials.values()
    assert (span.low, span.middle, span.high) == (5.0, 50.0, 95.0)
    assert found.measured == {"cam": 101}


@pytest.mark.parametrize("count", [1, 2])
def test_few_measured_trials_give_half_to_double(count: int) -> None:
    (span,) = cost(plan(CAM), history(*[measured(10.0)] * count)).trials.values()
    assert (span.low, span.middle, span.high) == (5.0, 10.0, 20.0)


def test_training_is_scaled_by_epochs_and_evaluation_by_passes() -> None:
    row = measured(8, 10, config__epochs=4, config__scales=[1.0], config__flip_test=False)
    base = "{base: {method: cam, epochs: 2, scales: [0.5, 1.0], flip_test: true}}"
    (span,) = cost(plan(base), history(row)).trials.values()
    assert span.middle == pytest.approx(4 + 10 * 1.25 * 2)


def test_rows_that_trained_for_no_epoch_tell_nothing_of_training() -> None:
    untrained = [measured(0.01, 2, config__epochs=0, config__lr=n) for n in range(5)]
    trained = measured(8, 4, config__epochs=4)
    base = plan("{base: {method: cam, epochs: 2}}")
    found = cost(base, history(*untrained))
    assert (found.unknown, found.wall) == (1, None), "not a training of 0 seconds"
    (span,) = cost(base, history(*untrained, trained)).trials.values()
    assert span.middle == pytest.approx(4 + 2), "training by the trained, the rest by all"
    none = plan("{base: {method: cam, epochs: 0}}")
    (span,) = cost(none, history(*untrained, trained)).trials.values()
    assert span.middle == pytest.approx(0.01 + 2)
    (span,) = cost(none, history(trained)).trials.values()
    assert span.middle == 4
    far = trained | {"data_digest": "other"}
    (span,) = cost(base, history(*untrained, far)).trials.values()
    assert span.middle == pytest.approx(4 + 2), "training from other data, where it has one"


def test_another_backbone_tells_nothing() -> None:
    other = measured(8, config__backbone="resnet38")
    assert cost(plan(CAM), history(other)).unknown == 1
    (span,) = cost(plan(CAM), history(other, measured(3))).trials.values()
    assert span.middle == 3


def test_the_most_alike_trials_count() -> None:
    grid = measured(100, method="cpn", config__patches="grid")
    near = measured(7, method="cpn", config__patches="superpixel")
    other = near | {"data_digest": "other", "seconds.train": 9.0}
    text = "{arms: {sp: {method: cpn}, grid: {method: cpn, patches: grid}}}"
    spans = cost(plan(text), history(grid, near, other)).trials.values()
    assert [span.middle for span in spans] == [7, 100]
    (span, _) = cost(plan(text), history(grid, other)).trials.values()
    assert span.middle == 9, "other data before other patches"
    (span, _) = cost(plan(text), history(grid)).trials.values()
    assert span.middle == 100


def test_a_training_that_the_store_has_takes_no_time() -> None:
    found = plan(CAM)
    there = measured(8, 2, stage__train=found.trials[0].stages["train"])
    (span,) = cost(found, history(there)).trials.values()
    assert span.middle == 2


def test_wall_time_is_that_of_the_slots() -> None:
    rows = history(*[measured(10.0)] * 5)
    for slots, seconds in ((1, 30), (2, 20), (3, 10), (9, 10)):
        assert estimate(plan(THREE), rows, slots) == seconds
    done = plan(THREE, cached=[t.id for t in plan(THREE).trials])
    assert estimate(done, rows, 2) == 0


def test_hours_are_seconds_times_what_a_trial_takes() -> None:
    rows = history(*[measured(3600.0)] * 3)
    on_cpu = cost(plan(THREE), rows, default=Resources(cpus=2, gpus=0))
    assert (on_cpu.gpu_hours.middle, on_cpu.cpu_hours.middle) == (0, 6)
    on_gpu = cost(plan(THREE), rows, default=Resources(cpus=2, gpus=0.5))
    assert (on_gpu.gpu_hours.middle, on_gpu.cpu_hours.middle) == (1.5, 0)
    text = "{base: {method: cam}, arms: {a: {}, b: {lr: 1, resources: {gpus: 2}}}}"
    mixed = cost(plan(text), rows, default=Resources(cpus=4, gpus=0))
    assert (mixed.gpu_hours.middle, mixed.cpu_hours.middle) == (2, 4)


def test_workers_share_the_seconds_of_a_trial() -> None:
    rows = history(*[measured(10.0, workers=2)] * 3)
    (alone,) = cost(plan(CAM), rows).trials.values()
    (four,) = cost(plan(CAM), rows, default=Resources(workers=4)).trials.values()
    assert (alone.middle, four.middle) == (20, 5)
    hours = cost(plan(CAM), rows, default=Resources(workers=4, gpus=1)).gpu_hours
    assert hours.middle == pytest.approx(20 / 3600)


def test_a_sum_is_low_or_high_together() -> None:
    rows = history(*(measured(float(t)) for t in range(101)))
    wall = cost(plan(THREE), rows).wall
    assert wall is not None
    assert (wall.low, wall.middle, wall.high) == (15, 150, 285)


def make_store(folder: Path, found: Plan, sizes: dict[str, int]) -> pa.Table:
    """Files of the plan's first trial, and its row."""
    store, trial = Store(str(folder)), found.trials[0]
    store.write(f"artefacts/{trial.stages['train']}/weights.safetensors", b"x" * sizes["weights"])
    store.write(f"artefacts/{trial.id}/pictures.safetensors", b"x" * sizes["pictures"])
    store.write(f"images/{trial.id}.arrow", b"x" * sizes["tables"])
    row = measured(1.0, stage__train=trial.stages["train"])
    return history(row | {"id": trial.id})


def test_disk_is_that_of_earlier_trials(tmp_path: Path) -> None:
    found = plan(THREE)
    rows = make_store(tmp_path, found, {"weights": 5000, "pictures": 300, "tables": 20})
    left = plan(THREE, cached=[found.trials[0].id])
    need = disk(left, rows, Store(str(tmp_path)), slots=1)
    assert need.needed == 2 * (5000 + 320) + 2 * 5000, "two trials, and one checkpoint at a time"
    assert need.by_rule == 0
    assert disk(left, rows, Store(str(tmp_path)), slots=2).needed == 2 * (5000 + 320) + 4 * 5000
    assert need.free is not None
    assert need.free > 0


def test_a_shared_training_takes_its_room_once(tmp_path: Path) -> None:
    rows = make_store(tmp_path, plan(CAM), {"weights": 5000, "pictures": 300, "tables": 20})
    text = "{base: {method: cam, lr: 1}, arms: {a: {}, b: {scales: [1.0]}}}"
    assert disk(plan(text), rows, Store(str(tmp_path))).needed == 5000 + 2 * 320 + 2 * 5000


def test_disk_without_history_is_by_parameters(tmp_path: Path) -> None:
    need = disk(plan("{base: {method: cpn}}"), history(), Store(str(tmp_path / "not" / "there")))
    assert need.by_rule == 1
    assert need.needed == 3 * 4 * 76_000 + 12 * 8 * 96**2 + 100_000
    assert need.free is not None


@pytest.mark.parametrize("backbone", backbone_names())
def test_the_rule_knows_every_backbone(backbone: str) -> None:
    config = make_config({"method": "cpn", "backbone": backbone})
    assert isinstance(config, ComposedConfig)
    with torch.device("meta"):
        net = build(load_method("cpn"), config, 21)
    count = sum(p.numel() for p in net.parameters())
    assert count <= PARAMETERS[backbone] <= 1.1 * count


def test_disk_of_object_storage_is_without_end() -> None:
    assert disk(plan(CAM), history(), Store("s3://bucket/x")).free is None


CHAIN = (
    "{base: {method: cam}, arms: {a: {refine: crf}, b: {refine: crf, segment: deeplab_v1}, "
    "c: {refine: affinity}}}"
)
IMAGES = {"train": 100, "val": 10}


def test_disk_counts_what_a_chain_stores_of_every_image(tmp_path: Path) -> None:
    """Maps of a training once, masks of both splits once, and the later networks."""
    store, found = Store(str(tmp_path)), plan(CHAIN)
    bare, whole = disk(found, history(), store), disk(found, history(), store, 1, IMAGES)
    pixels = 96**2
    maps = 110 * (1500 + 2.4 * pixels)
    # Masks: of both splits by the CRF, of val by the walk. Labels on train, predictions on val.
    others = (110 + 10 + 100 + 10) * (1500 + 0.03 * pixels)
    assert whole.needed - bare.needed == pytest.approx(maps + others, abs=2)
    alone = disk(plan("{base: {method: cam}}"), history(), store)
    trials = 2 * (12 * 8 * 96**2 + 100_000)
    assert bare.needed - alone.needed == 2 * 4 * 76_000 + trials, "two networks more"


def test_pictures_that_are_there_take_no_more_room(tmp_path: Path) -> None:
    """And those of another trial tell how large they are."""
    store, found = Store(str(tmp_path)), plan(CHAIN)
    stages = found.trials[0].stages
    before = disk(found, history(), store, 1, IMAGES).needed
    folder = f"artefacts/{stages['localize']}/maps-val"
    store.write(f"{folder}/00000.tar", b"x" * 10)
    half = disk(found, history(), store, 1, IMAGES).needed
    assert before - half == pytest.approx(10, abs=2), "one that was interrupted is no whole one"
    store.write(f"{folder}/facts.json", b"")
    after = disk(found, history(), store, 1, IMAGES).needed
    assert before - after == pytest.approx(10 * (1500 + 2.4 * 96**2), abs=2)
    row = measured(1.0, **{f"stage__{name}": stages[name] for name in ("localize", "train")})
    other = plan("{base: {method: cam, lr: 1, refine: crf}}")
    known = disk(other, history(row), store, 1, IMAGES).needed
    ruled = disk(other, history(), store, 1, IMAGES).needed
    assert ruled - known == pytest.approx(10 * (1500 + 2.4 * 96**2) - 10, abs=2)
