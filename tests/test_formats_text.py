"""Tables as Markdown, CSV and JSON: what is read back is what was in the cells."""

from __future__ import annotations

import csv
import html
import io
import json
import re

import pytest
from markdown_it import MarkdownIt

from camsweep.reports.exhibit import Grid, Records
from camsweep.reports.formats.cellparts import best, kind, parts
from camsweep.reports.formats.markdown import markdown
from camsweep.reports.formats.tables import csv_text, json_text

HOSTILE = (
    "<script>alert(1)</script>", "a|b", "a\\|b", "`code`", "*bold* _it_ __x__ ~~no~~", "s_n=200",
    "[a](javascript:x)", "![a](http://x)", "[a][b]", "[a]: http://x", "# no heading", "- no list",
    "+ no list", "1. no list", "2) no list", "> no quote", "=== x", "--- x", "&lt; &amp; &copy;",
    "$x_1$", "first\nsecond", "| --- |", "", "  ", "é 中 ★ † ‡ – −", "\x1b[31mred\x07", "[x] y",
    "\\", "a\\", "***", "<!-- c -->", "x" * 400, "10. x", "a_b_", "_a_b",
)  # fmt: skip


def shown(text: str) -> str:
    """What a reader sees of a cell: control characters and line breaks are blanks."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def rendered(text: str) -> str:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text)


def seen(markup: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", markup)).split())


def test_markdown_shows_hostile_cells_as_they_are() -> None:
    rows = tuple((text, "1.0", text) for text in HOSTILE)
    page = rendered(markdown(Grid("T", "c", ("name", "n", "again"), rows)))
    body = page.split("<tbody>")[1]
    cells = re.findall(r"<td(?: style=\"[^\"]*\")?>(.*?)</td>", body, re.S)
    assert [seen(cell) for cell in cells[::3]] == [shown(text) for text in HOSTILE]
    assert [seen(cell) for cell in cells[2::3]] == [shown(text) for text in HOSTILE]
    assert not re.findall(r"<(?!/?(?:tr|td|tbody|table)\b)", body), "no markup of their own"


@pytest.mark.parametrize("text", [text for text in HOSTILE if text.strip()])
def test_markdown_shows_hostile_captions_and_notes_as_they_are(text: str) -> None:
    page = rendered(markdown(Grid(text, text, (), (), (text,))))
    blocks = re.findall(r"<(h2|p|li)>(.*?)</\1>", page, re.S)
    assert [name for name, _ in blocks] == ["h2", "p", "li"]
    assert [seen(content) for _, content in blocks] == [shown(text)] * 3
    assert not re.findall(r"<(?!/?(?:h2|p|ul|li)\b)", page)


def test_markdown_aligns_numbers_and_keeps_sub_rows_indented() -> None:
    rows = (("a", "43.2 [41.9, 44.5]", "yes"), ("  published", "55.52", "no"))
    lines = markdown(Grid("T", "c", ("", "mIoU", "ok"), rows)).splitlines()
    assert "| --- | ---: | --- |" in lines
    assert "| \u00a0\u00a0published | 55.52 | no |" in lines


def test_markdown_shows_images_beside_it() -> None:
    text = markdown(Grid("T", "c", (), ()), [("a-b.svg", "a [b] | <c>")])
    (source, alt) = re.findall(r'<img src="([^"]*)" alt="([^"]*)"', rendered(text))[0]
    assert (source, html.unescape(alt)) == ("a-b.svg", "a [b] | <c>")


def test_csv_is_read_back_and_runs_no_formula() -> None:
    values = ['say "hi"', "a,b", "two\r\nlines", "é 中", "=1+1", "+1", "-1", "@x", " =1", "\t=1"]
    rows = [{"=name": v, "n": -1.5, "list": ["x", "y"], "none": None} for v in values]
    text = csv_text(Records(("=name", "n", "list", "none"), rows))
    heading, *lines = csv.reader(io.StringIO(text, newline=""))
    assert heading == ["'=name", "n", "list", "none"]
    assert [line[0] for line in lines] == values[:4] + ["'" + v for v in values[4:]]
    assert [line[1:] for line in lines] == [["-1.5", "x; y", ""]] * len(values)
    assert text.count("\r\n") == len(values) + 2, "a line ends as RFC 4180 has it"


def test_csv_writes_numbers_in_full_and_nothing_for_nan() -> None:
    number = 100 / 3
    text = csv_text(Records(("a", "b"), [{"a": number, "b": float("nan")}, {"a": True, "b": 3}]))
    assert text.splitlines() == ["a,b", f"{number!r},", "True,3"]
    assert float(text.splitlines()[1].split(",")[0]) == number


def test_json_has_null_for_what_it_can_not_say() -> None:
    rows = [{"a": float("nan"), "b": [float("inf"), 1.5], "c": "é"}]
    text = json_text(rows)
    assert json.loads(text) == [{"a": None, "b": [None, 1.5], "c": "é"}]
    assert "é" in text


def test_cells_are_taken_apart() -> None:
    found = parts("-3.8 [-6.4, +1.2] noise")
    assert found is not None
    assert (found.number, found.interval, found.rest) == ("-3.8", "[-6.4, +1.2]", "noise")
    assert found.bounds == (-6.4, 1.2)
    assert parts("43.2 [no interval]").bounds is None  # type: ignore[union-attr]
    assert parts("12 min").rest == "min"  # type: ignore[union-attr]
    assert [parts(text) for text in ("–", "not measured", "", "p_h = 0.1", "3x")] == [None] * 5


def test_kinds_of_columns() -> None:
    assert kind(["43.2 [41.9, 44.5]", "not measured", "47.84"]) == "estimate"
    assert kind(["55.52", "–", "–", "–"]) == "number"
    assert kind(["other data", "–"]) == kind([]) == kind(["a", "b", "3"]) == "text"
    assert kind(["12 min", "3.4 h"]) == "number"


def test_the_best_is_only_told_where_intervals_part() -> None:
    column = ["47.6 [43.8, 50.8]", "–", "55.0 [51.0, 58.0]", "99.00"]
    assert best(column) == 2
    assert best(["47.6 [43.8, 51.1]", "55.0 [51.0, 58.0]"]) is None
    assert best(["+1.0 [+0.5, +1.5]", "+3.0 [+2.0, +4.0]"]) is None, "differences have no best"
    assert best(["55.0 [51.0, 58.0]"]) is None
    assert best(["50.0 [no interval]", "40.0 [39.0, 41.0]"]) is None
