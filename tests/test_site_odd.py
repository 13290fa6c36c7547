"""The site of stores without trials, with failed ones alone, and of very many variants."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import synthetic_store as synthetic
from browser import opened, settle

from camsweep.reports.build import Request, build
from camsweep.reports.report import assemble
from camsweep.reports.site.board import SHOWN
from camsweep.reports.site.page import page as page_of
from camsweep.reports.site.provenance import Facts


def made(store: str, out: Path) -> Path:
    build(Request(store, out, formats=("html",), resamples=20), say=lambda _: None)
    return out / "index.html"


def test_a_store_without_trials_says_how_to_begin(chromium: Any, tmp_path: Path) -> None:
    (tmp_path / "a store" / "trials").mkdir(parents=True)
    file = made(str(tmp_path / "a store"), tmp_path / "o")
    with opened(chromium, file) as page:
        text = page.locator("#overview").inner_text()
        assert "No trials yet" in text
        assert f"camsweep run cpn/table4 --store '{tmp_path / 'a store'}'" in text
        assert page.locator("nav a").all_inner_texts() == ["Overview", "Provenance"]


def test_failed_trials_alone(chromium: Any, tmp_path: Path) -> None:
    store = synthetic.make(
        tmp_path / "s", seeds=(0,), sweeps=("cpn/table4",), bare_failures=True,
        failing=frozenset(f"p_h=0.{i}" for i in range(1, 6)), cause="<b>out of memory</b>",
    )  # fmt: skip
    with opened(chromium, made(store.url, tmp_path / "o")) as page:
        failed = page.locator("#overview .tiles div", has_text="failed").locator("dd")
        assert failed.inner_text() == "5"
        page.evaluate("location.hash = '#cpn-table4'")
        settle(page)
        assert "<b>out of memory</b>" in page.locator("#cpn-table4").inner_text()


def test_of_very_many_variants_the_page_shows_the_best(chromium: Any, tmp_path: Path) -> None:
    store = synthetic.make(tmp_path / "s", images=4, seeds=(0, 1), sweeps=("cpn/table4",))
    report = assemble(store.url, ("cpn/table4",), resamples=20, say=lambda _: None)
    entries = tuple(
        replace(report.board.entries[i % 5], rank=i + 1, name=f"variant {i + 1}")
        for i in range(3000)
    )
    board = replace(report.board, entries=entries)
    file = tmp_path / "index.html"
    many = replace(report, boards=(board,))
    file.write_text(page_of(many, Facts("camsweep report", "0")), encoding="utf-8")
    with opened(chromium, file, "leaderboard") as page:
        assert page.locator("#leaderboard tbody tr").count() == SHOWN
        text = page.locator("#leaderboard").inner_text()
        assert f"The best {SHOWN} of 3,000 variants; all of them are in leaderboard.csv" in text
        page.locator("[data-filter=find]").fill("variant 49")
        rows = page.locator("#leaderboard tbody tr:visible")
        assert rows.count() == 5 + 10, "49, 149 to 449 and 490 to 499"
