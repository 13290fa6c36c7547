"""What the artefacts look like: verdicts in every format, holes by name, gaps of pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import synthetic_store as synthetic
from reports_world import World

from camsweep.reports.artefacts import available, fill
from camsweep.reports.exhibit import Exhibit
from camsweep.reports.export import TIDY, tidy
from camsweep.reports.gaps import hatched
from camsweep.reports.load import choose, read_trials
from camsweep.reports.showing import exhibit_of
from camsweep.reports.spec import PicturesSpec, paper, shipped
from camsweep.reports.text import verdict_line
from camsweep.sweeps.spec import shipped_names

VOC = {
    "profile": "voc12", "data_name": "voc", "eval_images": 1464, "segment_images": 1449,
    "images": 25,
}  # fmt: skip
EVIL = "<script>alert('x')</script>&|$_%"


@pytest.fixture(scope="module")
def voc(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A store like VOC's with planted distances to the paper, whose numbers have little noise."""
    folder = tmp_path_factory.mktemp("voc")
    gone = frozenset({"s_n=4000", "grid_sizes=4,7", "+cpcr", "cpn + crf"})
    classes = paper("cpn").comparable.classes
    sweeps = tuple(name for name in shipped_names() if name.startswith("cpn/"))
    return World(
        synthetic.make(folder, noise=0.002, missing=gone, classes=classes, sweeps=sweeps, **VOC)
    )


def shown(world: World, name: str) -> Exhibit:
    return exhibit_of(world.fill(name), world.store, world.measurements)


def test_verdicts_stand_in_every_format(voc: World) -> None:
    filled = voc.fill("cpn/table4")
    exhibit = exhibit_of(filled, voc.store, voc.measurements)
    words = [line.values[0].verdict for line in filled.lines]
    texts = [word.text for word in words if word]
    assert len(texts) == 5
    assert any(text.startswith("differs: lower") for text in texts), "ten points below the paper"
    assert sum(exhibit.verdicts.values()) == 5
    (_, grid), (_, records) = exhibit.grids[0], exhibit.records[0]
    column = grid.headers.index("verdict")
    assert [row[column] for row in grid.rows] == texts
    assert grid.headers[:5] == ("", "mIoU", "published", "difference", "verdict")
    table = records.table()
    assert table["verdict"].to_pylist() == [word.word for word in words if word]
    assert table["why"].to_pylist() == [word.why or None for word in words if word]
    assert set(TIDY) == set(tidy(filled)[0]) | {"mean", "low", "high"} | {
        f"effect_{end}" for end in ("mean", "low", "high")
    }
    for text in texts:
        assert f'<span class="tag">{text}</span>' in str(exhibit.body)
    assert f"<li>{verdict_line(filled)}</li>" in str(exhibit.notes)
    assert "What the verdicts mean" in str(exhibit.notes)
    for word in exhibit.verdicts:
        assert any(note.startswith(f"{word}: ") for note in grid.notes)


def test_a_wide_table_has_a_row_of_verdicts(voc: World) -> None:
    filled = voc.fill("cpn/table1")
    (_, grid) = shown(voc, "cpn/table1").grids[0]
    rows = [row for row in grid.rows if row[0].strip() == "verdict"]
    assert len(rows) == 4
    first = [value.verdict.text for value in filled.lines[0].values if value.verdict]
    assert list(rows[0][1:6]) == first


def test_other_data_has_no_rules_of_verdicts(tmp_path: Path) -> None:
    world = World(synthetic.make(tmp_path / "s", sweeps=("cpn/table4",), images=5))
    exhibit = shown(world, "cpn/table4")
    assert dict(exhibit.verdicts) == {"not comparable": 5}
    assert "Verdicts: 5 not comparable (other data)." in str(exhibit.notes)
    assert "What the verdicts mean" not in str(exhibit.notes)
    assert "difference" not in exhibit.grids[0][1].headers


def test_published_numbers_have_the_papers_decimals(voc: World) -> None:
    assert shown(voc, "cpn/table4").grids[0][1].rows[0][2] == "55.52"
    (_, grid) = shown(voc, "cpn/table5").grids[0]
    (row,) = (dict(zip(grid.headers, row, strict=True)) for row in grid.rows if row[0] == "ICD")
    assert row["published"] == "68.0", "the last one, of test"
    assert "67.8" in grid.rows[[r[0] for r in grid.rows].index("ICD")]


def test_the_segmentation_table_is_drawn_with_its_holes(voc: World) -> None:
    filled = voc.fill("cpn/table5")
    exhibit = shown(voc, "cpn/table5")
    assert exhibit.grids[0][1].headers == (
        "", "backbone", "supervision", "val", "published", "difference", "verdict",
        "against SEAM", "test", "published", "seeds",
    )  # fmt: skip
    rows = {row[0]: row for row in exhibit.grids[0][1].rows}
    assert rows["CPN (w/ CRF)"][3:] == (
        "not measured", "67.8", "–", "–", "–", "not measured", "68.5", "–",
    )  # fmt: skip
    assert rows["CPN (w/o CRF)"][-1] == "3"
    assert rows["MCOF"][1:5] == ("ResNet-101", "I+S", "–", "60.3")
    assert rows["SeeNet"][1] == "–", "no backbone is stated"
    run, test, others = filled.holes
    assert run.what == "cpn + crf"
    assert run.command.startswith("camsweep run cpn/table5 --profile voc12")
    assert (test.command, others.command) == ("", ""), "no command is invented"
    assert test.what.startswith("column test (VOC's test masks are not public")
    assert "camsweep results predictions TRIAL_ID --store STORE" in test.what
    assert others.what.endswith("CONTA, MCIS, ICD (a method this version does not have)")
    assert "1,449 val and 1,456 test images" in exhibit.caption
    assert "segmentation on val" in exhibit.caption
    assert "1,464" not in exhibit.caption
    assert sum(exhibit.verdicts.values()) == 2
    facts = [record["facts"] for record in exhibit.records[0][1].rows]
    assert facts[0] == ["backbone: ResNet-101", "supervision: I+S"]


def test_what_has_no_trial_is_not_shown(tmp_path: Path) -> None:
    store = synthetic.make(tmp_path / "s", sweeps=("cpn/table4",), images=4, seeds=(0,))
    selection = choose(read_trials(store), None, None)
    found = {spec.id for spec in shipped().values() if available(spec, selection)}
    assert found == {"cpn/table4"}


def test_pictures_have_named_gaps(voc: World) -> None:
    gap = {"name": "later", "show": "hole", "hole": "not yet"}
    given = shipped()["cpn/fig8"].model_dump()
    spec = PicturesSpec.model_validate(given | {"sweep": "cpn/fig5", "columns": [
        {"name": "CPN", "show": "map", "label": "cpn"}, gap,
    ]})  # fmt: skip
    filled = fill(spec, voc.selection, voc.measurements, "STORE")
    exhibit = exhibit_of(filled, voc.store, voc.measurements)
    body = str(exhibit.body)
    assert ">later (not measured)</div>" in body
    assert 'alt="later (not measured): ' in body
    assert "not yet" in str(exhibit.notes)
    assert "later (not measured)" in exhibit.figures[0].alt
    names = [a.text for a in exhibit.figures[0].figure.layout.annotations]
    assert "later (not measured)" in names
    tile = hatched(48)
    assert tile.shape == (48, 48, 3)
    assert tile.dtype == np.uint8
    assert len(np.unique(tile)) == 2


def test_holes_of_a_curve_are_gaps_with_a_name(voc: World) -> None:
    log = shown(voc, "cpn/fig6")
    figure = log.figures[0].figure
    (line,) = figure.layout.shapes
    assert (line.x0, line.x1) == (4000, 4000)
    (words,) = [a for a in figure.layout.annotations if a.text == "not measured"]
    assert words.x == pytest.approx(np.log10(4000))
    assert 4000 in figure.layout.xaxis.tickvals
    measured = [t for t in figure.data if t.mode == "lines+markers"]
    assert [len(t.x) for t in measured] == [9, 1], "no line is drawn across the hole"
    assert log.figures[0].alt.endswith("Not measured: 4000.")
    assert "Published: 57.43 at 200, 55.79 at 8000." in log.figures[0].alt
    names = shown(voc, "cpn/fig7").figures[0].figure
    assert names.layout.shapes[0].x0 == "{4, 7}"
    assert next(a for a in names.layout.annotations if a.text == "not measured").x == "{4, 7}"


def test_cumulative_tables_have_a_waterfall_with_the_missing_part_named(voc: World) -> None:
    (drawn,) = shown(voc, "cpn/table2").figures
    assert drawn.name == "waterfall"
    assert "+ L_cpcr" in drawn.figure.layout.xaxis.ticktext
    filled = voc.fill("cpn/table2")
    first, last = (filled.lines[i].values[0].estimate for i in (0, -1))
    assert first is not None
    assert last is not None
    assert f"from {100 * first.mean:.1f} %" in drawn.alt
    assert exhibit_of(filled, voc.store).figures == (), "without measurements nothing is paired"


def test_text_of_a_store_stays_text(tmp_path: Path) -> None:
    given = {"failing": frozenset({"p_h=0.3"}), "cause": EVIL, "data_name": EVIL}
    store = synthetic.make(tmp_path / "s", sweeps=("cpn/table4",), images=4, **given)
    exhibit = shown(World(store), "cpn/table4")
    assert "<script" not in str(exhibit.notes)
    assert "&lt;script&gt;" in str(exhibit.notes)
    assert "<script" not in str(exhibit.body)


def test_the_same_store_gives_the_same_exhibit(tmp_path: Path) -> None:
    store = synthetic.make(tmp_path / "s", sweeps=("cpn/fig6", "cpn/table2"), images=6)
    for name in ("cpn/fig6", "cpn/table2"):
        one, two = (shown(World(store), name) for _ in range(2))
        assert (one.body, one.notes, one.grids) == (two.body, two.notes, two.grids)
        figures = zip(one.figures, two.figures, strict=True)
        assert all(a.figure.to_json() == b.figure.to_json() for a, b in figures)
