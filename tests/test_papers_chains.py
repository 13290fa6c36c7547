"""Artefacts of trials that go on after the maps: every number against the store's own files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import synthetic_store as synthetic
from reports_world import World, counts_of, miou

from camsweep.reports.artefacts import fill
from camsweep.reports.filled import OTHER_DATA, OTHER_SETTINGS, Filled
from camsweep.reports.kinds import PSEUDO, SEGMENTATION, Kind, by_kind, kind_of, told
from camsweep.reports.load import Trial
from camsweep.reports.measure import Measurements
from camsweep.reports.pictures import colour_mask, pictures, png
from camsweep.reports.showing import exhibit_of
from camsweep.reports.spec import PicturesSpec, TableSpec, paper, shipped
from camsweep.reports.text import notes

TABLES = ("cpn/table5", "sipe/table1", "sipe/table2", "sipe/table3")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("chains")
    return World(synthetic.make(folder, sweeps=("cpn/fig5", *synthetic.CHAINS), images=12))


def slow_mean(world: World, sweep: str, label: str) -> float:
    _, counts = counts_of(world.store, sweep, label)
    return float(np.mean([miou(one.sum(axis=0)) for one in counts]))


def cells(spec: TableSpec, filled: Filled) -> list[tuple[str, str, object]]:
    """(row, label, value) of each cell that a trial measures."""
    found = []
    for row, line in zip(spec.rows, filled.lines, strict=True):
        for column, value in zip(spec.columns, line.values, strict=True):
            label = row.label_of(column.name)
            if column.metric is not None and label is not None:
                found.append((f"{row.name} / {column.name}", label, value))
    return found


@pytest.mark.parametrize("name", TABLES)
def test_every_cell_is_the_mean_of_its_own_trials(world: World, name: str) -> None:
    spec = shipped()[name]
    assert isinstance(spec, TableSpec)
    filled = world.fill(name)
    found = cells(spec, filled)
    assert (
        len(found) == {"cpn/table5": 3, "sipe/table1": 6, "sipe/table2": 4, "sipe/table3": 3}[name]
    )
    for where, label, value in found:
        assert value.estimate is not None, where  # type: ignore[attr-defined]
        mean = value.estimate.mean  # type: ignore[attr-defined]
        assert mean == pytest.approx(slow_mean(world, name, label), abs=1e-12), where
        assert value.estimate.images == 12, "intervals are over images too"  # type: ignore[attr-defined]


def test_a_columns_effects_are_against_its_own_cell_of_the_reference(world: World) -> None:
    filled = world.fill("sipe/table1")
    line = next(line for line in filled.lines if line.name == "SIPE")
    for value, end in zip(line.values, ("", " + crf"), strict=True):
        ours, base = (slow_mean(world, "sipe/table1", f"{x}{end}") for x in ("sipe", "baseline"))
        assert value.effect is not None
        assert value.effect.mean == pytest.approx(ours - base, abs=1e-12)
    assert line.values[0].published == 58.6
    assert line.values[1].published == 64.7


def test_a_missing_cell_is_a_hole_with_its_command(tmp_path: Path) -> None:
    gone = frozenset({"sipe + crf"})
    store = synthetic.make(tmp_path, sweeps=("sipe/table1",), images=4, missing=gone)
    filled = World(store).fill("sipe/table1")
    line = next(line for line in filled.lines if line.name == "SIPE")
    assert [value.hole for value in line.values] == [False, True]
    assert line.seeds == 3
    assert filled.holes[0].what == "sipe + crf"
    assert "camsweep run sipe/table1 " in filled.holes[0].command


def voc(folder: Path, name: str, segment_images: int) -> Filled:
    published = paper(name.split("/")[0])
    store = synthetic.make(
        folder, sweeps=(name,), images=6, seeds=(0, 1), profile="voc12", eval_images=1464,
        segment_images=segment_images, classes=published.comparable.classes,
    )  # fmt: skip
    return World(store).fill(name)


@pytest.mark.parametrize("name", ["cpn/table5", "sipe/table2"])
def test_segmentations_are_compared_on_val(tmp_path: Path, name: str) -> None:
    good = voc(tmp_path / "a", name, 1449)
    assert good.comparable
    assert any(value.difference is not None for line in good.lines for value in line.values)
    assert voc(tmp_path / "b", name, 1464).unlike == OTHER_DATA, "the images of train"


def test_maps_and_pseudo_masks_are_compared_on_train(tmp_path: Path) -> None:
    assert voc(tmp_path, "sipe/table1", 1449).comparable


def test_coco_is_compared_with_coco_alone(tmp_path: Path) -> None:
    assert voc(tmp_path / "voc", "sipe/table3", 1449).unlike == OTHER_DATA
    classes = paper("sipe").like("table3").classes
    assert len(classes) == 81
    given = {"classes": classes, "sweeps": ("sipe/table3",), "images": 3, "seeds": (0, 1)}
    for profile, unlike in (("coco14", ""), ("voc12", OTHER_SETTINGS)):
        store = synthetic.make(tmp_path / profile, profile=profile, eval_images=40137, **given)
        assert World(store).fill("sipe/table3").unlike == unlike


def test_the_protocol_tells_settings_of_the_chain(world: World) -> None:
    label = ("cpn/table5", "cpn + crf")
    changed = {"segment_crf": "deeplab", "segment_steps": 300, "segment_backbone": "auto",
               "backbone": "small", "segment_split": "minival"}  # fmt: skip
    trials = tuple(
        replace(t, config={**t.config, **changed}) if label in t.memberships else t
        for t in world.selection.trials
    )
    selection = replace(world.selection, trials=trials)
    filled = fill(shipped()["cpn/table5"], selection, world.measurements, "STORE")
    for words in (
        "denseCRF at the test deeplab here, seamv1 in its released code (cpn)",
        "steps of the segmentation 300 here, 20000 in its released code",
        "backbone of the segmentation small here, resnet38 in the paper",
        "evaluated split minival here, val in the paper",
    ):
        assert any(line.startswith(words) for line in filled.protocol), (words, filled.protocol)


def test_the_caption_says_what_was_measured(world: World) -> None:
    exhibit = exhibit_of(world.fill("sipe/table1"), world.store)
    assert "12 images: maps and pseudo masks on train." in exhibit.caption
    assert ": segmentation on val." in exhibit_of(world.fill("cpn/table5"), world.store).caption
    assert any("TRIAL_ID" in note for note in notes(world.fill("sipe/table2")))


def one(world: World, sweep: str, label: str) -> list[Trial]:
    return [t for t in world.selection.trials if (sweep, label) in t.memberships]


@pytest.mark.parametrize(
    ("cell", "metric", "counted"),
    [
        (("sipe/table1", "sipe + crf"), "miou_pseudo", True),
        (("sipe/table1", "sipe + crf"), "miou_maps", False),
        (("cpn/table5", "cpn"), "miou_segment", True),
        (("cpn/table5", "cpn"), "miou_pseudo", False),
        (("cpn/table5", "cpn"), "miou_refined", False),
        (("cpn/fig5", "cpn"), "miou_refined", True),
    ],
)
def test_counts_are_of_the_last_stage(
    world: World, cell: tuple[str, str], metric: str, counted: bool
) -> None:
    trials = one(world, *cell)
    estimate = Measurements(world.store, resamples=20).estimate(trials, metric)
    assert estimate is not None
    assert (estimate.images > 0) == counted
    rows = float(np.mean([t.metrics[metric] for t in trials]))
    assert estimate.mean == pytest.approx(rows, abs=1e-9)


def test_what_a_trial_measured(world: World) -> None:
    (maps, *_), (pseudo, *_) = (
        one(world, "sipe/table1", "sipe"),
        one(world, "sipe/table1", "sipe + crf"),
    )
    (segment, *_) = one(world, "cpn/table5", "cpn")
    assert kind_of(maps) == Kind("maps", "train")
    assert kind_of(pseudo) == Kind(PSEUDO, "train")
    assert kind_of(segment).text == "segmentation on val"
    assert (
        kind_of(segment, "miou_refined") == kind_of(segment, "miou_maps") == Kind("maps", "train")
    )
    assert kind_of(segment, "precision_pseudo") == Kind(PSEUDO, "train")
    assert (
        kind_of(segment, "miou_segment").what == kind_of(segment, "iou_small").what == SEGMENTATION
    )
    old = replace(maps, config={"map": "raw"})
    assert kind_of(old).text == "maps"
    assert told([maps, old]) == ""
    assert told([segment, pseudo, maps]) == "maps and pseudo masks on train; segmentation on val"


def test_trials_of_a_kind_stay_together(world: World) -> None:
    kinds = by_kind(world.selection)
    assert next(iter(kinds)).text == "segmentation on val", "most trials"
    assert sum(len(part.trials) for part in kinds.values()) == len(world.selection.trials)
    assert len(by_kind(world.selection, "miou_segment")) == 1, "the others do not have it"
    (only,) = by_kind(
        replace(world.selection, trials=tuple(one(world, "cpn/table5", "cpn")))
    ).values()
    assert len(only.trials) == 3
    failed = replace(world.selection.trials[0], done=False)
    (alone,) = by_kind(replace(world.selection, trials=(failed,))).values()
    assert alone.trials == (failed,)
    assert by_kind(replace(world.selection, trials=())) == {}


@pytest.mark.parametrize(("name", "label"), [("cpn/fig8", "cpn + crf"), ("sipe/fig6", "sipe R101")])
def test_segmentations_are_drawn_as_the_ground_truth_is(
    world: World, name: str, label: str
) -> None:
    spec = shipped()[name]
    assert isinstance(spec, PicturesSpec)
    found = pictures(spec, world.selection, world.store)
    assert found is not None
    assert len(found.rows) == spec.images
    assert not any(tile is None for _, tiles in found.rows for tile in tiles)
    from safetensors.numpy import load

    (trial,) = (t for t in one(world, spec.sweep, label) if t.seed == 0)
    arrays = load(world.store.read(f"artefacts/{trial.id}/pictures.safetensors"))
    for index, (_, tiles) in enumerate(found.rows):
        key = f"seg_{index:05d}"
        assert f"{key}/map" not in arrays, "it is of a split that has no maps"
        assert tiles[1] == png(colour_mask(arrays[f"{key}/mask"]))
        assert tiles[2] == png(colour_mask(arrays[f"{key}/segment"]))


def test_pseudo_masks_are_shown_beside_maps(world: World) -> None:
    columns = [
        {"name": "map", "show": "map", "label": "sipe + crf"},
        {"name": "mask", "show": "pseudo", "label": "sipe + crf"},
    ]
    given = shipped()["sipe/fig5"].model_dump() | {"columns": columns}
    spec = PicturesSpec.model_validate(given)
    found = pictures(spec, world.selection, world.store)
    assert found is not None
    assert all(tile is not None for _, tiles in found.rows for tile in tiles)
