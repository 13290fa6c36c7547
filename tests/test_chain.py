"""The stages after the maps: what they share and cost, and that they go on where they were."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ranks
import torch
from PIL import Image
from ranks import Ranks
from tiny import build_data, write_profile, write_sweep

from camsweep.platform.chain import making, maps
from camsweep.platform.chain.exporting import export_predictions
from camsweep.platform.chain.links import Links, Split, StoredMaps
from camsweep.platform.chain.quality import image_counts
from camsweep.platform.chain.sidesets import SideSet, Target
from camsweep.platform.cli.main import main
from camsweep.platform.context import Progress, RunContext
from camsweep.platform.prepare import Request, prepare
from camsweep.platform.stages import WEIGHTS, read_tensors
from camsweep.platform.trial import run_trial
from camsweep.shards.decoding import decode_mask
from camsweep.sweeps.plan import PlannedTrial
from camsweep.sweeps.results import artefact_name, load_curves, load_epochs, load_images
from camsweep.sweeps.store import Store

SWEEP = """
title: chain
base:
  method: cam
  mask_background: constant
  mask_constant: 0.5
  affinity_epochs: 1
  affinity_batch: 8
  affinity_crop: 96
  segment_steps: 4
  segment_batch: 8
  segment_crop: 96
arms:
  maps: {}
  argmax: {refine: crf, crf: none}
  crf: {refine: crf}
  scores: {refine: crf, crf: cpn, crf_unary: scores}
  affinity: {refine: affinity}
  irn: {refine: irn, segment: deeplab_v1}
  deeplab_v2: {refine: crf, segment: deeplab_v2}
  deeplab_v2 + crf: {refine: crf, segment: deeplab_v2, segment_crf: deeplab}
seeds: 1
"""


@dataclass
class World:
    trials: dict[str, PlannedTrial]
    context: RunContext
    folder: Path

    def request(self, store: str) -> Request:
        words = [str(self.folder / "mine.yaml")], str(self.folder / "tiny.yaml")
        return Request(*words, str(self.folder / "data"), Store(str(self.folder / store)))

    def at(self, store: str, **changes: Any) -> RunContext:
        return replace(self.context, store=Store(str(self.folder / store)), **changes)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("chain")
    build_data(folder, 16, 14)
    write_profile(folder, 1)
    write_sweep(folder, SWEEP)
    made = World({}, RunContext(Store(str(folder / "none")), "", ""), folder)
    prepared = prepare(made.request("none"))
    made.trials = {t.labels[0]: t for t in prepared.plan.trials}
    made.context = prepared.context
    return made


@pytest.fixture(scope="module")
def rows(world: World) -> dict[str, dict[str, Any]]:
    """Every arm run once, in one store."""
    context = world.at("store")
    return {label: run_trial(trial, context, unheard) for label, trial in world.trials.items()}


def unheard(progress: Progress) -> None:
    """Nobody listens."""


def test_stages_of_a_trial_are_those_it_has(world: World) -> None:
    stages = {label: list(trial.stages) for label, trial in world.trials.items()}
    assert stages["maps"] == ["pretrain", "train", "localize", "evaluate"]
    assert stages["crf"] == ["pretrain", "train", "localize", "refine", "evaluate"]
    assert stages["affinity"] == [*stages["crf"][:3], "affinity", "refine", "evaluate"]
    assert stages["irn"] == [*stages["crf"][:3], "affinity", "refine", "segment", "evaluate"]


def test_a_late_setting_changes_only_late_stages(world: World) -> None:
    crf, scores = world.trials["crf"].stages, world.trials["scores"].stages
    same = {stage for stage in crf if crf[stage] == scores[stage]}
    assert same == {"pretrain", "train", "localize"}
    plain, tested = (world.trials[a].stages for a in ("deeplab_v2", "deeplab_v2 + crf"))
    assert {s for s in plain if plain[s] == tested[s]} == set(plain) - {"evaluate"}


def test_the_plan_tells_what_a_change_of_the_crf_costs(
    world: World, rows: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = world.folder
    words = ["plan", str(folder / "mine.yaml"), "--profile", str(folder / "tiny.yaml")]
    words += ["--data", str(folder / "data"), "--store", str(folder / "store")]
    other = folder / "other.yaml"
    base = "{method: cam, mask_background: constant, mask_constant: 0.5, refine: crf, crf: seam}"
    other.write_text(f"title: x\nbase: {base}\nseeds: 1\n")
    words[1] = str(other)
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["to_run"] == 1
    counts, there = found["stage_counts"], found["stages_cached"]
    to_do = {stage for stage in counts if counts[stage] > there[stage]}
    assert to_do == {"refine", "evaluate"}
    assert found["estimate_seconds"] != "unknown"
    assert main(words) == 0
    assert (
        "1 train (1 there), 1 localize (1 there), 1 refine, 1 evaluate" in capsys.readouterr().out
    )


def test_headline_is_the_last_stages(world: World, rows: dict[str, dict[str, Any]]) -> None:
    for label, row in rows.items():
        if label == "maps":
            assert "metric.miou_pseudo" not in row
            continue
        assert row["metric.miou_maps"] == pytest.approx(rows["maps"]["metric.miou"])
        last = "segment" if "segment" in world.trials[label].stages else "pseudo"
        assert row["metric.miou"] == row[f"metric.miou_{last}"]
        assert set(world.trials[label].stages) >= {
            name.removeprefix("seconds.") for name in row if name.startswith("seconds.")
        }


def test_masks_without_crf_are_the_argmax_of_the_stored_maps(
    world: World, rows: dict[str, dict[str, Any]]
) -> None:
    links = Links(world.trials["argmax"], world.at("store"))
    split = Split(links, "val")
    maps, masks = StoredMaps(split), SideSet(links.target("refine", "masks", "val"), split.reader)
    total = np.zeros((7, 3), np.int64)
    for index in range(len(split.reader)):
        found = maps[index]
        scores = torch.cat([torch.full((1, 96, 96), 0.5), found.values])
        wanted = np.array([0, *found.classes], np.uint8)[scores.argmax(0).numpy()]
        mask = decode_mask(masks.read(index), "")
        assert np.array_equal(mask, wanted)
        total += image_counts(mask, split.mask(index), 7)
    union = total.sum(1)
    miou = np.mean([tp / u for (tp, _, _), u in zip(total, union, strict=True) if u])
    assert rows["argmax"]["metric.miou_pseudo"] == pytest.approx(miou)
    facts = masks.target.facts()
    assert facts is not None
    assert facts.quality["miou"] == pytest.approx(miou)


def test_tables_are_those_of_the_last_stage(world: World, rows: dict[str, dict[str, Any]]) -> None:
    store = world.at("store").store
    for label in ("crf", "irn"):
        trial = world.trials[label]
        images = load_images(store, [trial.id]).to_pandas()
        assert set(images["image"]) <= set(
            Split(Links(trial, world.at("store")), "val").reader.keys
        )
        total = images.groupby("class")[["tp", "fp", "fn"]].sum()
        miou = (total["tp"] / total.sum(axis=1)).mean()
        assert rows[label]["metric.miou"] == pytest.approx(miou)
        curves = load_curves(store, [trial.id]).drop(["trial_id"])
        plain = load_curves(store, [world.trials["maps"].id]).drop(["trial_id"])
        assert curves.equals(plain)


def test_later_epochs_follow_under_their_stage(world: World, rows: dict[str, Any]) -> None:
    found = load_epochs(world.at("store").store, [world.trials["irn"].id]).to_pylist()
    assert [row["epoch"] for row in found] == list(range(len(found)))
    own = [{n for n, v in row.items() if n.startswith("loss.") and v is not None} for row in found]
    assert "loss.loss" in own[0]
    assert "loss.affinity.loss" in own[1]
    assert all(name.startswith("loss.segment.") for name in own[2])


def test_pictures_show_masks_and_segmentations(world: World, rows: dict[str, Any]) -> None:
    store = world.at("store").store
    name = artefact_name(world.trials["irn"].id, "pictures.safetensors")
    found = read_tensors(store, name)
    key = Split(Links(world.trials["irn"], world.at("store")), "val").reader.keys[0]
    for what in ("image", "mask", "map", "raw", "pseudo", "segment"):
        assert f"{key}/{what}" in found
    assert found[f"{key}/segment"].shape == found[f"{key}/mask"].shape


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four images a shard, of two that run through the network together."""
    monkeypatch.setattr("camsweep.platform.chain.sidesets.SHARD", 4)
    monkeypatch.setattr("camsweep.methods.inference.PIXELS_A_BATCH", 2 * 96 * 96)


def assert_quality(row: dict[str, Any], whole: dict[str, Any]) -> None:
    """Of an interrupted trial: that of the one that was not."""
    for name in ("miou", "miou_maps", "miou_pseudo"):
        assert row[f"metric.{name}"] == pytest.approx(whole[f"metric.{name}"], abs=1e-4)


@pytest.mark.usefixtures("small_shards")
def test_an_interrupted_stage_goes_on_at_its_shard(
    world: World, rows: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    context, trial = world.at("interrupted"), world.trials["scores"]
    true_mask, asked = making.pseudo_mask, []

    def broken(*args: Any) -> Any:
        asked.append(1)
        if len(asked) == 11:
            raise KeyboardInterrupt
        return true_mask(*args)

    monkeypatch.setattr(making, "pseudo_mask", broken)
    with pytest.raises(KeyboardInterrupt):
        run_trial(trial, context, unheard)
    assert not context.store.exists(f"trials/{trial.id}.arrow")
    row = run_trial(trial, context, unheard)
    assert len(asked) < 11 + 14, "whole shards were made again"
    assert_quality(row, rows["scores"])


@pytest.mark.usefixtures("small_shards")
def test_maps_to_learn_from_go_on_at_their_shard(
    world: World, rows: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the measured split are made again: they are counted on the way."""
    context, trial = world.at("half mapped"), world.trials["affinity"]
    true_write, asked = maps.write_shard, []

    def broken(target: Target, number: int, pictures: Any) -> None:
        asked.append((target.split, number))
        if len(asked) == 7:
            raise KeyboardInterrupt
        true_write(target, number, pictures)

    monkeypatch.setattr(maps, "write_shard", broken)
    with pytest.raises(KeyboardInterrupt):
        run_trial(trial, context, unheard)
    val, train = ([(split, number) for number in range(4)] for split in ("val", "train"))
    assert asked == [*val, *train[:3]]
    row = run_trial(trial, context, unheard)
    assert asked[7:] == train[2:], "whole shards were made again"
    assert_quality(row, rows["affinity"])


def test_what_is_there_is_not_made_again(
    world: World, rows: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: Any) -> Any:
        raise AssertionError("made again")

    for name in (
        "camsweep.platform.learning.train",
        "camsweep.platform.chain.maps.maps_share",
        "camsweep.platform.chain.making._share",
    ):
        monkeypatch.setattr(name, never)
    again = run_trial(world.trials["irn"], world.at("store"), unheard)
    before = rows["irn"]
    timed = ("started", "finished", "seconds.", "images_per_second", "peak_memory")
    for name, value in before.items():
        if not name.startswith(timed):
            assert again[name] == value, name


def test_exported_predictions_are_the_measured_ones(
    world: World, rows: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trial = world.trials["deeplab_v2"]
    words = ["results", "predictions", trial.id[:16], "--data", str(world.folder / "data")]
    words += ["--store", str(world.folder / "store"), "--split", "val", "--out", str(tmp_path)]
    assert main(words) == 0
    folder = tmp_path / "results/VOC2012/Segmentation/comp6_val_cls"
    split = Split(Links(trial, world.at("store")), "val")
    stored = SideSet(split.links.target("evaluate", "predictions", "val"), split.reader)
    assert sorted(p.name for p in folder.iterdir()) == sorted(f"{k}.png" for k in split.reader.keys)
    for index, key in enumerate(split.reader.keys):
        assert (folder / f"{key}.png").read_bytes() == stored.read(index)
    assert Image.open(folder / f"{split.reader.keys[0]}.png").mode == "P"

    # Never one trial's pictures under another's name, nor pictures that nothing is known of.
    first = (folder / f"{split.reader.keys[0]}.png").read_bytes()
    words[2] = world.trials["irn"].id
    assert main(words) == 2
    assert "predictions of another trial" in capsys.readouterr().err
    assert (folder / f"{split.reader.keys[0]}.png").read_bytes() == first
    (tmp_path / "comp6_val_cls.json").unlink()
    assert main(words) == 2
    assert "tells of what trial" in capsys.readouterr().err

    words[2] = world.trials["crf"].id
    assert main(words) == 2
    assert "has no segmentation network" in capsys.readouterr().err
    words[2] = "zz"
    assert main(words) == 2
    assert "no finished trial has this id" in capsys.readouterr().err


def test_damaged_images_have_no_masks_and_are_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from camsweep.shards.errors import DamagedSample
    from camsweep.shards.reader import SplitReader

    true_image = SplitReader.image

    def image(reader: SplitReader, index: int) -> Any:
        if (reader.split, index) in (("train", 5), ("val", 2)):
            raise DamagedSample(f"{reader.where(index)}: damaged")
        return true_image(reader, index)

    monkeypatch.setattr(SplitReader, "image", image)
    context = world.at("damaged", skip_damaged=True)
    trial = world.trials["deeplab_v2"]
    row = run_trial(trial, context, unheard)
    split = Split(Links(trial, context), "val")
    train = Split(Links(trial, context), "train")
    keys = [f"train/{train.reader.keys[5]}", f"val/{split.reader.keys[2]}"]
    assert sorted(row["skipped"]) == sorted(keys)
    assert row["eval_images"] == 13
    for stage in ("localize", "refine", "segment"):
        assert not context.store.names(f"artefacts/{trial.stages[stage]}")
    assert context.store.exists(artefact_name(f"{trial.stages['segment']}-skipping", WEIGHTS))
    monkeypatch.undo()
    # What a server asks for is made by the network that the row tells of.
    folder = export_predictions(context.store, trial.id, context.data, "val", world.folder / "out")
    assert len(list(folder.glob("*.png"))) == 14


@pytest.fixture(scope="module")
def two() -> Iterator[Ranks]:
    pair = Ranks(2)
    yield pair
    pair.close()


@pytest.mark.parametrize("label", ["affinity", "deeplab_v2"])
def test_two_workers_make_what_one_makes(
    label: str, world: World, rows: dict[str, Any], two: Ranks
) -> None:
    found = two.do(ranks.run_on_team, world.trials[label], world.at(f"two {label}"))[0]
    assert isinstance(found, tuple), repr(found)
    row, said = found
    assert row["workers"] == 2
    stage = "affinity" if label == "affinity" else "segment"
    assert (row[f"workers.{stage}"], row[f"accumulation.{stage}"]) == (2, 1)
    for name, value in rows[label].items():
        if name.startswith("metric."):
            assert row[name] == pytest.approx(value, abs=2e-3), name
    assert {p.phase for p in said} >= {"localize", "refine", "evaluate"}
