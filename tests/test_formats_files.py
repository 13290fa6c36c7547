"""The files of a report as they lie in its folder: images, Markdown that shows them, errors."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import plotly.graph_objects as go
import pytest
import synthetic_store as synthetic

from camsweep.platform.cli.main import main
from camsweep.reports import images
from camsweep.reports.build import Request, build
from camsweep.reports.exhibit import Drawn, Exhibit, Grid
from camsweep.reports.report import assemble
from camsweep.reports.writing import file_name, write, write_images, write_tables
from camsweep.shards.errors import InputError

needs_chromium = pytest.mark.skipif(not images.has_browser(), reason="no Chromium here")
needs_text = pytest.mark.skipif(shutil.which("pdftotext") is None, reason="no pdftotext here")
EVIL = "<script>alert(1)</script>"
FORMS = ("png", "svg", "pdf")


def figure(title: str = "x") -> go.Figure:
    made = go.Figure(go.Scatter(x=[1, 2], y=[3, 4], name="measured points", mode="lines+markers"))
    made.add_trace(go.Heatmap(z=[[1, 2], [3, 4]], xaxis="x2", yaxis="y2"))
    made.update_layout(width=400, height=300, title=title, showlegend=True, template="none")
    return made


def quiet(_: str) -> None:
    pass


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("store")
    sweeps = ("cpn/fig6",)
    return synthetic.make(folder, images=6, seeds=(0, 1), sweeps=sweeps, profile=EVIL).url


@pytest.fixture(scope="module")
def drawn(store: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two folders with the same figures, drawn by two browsers."""
    report = assemble(store, ["cpn/fig6"], resamples=20, say=quiet)
    made = [Exhibit(n, "p", "", n, "c", (Drawn("", n, n, figure()),)) for n in ("a", "b")]
    shown = [*(e for e in report.exhibits if e.id == "cpn/fig6"), *made]
    folders = []
    for name in ("one", "two"):
        out = tmp_path_factory.mktemp(name)
        written = write_images(out, shown, FORMS, quiet)
        names = [f"{exhibit.stem}.{form}" for exhibit in shown for form in FORMS]
        assert [path.name for path in written] == names, "in order"
        write_tables(out, shown, ("md",), written)
        folders.append(out)
    return folders[0], folders[1]


@needs_chromium
def test_two_reports_of_a_store_are_the_same_to_the_byte(drawn: tuple[Path, Path]) -> None:
    first, second = drawn
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in second.iterdir())
    assert {f"cpn-fig6.{form}" for form in FORMS} < set(names)
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


@needs_chromium
def test_svg_has_text_and_nothing_from_elsewhere(drawn: tuple[Path, Path]) -> None:
    for path in drawn[0].glob("*.svg"):
        source = path.read_text(encoding="utf-8")
        root = ElementTree.fromstring(source)
        tags = [element.tag.rpartition("}")[2] for element in root.iter()]
        assert not {"script", "foreignObject", "a", "style", "link"} & set(tags), path.name
        for element in root.iter():
            for name, value in element.attrib.items():
                assert not name.lower().startswith("on")
                if name.rpartition("}")[2] == "href":
                    assert value.startswith(("#", "data:image/")), value[:60]
        outside = set(re.findall(r"https?://[^\"' )]*", source))
        assert outside <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
        names = re.findall(r"\bid=\"([^\"]+)\"", source)
        assert len(names) == len(set(names))
        assert set(re.findall(r"url\(['\"]?#([^'\")]+)", source)) <= set(names)
    root = ElementTree.parse(drawn[0] / "cpn-fig6.svg").getroot()
    texts = ["".join(e.itertext()) for e in root.iter() if e.tag.endswith("}text")]
    assert "95 % interval" in texts
    assert f"measured: {EVIL}" in texts, "text from the store is text"


@needs_chromium
@needs_text
def test_pdf_keeps_text_as_text(drawn: tuple[Path, Path]) -> None:
    words = ["pdftotext", str(drawn[0] / "cpn-fig6.pdf"), "-"]
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    for shown in ("95 % interval", f"measured: {EVIL}", "mIoU, %", "8000"):
        assert shown in " ".join(text.split())


@needs_chromium
def test_png_has_two_pixels_a_unit(drawn: tuple[Path, Path]) -> None:
    content = (drawn[0] / "cpn-fig6.png").read_bytes()
    width = int.from_bytes(content[16:20], "big")
    root = ElementTree.parse(drawn[0] / "cpn-fig6.svg").getroot()
    assert width == 2 * float(root.attrib["width"])


@needs_chromium
def test_images_of_one_page_do_not_share_names(drawn: tuple[Path, Path]) -> None:
    texts = [(drawn[0] / f"{name}.svg").read_text(encoding="utf-8") for name in ("a", "b")]
    names = [re.findall(r"\bid=\"([^\"]+)\"", text) for text in texts]
    assert names[0]
    assert not set(names[0]) & set(names[1])


@needs_chromium
def test_markdown_shows_the_images_that_were_drawn(drawn: tuple[Path, Path]) -> None:
    text = (drawn[0] / "cpn-fig6.md").read_text(encoding="utf-8")
    assert re.findall(r"!\[[^\]]+\]\((.*?)\)", text) == ["cpn-fig6.svg"]
    # A figure without a table has a file, too.
    assert "![a](a.svg)" in (drawn[0] / "a.md").read_text(encoding="utf-8")


def test_markdown_shows_no_image_that_was_not_drawn(tmp_path: Path) -> None:
    grid = Grid("T", "c", ("a",), (("b",),))
    shown = [Exhibit("x", "p", "", "x", "c", (Drawn("", "x", "x", figure()),), grids=(("", grid),))]
    write_tables(tmp_path, shown, ("md",), ())
    assert "](" not in (tmp_path / "x.md").read_text()
    write_tables(tmp_path, shown, ("md",), (tmp_path / "x.png",))
    assert "](x.png)" in (tmp_path / "x.md").read_text()


def test_file_names_stay_in_their_folder() -> None:
    for name in ("../../x", "a/b c", "..", "a\\b", "é\n", "/etc/passwd", ".hidden"):
        found = file_name(Exhibit(name, "p", "", "t", "c"), "")
        assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", found), found


def test_other_files_stay_and_text_that_is_no_unicode_is_written(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("mine")
    grid = Grid("T", "c", ("a",), (("\ud800 x",),))
    shown = [Exhibit("x", "p", "", "x", "c", grids=(("", grid),))]
    write_tables(tmp_path, shown, ("md", "tex"), ())
    write(tmp_path / "page", "\ud800")
    assert (tmp_path / "page").read_bytes() == b"\\ud800"
    assert (tmp_path / "other.csv").read_text() == "mine"
    assert sorted(p.name for p in tmp_path.glob("*.tex")) == ["tables.tex", "x.tex"]


def test_dates_and_lots_are_taken_out() -> None:
    pdf = b"/CreationDate (D:20261126145257+00'00')\n/ModDate (D:20261126145257+00'00')"
    job = images.Job("a.pdf", figure(), "pdf")
    assert images.steady(pdf, job).count(b"D:20000101000000+00'00'") == 2
    assert len(images.steady(pdf, job)) == len(pdf)
    svg = b'<svg><defs id="topdefs-38e76e"/><g clip-path="url(#clip38e76ex)">38e76e</g></svg>'
    one = images.steady(svg, images.Job("a.svg", figure(), "svg"))
    two = images.steady(svg.replace(b"38e76e", b"ab12cd"), images.Job("a.svg", figure(), "svg"))
    assert one.replace(b">38e76e<", b"") == two.replace(b">ab12cd<", b"")
    assert b">38e76e<" in one, "what is shown is left as it is"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cpn/fig66"], "did you mean 'cpn/fig6'"),
        (["--format", "pgn"], "--format pgn: not a format; did you mean 'png'"),
        (["--format", ","], "--format: empty"),
        (["--out", "FILE"], "a file is in the way; name a folder you may write to"),
        (["--out", "FILE/deep"], "a file is in the way; name a folder you may write to"),
        (["--store", "NONE"], "no results there"),
        (["--profile", "voc12"], "--profile voc12: no such trials"),
        (["--until-done"], "--until-done: only with --watch"),
    ],
)
def test_wrong_input_ends_with_2_and_one_line(
    words: list[str], message: str, store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    given = [w.replace("FILE", str(tmp_path / "file")).replace("NONE", "nowhere") for w in words]
    before = ["--store", store] if "--store" not in words else []
    out = ["--out", str(tmp_path / "o")] if "--out" not in words else []
    assert main(["report", *before, *out, *given]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("camsweep: ")
    assert message in lines[0]


@pytest.mark.skipif(sys.platform != "linux", reason="no /proc here")
def test_a_folder_that_can_not_be_made_is_told(store: str) -> None:
    with pytest.raises(InputError, match=r"--out /proc/x: .*; name a folder you may write to"):
        build(Request(store, Path("/proc/x")), quiet)


def test_help_shows_examples_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for example in ("--format html,tex,pdf", "--watch 30", "--watch --until-done", "md,svg,csv"):
        assert example in shown
