"""When measured numbers may stand beside published ones, and whether their shape agrees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import synthetic_store as synthetic
from reports_world import World

from camsweep.reports.spec import paper
from camsweep.reports.text import against_paper, grid, judged
from camsweep.shards.sources.voc import VOC_CLASSES


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("store")
    gone, bad = frozenset({"s_n=4000"}), frozenset({"p_h=0.3"})
    return World(synthetic.make(folder, missing=gone, failing=bad))


def test_other_data_is_never_compared_with_the_paper(world: World, tmp_path: Path) -> None:
    for name in ("cpn/table1", "cpn/table4", "cpn/fig6"):
        filled = world.fill(name)
        assert not filled.comparable
        for line in filled.lines:
            for value in line.values:
                assert value.difference is None
                assert against_paper(value) == "–"
                if value.estimate is not None and value.published is not None:
                    assert judged(value) == "not comparable: other data"
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
    assert judged(filled.lines[0].values[0]) == f"not comparable: {reason}"
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
