"""Every method, end to end, on real images under the smoke profile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from camsweep.methods.base import method_names
from camsweep.platform.attempts import make_jobs, run_job
from camsweep.platform.prepare import Request, prepare
from camsweep.reports.build import Request as ReportRequest
from camsweep.reports.build import build as build_report
from camsweep.shards.sources.voc import voc_source
from camsweep.shards.writing.writer import build
from camsweep.sweeps.results import (
    artefact_name,
    load_curves,
    load_epochs,
    load_images,
    load_trials,
)
from camsweep.sweeps.store import Store

#: One arm a method, and both variants of PPL.
ARMS = ("CAM", "SEAM", "CPN", "SIPE", "PPL, implicit", "PPL, explicit", "CPMC (our reading)")

#: Every method to the end of a chain, and every kind of chain.
CHAINS = """
title: chains
arms:
  cam: {method: cam, refine: irn, segment: deeplab_v1}
  seam: {method: seam, refine: crf, crf: cpn, crf_unary: scores, segment: deeplab_v1}
  cpn: {method: cpn, refine: affinity, walk_crf: shown, segment: deeplab_v1}
  sipe: {method: sipe, refine: irn, irn_recipe: sipe, segment: deeplab_v2}
  ppl: {method: ppl, refine: crf, segment: deeplab_v2, segment_crf: deeplab}
  cpmc: {method: cpmc, refine: crf, mask_background: constant, segment: deeplab_v1}
seeds: 1
"""


@pytest.fixture(scope="module")
def ran(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[Any]]:
    folder = tmp_path_factory.mktemp("voc-mini")
    build_few(shared, folder, 64)
    store = Store(str(folder / "store"))
    names = ["leaderboard/methods"]
    return store, run(folder, store, names, only={"leaderboard/methods": ARMS})


def build_few(shared: Path, folder: Path, images: int) -> None:
    """The first images of voc-mini's train split as shards in `folder/data`."""
    source = voc_source(shared / "voc-mini")
    build(
        replace(source, splits={"train": source.splits["train"][:images]}),
        folder / "data",
    )


def run(folder: Path, store: Store, names: list[str], **options: Any) -> list[Any]:
    """The rows of the sweeps' trials, of one seed."""
    settings = {"scales": [1.0], "segment_steps": 8, "segment_batch": 8}
    data = str(folder / "data")
    prepared = prepare(Request(names, "smoke", data, store, 1, settings, **options))
    rows: list[Any] = []
    for job in make_jobs(prepared.plan.to_run):
        run_job(job, prepared.context, lambda progress: None, rows.append, reraise=True)
    return rows


def test_every_method_is_done(ran: tuple[Store, list[Any]]) -> None:
    _, rows = ran
    assert {row["method"] for row in rows} == set(method_names())
    assert [row["status"] for row in rows] == ["done"] * len(ARMS)


def test_losses_fall(ran: tuple[Store, list[Any]]) -> None:
    store, rows = ran
    for row in rows:
        epochs = load_epochs(store, [row["id"]]).to_pylist()
        assert len(epochs) == 2, row["method"]
        assert epochs[1]["loss.cls"] < epochs[0]["loss.cls"], row["method"]


def test_artefacts_are_complete(ran: tuple[Store, list[Any]]) -> None:
    store, rows = ran
    assert set(load_trials(store)["id"].to_pylist()) == {row["id"] for row in rows}
    for row in rows:
        for load in (load_epochs, load_images, load_curves):
            assert load(store, [row["id"]]).num_rows > 0, (row["method"], load.__name__)
        for name in ("weights.safetensors", "pictures.safetensors"):
            owner = row["stage.train"] if name.startswith("weights") else row["id"]
            assert store.exists(artefact_name(owner, name)), (row["method"], name)
        assert 0 < row["metric.miou_floor"] < 1
        assert 0 <= row["metric.miou"] <= 1


def test_the_chain_runs_for_every_method(shared: Path, tmp_path: Path) -> None:
    build_few(shared, tmp_path, 24)
    store = Store(str(tmp_path / "store"))
    sweep = tmp_path / "chains.yaml"
    sweep.write_text(CHAINS)
    rows = run(tmp_path, store, [str(sweep)])
    assert {row["method"] for row in rows} == set(method_names())
    for row in rows:
        assert row["status"] == "done"
        assert row["eval_images"] == 24
        for name in ("miou", "miou_maps", "miou_pseudo", "miou_segment", "precision_pseudo"):
            assert 0 <= row[f"metric.{name}"] <= 1, (row["method"], name)
        losses = load_epochs(store, [row["id"]])
        assert any(name.startswith("loss.segment.") for name in losses.column_names)
    build_report(ReportRequest(store=store.url, out=tmp_path / "report", command="camsweep report"))


def test_the_report_shows_them(ran: tuple[Store, list[Any]], tmp_path: Path) -> None:
    store, _ = ran
    build_report(ReportRequest(store=store.url, out=tmp_path / "report", command="camsweep report"))
    text = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    for name in ("SEAM", "SIPE", "PPL", "CPMC (our reading)"):
        assert name in text
