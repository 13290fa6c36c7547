"""Specs and published numbers: what they name exists, and every number is the shared file's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from camsweep.reports.spec import TableSpec, paper, read_spec, select, shipped
from camsweep.shards.errors import InputError
from camsweep.sweeps.spec import load_sweep

Rows = dict[str, dict[str, float]]
BACKBONES = {"resnet38": "ResNet-38", "resnet101": "ResNet-101", "ResNet38": "ResNet-38",
             "ResNet50": "ResNet-50", "ResNet101": "ResNet-101"}  # fmt: skip


def numbers_of(table: dict[str, Any]) -> Rows:
    """A table of the shared file with its number columns alone."""
    names = table["columns"]
    return {
        row: {n: v for n, v in zip(names, values, strict=True) if isinstance(v, float)}
        for row, values in table["rows"].items()
    }


def given_of(shared: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((shared / "papers" / f"{name}.yaml").read_text())
    return found


def test_published_numbers_of_cpn_are_those_of_the_shared_file(shared: Path) -> None:
    given, ours = given_of(shared, "cpn"), paper("cpn").artefacts
    for name in ("table1", "table3", "table5"):
        assert ours[name] == numbers_of(given[name]), name
    table2 = [row["miou"] for row in given["table2"]["rows"]]
    assert [row["miou"] for row in ours["table2"].values()] == table2
    for name in ("table4", "fig6", "fig7"):
        points = {str(k): v for k, v in given[name]["points"].items()}
        assert {k: v["miou"] for k, v in ours[name].items()} == points
    contrast = given["strategies"]["superpixel_minus_grid_mean_miou"]
    assert next(iter(ours["strategies"].values()))["miou"] == contrast
    assert len(ours) == 8, "every artefact with numbers is compared above"


def test_published_numbers_of_sipe_are_those_of_the_shared_file(shared: Path) -> None:
    given, ours = given_of(shared, "sipe"), paper("sipe").artefacts
    for name in ("table1", "table2", "table3", "table5"):
        assert ours[name] == numbers_of(given[name]), name
    table4 = [row["miou"] for row in given["table4"]["rows"]]
    assert [row["miou"] for row in ours["table4"].values()] == table4
    fig8 = [given["fig8"]["best_threshold"], given["fig8"]["argmax"]]
    assert [row["miou"] for row in ours["fig8"].values()] == fig8
    assert len(ours) == 6


@pytest.mark.parametrize("name", ["cpn", "sipe", "ppl", "cpmc"])
def test_every_artefact_that_the_shared_file_lists_has_a_spec(shared: Path, name: str) -> None:
    given = given_of(shared, name)
    listed = {key for key in given if key.startswith(("table", "fig", "strategies"))}
    listed |= set(re.findall(r"fig\d", str(given.get("qualitative", ""))))
    mine = {spec.name for spec in shipped().values() if spec.paper == name}
    assert listed <= mine
    assert mine, "a paper without any artefact is in no report"


@pytest.mark.parametrize("name", ["cpn/table5", "sipe/table2", "sipe/table3"])
def test_words_of_the_segmentation_tables_are_those_of_the_shared_file(
    shared: Path, name: str
) -> None:
    folder, _, table = name.partition("/")
    given = given_of(shared, folder)[table]
    spec = shipped()[name]
    assert isinstance(spec, TableSpec)
    assert [row.published for row in spec.rows] == list(given["rows"]), "in the paper's order"
    for row in spec.rows:
        words = dict(zip(given["columns"], given["rows"][row.published], strict=True))
        expected = {k: BACKBONES.get(words[k], words[k]) for k in spec.facts if words[k]}
        assert row.facts == expected, row.name
        assert row.hole == (None if row.label else "a method this version does not have")
    measured = {row.name.split(" (")[0] for row in spec.rows if row.label}
    assert {"SEAM"} < measured <= {"SEAM", "CPN", "SIPE"}, "all methods that this version has"


def test_specs_name_labels_of_their_sweeps_and_numbers_of_their_paper() -> None:
    for spec in shipped().values():
        labels = {label for label, _ in load_sweep(spec.sweep).cells()} if spec.sweep else set()
        published = paper(spec.paper).artefacts.get(spec.name, {})
        items = [*getattr(spec, "rows", ()), *getattr(spec, "points", ())]
        items += [c for c in getattr(spec, "columns", ()) if hasattr(c, "label")]
        used = {item.label for item in items if item.label is not None}
        used |= {label for item in items for label in getattr(item, "labels", {}).values()}
        assert used <= labels, spec.id
        if spec.kind in ("table", "curve"):
            assert used == labels, f"{spec.id}: a cell of the sweep is in no row"
            assert {item.published for item in items if item.published} == set(published)
        if isinstance(spec, TableSpec):
            shown = {column.published or column.name for column in spec.columns}
            assert {name for row in published.values() for name in row} <= shown, spec.id
        for one in getattr(spec, "contrasts", ()):
            for side in (one.first, one.second):
                assert set(side.labels) <= {label for label, _ in load_sweep(side.sweep).cells()}


def test_select_names_the_nearest_artefact() -> None:
    assert [s.id for s in select(["cpn/fig6", "cpn/table4"])] == ["cpn/table4", "cpn/fig6"]
    assert len(select(["cpn"])) == 10
    assert len(select(["sipe"])) == 9
    with pytest.raises(
        InputError, match="unknown artefact 'cpn/tabel4'; did you mean 'cpn/table4'"
    ):
        select(["cpn/tabel4"])


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("cpn/table4", "metric: miou,", "metric: mioo,", "did you mean 'miou'"),
        ("cpn/table4", "metric: miou,", "metric: miou_scale_1.0,", "did you mean 'miou_scale_1'"),
        ("cpn/table4", "metric: miou,", "", "a column needs either metric or hole"),
        ("cpn/table4", "ordered: true", "orderd: true", "orderd"),
        ("cpn/table4", "kind: table", "kind: tabel", "tabel"),
        ("cpn/table4", "sweep: cpn/table4\n", "", "sweep: missing"),
        ("cpn/table4", "reference: p_h = 0.1", "reference: p_h 0.1", "did you mean 'p_h = 0.1'"),
        ("cpn/table2", "cumulative: [L_cls,", "cumulative: [L_class,", "cumulative: no row"),
        ("cpn/table5", "facts: [backbone,", "facts: [backbon,", "no facts column 'backbone'"),
        ("cpn/table5", "hole: *other, facts: {supervision", "facts: {supervision", "needs publish"),
        ("cpn/fig8", "show: segment, label: cpn + crf", "show: segment", "show: segment needs"),
        ("cpn/fig8", "show: segment", "show: hole", "goes with show: hole"),
        ("sipe/table1", "{maps + denseCRF: sipe", "{maps + CRF: sipe", "no column 'maps . CRF'"),
        ("sipe/table1", "label: seam, labels", "hole: none, labels", "only beside label"),
        ("cpn/fig5", "show: map, label: cpn", "show: map", "show: map needs a label"),
    ],
)
def test_a_wrong_spec_is_refused_in_one_line(
    tmp_path: Path, root: Path, name: str, old: str, new: str, message: str
) -> None:
    text = (root / f"reports/specs/{name}.yaml").read_text()
    assert old in text
    path = tmp_path / "wrong.yaml"
    path.write_text(text.replace(old, new))
    with pytest.raises(InputError, match=message) as raised:
        read_spec(path, "cpn")
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)
