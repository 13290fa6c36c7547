"""A user's own sweeps: curve, heat map, table; published numbers; old and odd stores."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from planted_store import own_sweep, plant
from test_reports_effects import exhibits, records

from camsweep.reports.own.figures import SCALE, _ink, is_log
from camsweep.reports.report import assemble
from camsweep.shards.errors import InputError
from camsweep.sweeps.store import Store

BASE = {"method": "cpn"}
LINE = {"base": BASE, "axes": {"s_n": [5, 20, 50, 200, 500]}}
TWO = {"base": BASE, "axes": {"s_n": [20, 50], "p_h": [0.1, 0.3, 0.5]}}


def by_size(cell: Any) -> float:
    return {5: 0.40, 20: 0.42, 50: 0.43, 200: 0.45, 500: 0.44}[cell.settings["s_n"]]


def test_one_numeric_setting_is_a_curve_with_a_gap(tmp_path: Path) -> None:
    store = plant(tmp_path, own_sweep(LINE), by_size, missing={"s_n=50"})
    shown = exhibits(store)["own/mine"]
    assert (shown.page, shown.title, len(shown.commands)) == ("own", "Mine", 1)
    figure = shown.figures[0].figure
    lines = [trace for trace in figure.data if trace.mode == "lines+markers"]
    assert [list(trace.x) for trace in lines] == [[5, 20], [200, 500]]
    means = [value for trace in lines for value in trace.y]
    assert means == pytest.approx([40, 42, 45, 44], abs=0.8)
    assert means == [r["mean"] for r in records(shown) if r["mean"] is not None]
    assert figure.layout.xaxis.type == "log"
    assert "not measured" in [a.text for a in figure.layout.annotations]
    assert "highest at s_n=200" in shown.figures[0].alt
    notes = dict(shown.grids)[""].notes
    command = "camsweep run mine.yaml --profile embedded --store results --seeds 3"
    assert f"Not measured: s_n=50. Fill it with: {command}" in notes
    row = records(shown)[3]
    assert row["against"] == "s_n=5"
    assert row["effect_mean"] == pytest.approx(5.0, abs=0.5)
    assert row["verdict"] == "effect"


def test_logarithms_are_for_axes_of_orders_of_magnitude() -> None:
    assert is_log([5, 500])
    assert not is_log([0.1, 0.5])
    assert not is_log([0, 1000])
    assert not is_log([-5, 500])


def test_two_settings_are_a_heat_map_and_a_table(tmp_path: Path) -> None:
    def quality(cell: Any) -> float:
        return 0.40 + 0.1 * cell.settings["p_h"] + 0.0002 * cell.settings["s_n"]

    store = plant(tmp_path, own_sweep(TWO), quality, failing={"s_n=50, p_h=0.3"})
    shown = exhibits(store)["own/mine"]
    (heat,) = shown.figures[0].figure.data
    assert heat.z[1][1] is None
    assert [heat.z[i][j] for i, j in ((0, 0), (0, 2), (1, 0))] == pytest.approx(
        [41.4, 45.4, 42.0], abs=0.8
    )
    assert (len(shown.commands), shown.failed) == (1, 3)
    assert "out of &lt;memory&gt;" in str(shown.notes)
    assert len(records(shown)) == 6
    assert "highest at s_n=50, p_h=0.5" in shown.figures[0].alt


def test_numbers_stand_out_from_their_cells() -> None:
    """Contrast of at least 4.5 to 1 all along the scale."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        return sum(w * v for w, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    for place, colour in SCALE:
        lights = sorted([luminance(_ink(place, 0.0, 1.0)), luminance(colour)])
        assert (lights[1] + 0.05) / (lights[0] + 0.05) >= 4.5
    assert {_ink(x / 50, 0.0, 1.0) for x in range(51)} == {"#000000", "#ffffff"}


@pytest.mark.parametrize(
    "content",
    [
        {"base": BASE, "arms": {"a": {"p_h": 0.1}, "b": {"p_h": 0.5}}},
        {"base": BASE, "axes": {"patches": ["grid", "superpixel"]}},
        {"base": BASE, "axes": {"tcp": [True, False]}},
        {"base": BASE, "arms": {"a": {}, "b": {"lr": 0.1}}, "axes": {"s_n": [5, 50]}},
        {"base": BASE, "axes": {"s_n": [5, 50], "p_h": [0.1, 0.5], "lr": [0.1, 0.2]}},
        {"base": BASE, "axes": {"s_n": [5]}},
        {"base": BASE},
    ],
)
def test_what_no_figure_shows_is_a_table(tmp_path: Path, content: dict[str, Any]) -> None:
    sweep = own_sweep(content)
    shown = exhibits(plant(tmp_path, sweep, lambda c: 0.42, seeds=(0, 1)))["own/mine"]
    assert not shown.figures
    labels = [label for label, _ in sweep.cells()]
    assert [row["row"] for row in records(shown)] == labels
    grid = dict(shown.grids)[""]
    assert grid.headers == ("", "mIoU", f"against {labels[0]}", "seeds")


def test_noise_is_called_noise(tmp_path: Path) -> None:
    arms = {"base": BASE, "arms": {"a": {}, "b": {"lr": 0.1}, "c": {"lr": 0.2}}}
    sweep = own_sweep({**arms, "seeds": {"min": 3, "max": 5, "until": 0.5, "compare": "b"}})
    store = plant(tmp_path, sweep, lambda c: 0.45 if c.arm == "c" else 0.42, noise=0.01)
    rows = {row["row"]: row for row in records(exhibits(store)["own/mine"])}
    assert rows["b"]["against"] is None
    assert (rows["a"]["verdict"], rows["c"]["verdict"]) == ("noise", "effect")


def test_published_numbers_stand_beside_where_labels_match(tmp_path: Path) -> None:
    store = plant(tmp_path, own_sweep({**LINE, "reference": "cpn/fig6"}), by_size)
    shown = exhibits(store)["own/mine"]
    rows = {row["row"]: row for row in records(shown)}
    assert rows["s_n=200"]["published"] == 57.43
    assert rows["s_n=5"].get("published") is None
    # Four classes are not VOC's: the level can't be compared, nor stand on one axis.
    assert rows["s_n=200"]["difference"] is None
    assert "other data" in rows["s_n=200"]["against_paper"]
    assert not any("published" in (t.name or "") for t in shown.figures[0].figure.data)
    assert "57.43" in str(shown.body)


@pytest.mark.parametrize("reference", ["cpn/nothing", "cpn/table4", "cpn/fig5", "<script>"])
def test_a_reference_without_numbers_is_said(tmp_path: Path, reference: str) -> None:
    store = plant(tmp_path, own_sweep({**LINE, "reference": reference}), by_size, seeds=(0, 1))
    shown = exhibits(store)["own/mine"]
    assert "published" not in records(shown)[0]
    assert reference in " ".join(dict(shown.grids)[""].notes)
    assert "<script" not in str(shown.notes)


def test_an_edited_file_keeps_its_trials_apart(tmp_path: Path) -> None:
    """Same name, same labels, another base: never one table."""
    old, new = ({**LINE, "base": {**BASE, "epochs": n}} for n in (5, 6))
    plant(tmp_path, own_sweep(old), by_size)
    store = plant(tmp_path, own_sweep(new), lambda c: by_size(c) + 0.1, day=1, missing={"s_n=50"})
    found = exhibits(store)
    assert len(found) == 2
    newest, other = found.pop("own/mine"), next(iter(found.values()))
    assert other.id.startswith("own/mine-")
    assert [r["mean"] for r in records(other)] == pytest.approx([40, 42, 43, 45, 44], abs=0.8)
    later = [r["mean"] for r in records(newest)]
    assert later[2] is None
    assert later[:2] == pytest.approx([50, 52], abs=0.8)


def test_a_cell_that_both_versions_have_counts_for_both(tmp_path: Path) -> None:
    """More values of an axis: the trials of the shorter one are the longer one's, too."""
    short = {**LINE, "axes": {"s_n": [5, 20]}}
    plant(tmp_path, own_sweep(LINE), by_size, missing={"s_n=5", "s_n=20"})
    store = plant(tmp_path, own_sweep(short), by_size)
    rows = sorted(len(records(e)) for e in exhibits(store).values())
    assert rows == [2, 5]
    assert all(r["mean"] for e in exhibits(store).values() for r in records(e))


def test_a_store_without_forms_shows_its_rows(tmp_path: Path) -> None:
    store = plant(tmp_path, own_sweep(LINE), by_size, remember=False)
    shown = exhibits(store)["own/mine"]
    assert not shown.figures
    assert sorted(r["row"] for r in records(shown)) == sorted(
        label for label, _ in own_sweep(LINE).cells()
    )
    assert all(r["against"] is None for r in records(shown))
    assert any("does not know this sweep's form" in n for n in dict(shown.grids)[""].notes)


def test_what_is_odd_in_the_folder_is_told_and_left_out(tmp_path: Path) -> None:
    store = plant(tmp_path, own_sweep(LINE), by_size)
    (name,) = store.names("sweeps")
    good = json.loads(store.read(f"sweeps/{name}"))
    odd: dict[str, Any] = {
        "a-newer.json": {**good, "format": 2},
        "b-words.json": {**good, "format": "two"},
        "c-list.json": [1],
        "d-cells.json": {**good, "cells": [{"label": 3}]},
        "e-design.json": {**good, "ablate": {"components": ["a"], "design": "zigzag"}},
    }
    for file, content in odd.items():
        store.write(f"sweeps/{file}", json.dumps(content).encode())
    store.write("sweeps/f-half.json", b'{"format": 1,')
    said: list[str] = []
    assert list(exhibits(store, said)) == ["own/mine"]
    assert len(said) == len(odd) + 1
    assert all("\n" not in line and "left out" in line for line in said)
    assert "newer camsweep (format 2, this one reads 1)" in said[0]


def test_a_search_is_no_table_of_its_points(tmp_path: Path) -> None:
    store = plant(tmp_path, own_sweep(LINE), by_size)
    (name,) = store.names("sweeps")
    content = json.loads(store.read(f"sweeps/{name}"))
    store.write(f"sweeps/{name}", json.dumps({**content, "search": True, "cells": []}).encode())
    assert not exhibits(store)


def test_names_never_meet(tmp_path: Path) -> None:
    """On disks that know no case, too."""
    for number, name in enumerate(["a b", "a-b", "A.B", "☃", "**"]):
        sweep = own_sweep({**LINE, "base": {**BASE, "epochs": number}}, name)
        plant(tmp_path, sweep, by_size, seeds=(0, 1))
    found = exhibits(Store(str(tmp_path)))
    assert len(found) == 5
    assert all(set(key) <= set("abcdefghijklmnopqrstuvwxyzAB0123456789-/") for key in found)


def test_a_report_shows_pages_by_name(tmp_path: Path) -> None:
    store = plant(tmp_path, own_sweep(LINE), by_size)
    for asked in ((), ("own",), ("own/mine",), ("cpn/table4", "own")):
        shown = [e.id for e in assemble(store.url, asked, resamples=50).exhibits]
        assert "own/mine" in shown
        assert ("cpn/table4" in shown) == ("cpn/table4" in asked)
    assert "own/mine" not in [e.id for e in assemble(store.url, ("cpn",), resamples=50).exhibits]
    with pytest.raises(InputError, match=r"own/mien.*did you mean 'own/mine'"):
        assemble(store.url, ("own/mien",), resamples=50)


def test_the_same_store_gives_the_same_exhibits(tmp_path: Path) -> None:
    store = plant(tmp_path / "a", own_sweep(TWO), lambda c: 0.4 + 0.1 * c.settings["p_h"])
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    texts = [
        [f"{e.body}{e.notes}{[d.figure.to_json() for d in e.figures]}" for e in found.values()]
        for found in (exhibits(store), exhibits(Store(str(tmp_path / "b"))))
    ]
    assert texts[0] == texts[1]


def test_hostile_labels_are_text(tmp_path: Path) -> None:
    bad = "<script>alert(1)</script>"
    arms = {bad: {"lr": 0.1}, "\\input{x} % | `y`": {"lr": 0.2}}
    sweep = own_sweep({"base": BASE, "arms": arms, "title": bad})
    store = plant(tmp_path, sweep, lambda c: 0.42, seeds=(0,), missing={bad})
    shown = exhibits(store)["own/mine"]
    assert "<script" not in f"{shown.body}{shown.notes}"
    assert "&lt;script&gt;" in str(shown.body)
    heat = {"base": BASE, "axes": {"<b>x": [bad, "b"], "y": [1, 2]}}
    found = exhibits(plant(tmp_path, own_sweep(heat, "heat"), lambda c: 0.42, seeds=(0,)))
    figure = found["own/heat"].figures[0].figure
    shown_text = [*figure.layout.yaxis.ticktext, figure.layout.yaxis.title.text]
    assert not any("<" in text for text in shown_text)
