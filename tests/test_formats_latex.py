"""LaTeX: every table compiles whatever stands in it, and shows what it should."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import synthetic_store as synthetic

from camsweep.reports.build import Request, build
from camsweep.reports.exhibit import Grid
from camsweep.reports.formats.latex import BOLD, LINES, document, latex
from camsweep.reports.formats.textext import breakable, tex_text

needs_tex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
needs_text = pytest.mark.skipif(shutil.which("pdftotext") is None, reason="no pdftotext here")

HOSTILE = (
    r"\input{/etc/passwd}", r"\write18{touch pwned}", r"\immediate\write18{touch pwned}",
    "^^41^^5cinput", "50 % off", "a_b$c#d&e", "{open", "close}", "~^~", "]a", "[b]", "*c", "[",
    "]", "★ † ‡ – − ≥ ≤ × ± é ö ñ č Å ß ø ł ı İ Ő ę", "中文 日本 \U0001f600 \u202e \u200b \ufeff",
    "ctrl \x00\x01\x07\x1b\x7f\x85\u2028 end", "\n\n", "a\n\nb", "\\\\", "\\end{tabular}",
    "\\end{document}", "% comment", "-- --- ?` !` '' `` ,, << >>", '"quoted" text"', "x" * 300,
    "/a/very/long/path/" * 12, "α β μ π Ω", "e\u0301 q\u0308 \u0301", "\\csname x\\endcsname",
    "\ud800", "$$", "|", "<a> & b \\ c", "", " ", "#1", "@", "\\verb|x|", "İ", "fi ffl",
)  # fmt: skip


def compiled(folder: Path, name: str = "tables.tex") -> str:
    """The log of a run of pdflatex, which must succeed, as on a machine without configuration."""
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", name]
    done = subprocess.run(words, cwd=folder, capture_output=True, timeout=120, check=False)
    log = done.stdout.decode("latin-1")
    assert done.returncode == 0, log[-3000:]
    return log


def text_of(pdf: Path) -> str:
    words = ["pdftotext", "-layout", str(pdf), "-"]
    return subprocess.run(words, capture_output=True, check=True, text=True).stdout


def wide(cells: tuple[str, ...]) -> Grid:
    """14 columns: text, numbers and estimates, with hostile text in each of them."""
    rows = []
    for index, text in enumerate(cells):
        number = f"{40 + index}.{index % 10} [{39 + index}.0, -{41 + index}.0]"
        middle = (number, "12.25", text if index % 3 else number, f"+{number} {text}")
        rows.append((text, *middle, *(("7", "–", "not measured") * 2), text, "1.5 GiB", number))
    headers = (r"\item", "[x]", "*", "against a very long heading_of 1", *("h%",) * 9, "last\\")
    return Grid(cells[0] or "t", "; ".join(cells), headers, tuple(rows), cells)


@needs_tex
def test_hostile_tables_compile_and_write_nothing(tmp_path: Path) -> None:
    grids = [
        wide(HOSTILE),
        *(Grid(t, t, (t,), ((t,),), (t,)) for t in HOSTILE),
        *(Grid(t, t, ("a", t), ((t, "1.0 [0.5, 1.5]"), (f"  {t}", t)), (t,)) for t in HOSTILE),
        Grid("no rows", "c", ("a", "b"), ()),
        Grid("no columns", "c", (), (), ("a note",)),
    ]
    names = []
    for index, grid in enumerate(grids):
        names.append(f"t{index}.tex")
        (tmp_path / names[-1]).write_text(latex(grid, f"x/{index}_%"), encoding="ascii")
    (tmp_path / "tables.tex").write_text(document(names), encoding="ascii")
    compiled(tmp_path)
    assert not (tmp_path / "pwned").exists()
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {*names, *(f"tables.{end}" for end in ("tex", "pdf", "log", "aux"))}


@needs_tex
@needs_text
def test_every_table_of_a_store_compiles(tmp_path: Path) -> None:
    rename = {"p_h=0.1": HOSTILE[0], "p_h=0.2": HOSTILE[1], "s_n=200": HOSTILE[3]}
    classes = ("background", r"\input{x}", "^^41", "50 %", "中", "]", "[")
    made = synthetic.make(
        tmp_path / "s", images=8, seeds=(0, 1), profile="p_%^^41\\x", data_name="d[\\input]中",
        rename=rename, failing=frozenset({"p_h=0.3"}), cause=" ".join(HOSTILE[:8]),
        classes=classes,
    )  # fmt: skip
    out = tmp_path / "o"
    request = Request(made.url, out, formats=("tex",), resamples=20)
    written = build(request, say=lambda _: None)
    tables = [path.name for path in written if path.name != "tables.tex"]
    assert len(tables) >= 8
    main = (out / "tables.tex").read_text()
    assert re.findall(r"\\input\{(.*?)\}", main) == tables
    log = compiled(out)
    assert f"({len(re.findall('begin.table', ''.join(_texts(out, tables))))} pages" in log
    shown = " ".join(text_of(out / "tables.pdf").split())
    assert "profile p %^^41\\x" in shown.replace("ˆ", "^")
    assert "d[\\input]U+4E2D" in shown
    assert "Overfull \\hbox" not in log, "nothing stands out of the page"


def _texts(out: Path, names: list[str]) -> list[str]:
    return [(out / name).read_text(encoding="ascii") for name in names]


@needs_tex
@needs_text
def test_commands_can_be_copied_from_the_document(tmp_path: Path) -> None:
    command = "camsweep run cpn/fig6 --profile embedded --set 'p_h=0.3' --seeds 3"
    (tmp_path / "t.tex").write_text(latex(Grid("T", "c", ("a",), (("b",),), (command,)), "t"))
    (tmp_path / "tables.tex").write_text(document(["t.tex"]))
    compiled(tmp_path)
    shown = " ".join(text_of(tmp_path / "tables.pdf").split())
    assert command in shown.replace("’", "'").replace("‘", "'")


@needs_tex
@needs_text
def test_a_long_table_is_set_in_parts_with_every_row(tmp_path: Path) -> None:
    rows = tuple((f"row{i:03d}", f"{i}.5") for i in range(3 * LINES + 5))
    text = latex(Grid("Table 9: Long", "c", ("", "n"), rows, ("end",)), "long")
    assert text.count(r"\begin{table}") == 4
    assert "Long (the paper's table 9). c" in text
    (tmp_path / "t.tex").write_text(text)
    (tmp_path / "tables.tex").write_text(document(["t.tex"]))
    compiled(tmp_path)
    shown = text_of(tmp_path / "tables.pdf")
    assert re.findall(r"row\d+", shown) == [row[0] for row in rows]
    assert shown.count("(continued)") == 3


def test_rows_of_many_lines_make_more_parts() -> None:
    rows = tuple(("word " * 60, str(i)) for i in range(LINES // 4))
    text = latex(Grid("T", "c", ("name", "n"), rows), "t")
    assert 3 <= text.count(r"\begin{table}") <= len(rows)
    assert text.count(r"\\") == len(rows) + text.count(r"\begin{table}")


def test_sub_rows_stay_with_their_row() -> None:
    rows = [(name, "1.0") for i in range(LINES) for name in (f"r{i}", "  published")]
    parts = latex(Grid("T", "c", ("", "n"), tuple(rows)), "t").split(r"\clearpage")
    for part in parts:
        lines = part.split(r"\midrule")[1].strip().splitlines()
        assert not lines[0].strip().startswith(r"\quad")


def test_numbers_intervals_and_the_best() -> None:
    rows = (
        ("a", "43.2 [41.9, 44.5]", "55.52", "-0.5 [-1.5, +0.5] noise"),
        ("b", "50.0 [49.0, 51.0]", "–", "+6.8 [+5.0, +8.0]"),
        ("  published", "47.84", "3", "–"),
    )
    text = latex(Grid("T", "c", ("", "mIoU", "published", "effect"), rows), "t")
    lines = [line.strip() for line in text.splitlines()]
    assert r"\begin{tabular}{@{\hspace{1sp}}lr@{\,}lrr@{\,}l@{}}" in lines
    small = r"{\scriptsize [41.9, 44.5]}"
    noise = r"{\scriptsize [$-$1.5, +0.5] noise}"
    assert rf"a & 43.2\phantom{{0}} & {small} & 55.52 & $-$0.5 & {noise} \\" in lines
    assert r"\textbf{50.0\phantom{0}}" in text
    assert text.count(r"\textbf") == 1
    assert BOLD.replace("'", "'") in text
    assert any(line.startswith(r"\quad published & 47.84 &  & 3\phantom{.00}") for line in lines)
    even = latex(Grid("T", "c", ("", "m"), (("a", "1.0 [0.5, 2.5]"), ("b", "2.0 [1.0, 3.0]"))), "t")
    assert r"\textbf" not in even
    assert BOLD not in even


def test_text_is_ascii_and_readable() -> None:
    assert (
        tex_text("† ≥ − é Ö č \u00df 中") == r"""\dag{} $\geq$ $-$ \'{e} \"{O} \v{c} \ss{} U+4E2D"""
    )
    assert tex_text("--set a_b") == r"-{}-set a\_b"
    assert tex_text("a\nb\tc\x07") == "a b cU+0007"
    for text in HOSTILE:
        assert tex_text(text).isascii()
        assert re.sub(r"\\allowbreak\{\}", "", breakable(text)).replace(" ", "") == tex_text(
            text
        ).replace(" ", "")
