"""The files of a report: the page, tables in every format, images with and without a browser."""

from __future__ import annotations

import json
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import synthetic_store as synthetic
import typer
from typer.testing import CliRunner

from camsweep.platform.cli.leaderboard import leaderboard as leaderboard_command
from camsweep.platform.cli.report import report as report_command
from camsweep.reports import images
from camsweep.reports.build import Request, build, parse_formats
from camsweep.reports.markup import Html, script_json, tag
from camsweep.reports.pictures import colour_mask, overlay
from camsweep.shards.errors import InputError

EVIL = "<script>alert('x')</script>&\"|$_%"


class Page(HTMLParser):
    """Elements, their attributes and the text of a page; plotly's own script is left out."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input", "br", "hr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data + "\n"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("store")
    synthetic.make(
        folder,
        images=25,
        missing=frozenset({"s_n=4000"}),
        failing=frozenset({"p_h=0.3"}),
        cause=EVIL,
    )
    return str(folder)


@pytest.fixture(scope="module")
def out(store: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "deep" / "report"
    formats = ("html", "md", "tex", "csv")
    build(Request(store, folder, formats=formats, resamples=100), say=lambda _: None)
    return folder


def page_of(folder: Path) -> tuple[str, Page]:
    text = (folder / "index.html").read_text(encoding="utf-8")
    return text, Page(text)


def test_the_page_has_every_artefact_and_links_that_lead_somewhere(out: Path) -> None:
    _, page = page_of(out)
    ids = [a["id"] for _, a in page.elements if a.get("id")]
    assert len(ids) == len(set(ids))
    targets = [a["href"] for t, a in page.elements if t == "a"]
    assert targets
    for target in targets:
        assert target is not None
        assert target.startswith("#")
        assert target[1:] in ids
    for name in ("table1", "table2", "table3", "table4", "fig5", "fig6", "fig7", "strategies"):
        assert f"cpn-{name}" in ids
    order = [ids.index(name) for name in ("overview", "cpn-table1", "leaderboard", "provenance")]
    assert order == sorted(order)
    assert not page.open


def test_the_page_makes_no_network_reference(out: Path) -> None:
    from plotly.offline import get_plotlyjs

    text, page = page_of(out)
    assert text.count(get_plotlyjs()) == 1
    assert not re.search(r"https?://", text.replace(get_plotlyjs(), ""))
    for name, attributes in page.elements:
        assert name not in ("link", "iframe", "base", "object", "embed")
        for key in ("src", "srcset", "action", "data"):
            assert (attributes.get(key) or "data:").startswith("data:")
    policies = [
        a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert len(policies) == 1
    assert str(policies[0]).startswith("default-src 'none'")


def test_text_of_the_store_is_escaped(out: Path) -> None:
    text, page = page_of(out)
    assert EVIL not in text
    assert EVIL in page.text, "shown as it was written"
    assert sum(name == "script" for name, _ in page.elements) == text.count("<script")


def test_labels_and_methods_from_the_store_can_not_break_the_page(tmp_path: Path) -> None:
    made = synthetic.make(
        tmp_path / "s", images=5, seeds=(0, 1), sweeps=("cpn/table4",), profile=EVIL,
        data_name=EVIL, rename={"p_h=0.1": EVIL},
    )  # fmt: skip
    request = Request(made.url, tmp_path / "o", formats=("html", "tex", "md"), resamples=20)
    build(request, say=lambda _: None)
    text, page = page_of(tmp_path / "o")
    assert EVIL not in text
    assert "alert('x')" in page.text
    assert "<script>" not in (tmp_path / "o" / "leaderboard.md").read_text()
    tex = (tmp_path / "o" / "cpn-table4.tex").read_text()
    body = "\n".join(line for line in tex.splitlines() if not line.startswith("%"))
    assert "\\textless{}script" in body
    # Our own minus signs and the end of a line are no text of the store.
    own = body.replace("$-$", "").replace("{!}{%", "")
    assert not re.search(r"(?<!\\)[$%_#]", own)


def test_captions_name_data_set_and_profile(out: Path) -> None:
    _, page = page_of(out)
    captions = re.findall(
        r"Measured on data set embedded \(ab12cd34\), profile embedded", page.text
    )
    assert len(captions) == 9, "the leaderboard and every artefact that measures anything"
    assert "Fill" not in page.text or "camsweep run" in page.text
    assert "camsweep run cpn/fig6 --profile embedded" in page.text
    for fact in ("0123456789ab", "torch 2.15.0", "ab12cd34ef", "camsweep run cpn"):
        assert fact in page.text.split("Where this comes from")[-1]


def test_figures_hold_the_measured_and_the_published_points(out: Path) -> None:
    text, _ = page_of(out)
    match = re.search(r'id="plot-cpn-fig7-data">(.*?)</script>', text, re.S)
    assert match is not None
    figure = json.loads(match[1])
    names = [trace.get("name") for trace in figure["data"]]
    assert names == [
        "95 % interval",
        "measured: embedded",
        "published: VOC 2012, 1,464 train images, ResNet-38",
    ]
    assert next(iter(figure["data"][1]["x"])) == "{4, 7}"
    assert list(figure["data"][2]["x"]) == ["{4, 7}", "{56, 112}", "{224, 448}"]
    # other data: published points have a panel and a y axis of their own
    assert figure["data"][2]["yaxis"] == "y2"
    assert figure["data"][1]["yaxis"] == "y"


def test_without_chromium_the_page_still_comes(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "no-such-browser"))
    monkeypatch.setenv("PATH", "")
    said: list[str] = []
    request = Request(store, tmp_path / "o", ("cpn/fig6",), None, resamples=20)
    assert [p.name for p in build(request, said.append)] == ["index.html"]
    assert len(said) == 1
    assert "no-such-browser is no file" in said[0]
    assert "\n" not in said[0]
    monkeypatch.delenv("BROWSER_PATH")
    with pytest.raises(images.BrowserMissingError, match="no Chromium on PATH"):
        images.browser()


def test_a_browser_that_does_not_start_is_told_in_one_line(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "chromium"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("BROWSER_PATH", str(broken))
    said: list[str] = []
    request = Request(store, tmp_path / "o", ("cpn/fig6",), ("html", "svg"), resamples=20)
    assert [p.name for p in build(request, said.append)] == ["index.html"]
    assert len(said) == 1
    assert str(broken) in said[0]
    assert "\n" not in said[0]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium here")
def test_images_in_every_format(store: str, tmp_path: Path) -> None:
    request = Request(store, tmp_path, ("cpn/fig6",), ("png", "svg", "pdf"), resamples=20)
    written = build(request, say=lambda _: None)
    starts = {".png": b"\x89PNG", ".svg": b"<svg", ".pdf": b"%PDF"}
    figures = [p for p in written if p.stem == "cpn-fig6"]
    assert {p.suffix for p in figures} == set(starts)
    for path in figures:
        assert path.read_bytes().startswith(starts[path.suffix])
    assert b"p_h" not in (tmp_path / "cpn-fig6.svg").read_bytes()
    assert not (tmp_path / "index.html").exists()


def test_commands(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer()
    app.command("report")(report_command)
    app.command("leaderboard")(leaderboard_command)
    runner = CliRunner()
    target = tmp_path / "o"
    monkeypatch.setattr(sys, "argv", ["camsweep", "report", "cpn/table4", "--out", "a b"])
    words = ["report", "cpn/table4", "--store", store, "--out", str(target), "--format", "html,csv"]
    result = runner.invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0
    assert result.output.splitlines()[-1] == str(target / "index.html")
    assert "camsweep report cpn/table4 --out 'a b'" in page_of(target)[1].text
    assert (target / "cpn-table4.csv").exists()
    assert not (target / "cpn-fig6.csv").exists()
    for form in ("table", "md", "tex", "csv", "json"):
        words = ["leaderboard", "--store", store, "--format", form]
        result = runner.invoke(app, words, catch_exceptions=False)
        assert result.exit_code == 0
        assert "superpixel S" in result.output
    records = json.loads(
        runner.invoke(app, ["leaderboard", "--store", store, "--format", "json"]).output
    )
    assert [r["rank"] for r in records] == list(range(1, 27))
    assert records[0]["mean"] >= records[1]["mean"]
    for wrong, message in (
        (["leaderboard", "--store", store, "--format", "jsn"], "did you mean 'json'"),
        (["leaderboard", "--store", str(tmp_path / "none")], "no results there"),
        (["report", "cpn/fig66", "--store", store], "did you mean 'cpn/fig6'"),
        (["report", "--store", store, "--format", "gif"], "not a format"),
        (["report", "--store", store, "--profile", "voc"], "no such trials"),
    ):
        failure = runner.invoke(app, wrong)
        assert isinstance(failure.exception, InputError)
        assert message in str(failure.exception)
        assert "\n" not in str(failure.exception)


def test_a_second_report_gives_the_same_numbers(store: str, out: Path, tmp_path: Path) -> None:
    build(Request(store, tmp_path, formats=("csv",), resamples=100), say=lambda _: None)
    for path in out.glob("*.csv"):
        assert (tmp_path / path.name).read_text() == path.read_text()


def test_formats() -> None:
    assert parse_formats("html, PNG,html") == ("html", "png")
    assert parse_formats(None) is None
    with pytest.raises(InputError, match="--format pgn: not a format; did you mean 'png'"):
        parse_formats("pgn")
    with pytest.raises(InputError, match="empty"):
        parse_formats(" , ")


def test_markup_escapes_everything_that_is_not_markup() -> None:
    assert tag("b", "<i>", Html("<u>"), title='"&') == '<b title="&quot;&amp;"><i></b>'.replace(
        "<i>", "&lt;i&gt;<u>"
    )
    assert "<" not in script_json({"a": "</script>"})
    assert json.loads(script_json({"a": "</script>&"})) == {"a": "</script>&"}


def test_picture_tiles() -> None:
    image = np.full((4, 6, 3), 100, np.uint8)
    maps = np.zeros((2, 4, 6), np.uint8)
    maps[1, :2] = 255
    shown = overlay(image, maps).astype(int).sum(axis=2)
    assert shown[0, 0] > shown[3, 0] > 0
    assert overlay(image, maps[:, ::2, ::2]).shape == (4, 6, 3)
    colours = colour_mask(np.array([[0, 1, 2, 255]], np.uint8))
    assert len({tuple(c) for c in colours[0].tolist()}) == 4
    assert colours[0, 3].tolist() == [255, 255, 255]
