"""Tables as Markdown, LaTeX (booktabs), CSV and JSON text."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

from camsweep.reports.artefacts import Filled
from camsweep.reports.exhibit import Grid, Records
from camsweep.reports.measure import Estimate
from camsweep.reports.spec import paper

_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--",
    "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


def _markdown_text(text: str) -> str:
    """A cell that cannot break out of its table or become markup."""
    for old, new in (("\\", "\\\\"), ("|", "\\|"), ("<", "&lt;"), ("\n", " "), ("`", "\\`")):
        text = text.replace(old, new)
    return text


def markdown(grid: Grid) -> str:
    """A Markdown section: heading, caption, table, notes."""
    rows = [grid.headers, tuple("---" for _ in grid.headers), *grid.rows]
    lines = [f"## {_markdown_text(grid.title)}", "", _markdown_text(grid.caption), ""]
    for index, row in enumerate(rows):
        cells = row if index == 1 else tuple(_markdown_text(cell) for cell in row)
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", *(f"- {_markdown_text(note)}" for note in grid.notes)]
    return "\n".join(lines).rstrip() + "\n"


def tex_text(text: str) -> str:
    """Plain text with LaTeX's special characters escaped."""
    return "".join(_TEX.get(c, c) for c in text.replace("\n", " "))


def latex(grid: Grid, label: str) -> str:
    r"""A ``table`` float in booktabs style; needs ``\usepackage{booktabs}``. Notes are comments."""
    columns = "l" + "r" * (len(grid.headers) - 1)

    def row(cells: tuple[str, ...]) -> str:
        texts = [tex_text(cell.strip()) for cell in cells]
        # Sub-rows (published, difference) are indented under the row they belong to.
        if cells[0].startswith("  "):
            texts[0] = r"\quad " + texts[0]
        # A leading bracket after \\ would be read as its optional argument.
        return "  " + " & ".join(f"{{{t}}}" if t.startswith("[") else t for t in texts) + r" \\"

    comments = [f"% {note}".replace("\n", " ") for note in grid.notes]
    return "\n".join(
        [
            *comments,
            r"\begin{table}",
            r"  \centering\small",
            rf"  \caption{{{tex_text(grid.title)}. {tex_text(grid.caption)}}}",
            rf"  \label{{tab:{label}}}",
            rf"  \begin{{tabular}}{{{columns}}}",
            r"  \toprule",
            row(grid.headers),
            r"  \midrule",
            *(row(cells) for cells in grid.rows),
            r"  \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _numbers(estimate: Estimate | None, prefix: str = "") -> dict[str, Any]:
    """Mean and interval in percent, unrounded; nothing where there is none."""
    if estimate is None:
        return {}
    found = {"mean": estimate.mean, "low": estimate.low, "high": estimate.high}
    return {prefix + name: 100 * v for name, v in found.items() if not math.isnan(v)}


def tidy(filled: Filled) -> list[dict[str, Any]]:
    """One record a row and column of an artefact; numbers in percent, unrounded."""
    selection = filled.selection
    return [
        {
            "artefact": filled.spec.id,
            "paper": paper(filled.spec.paper).title,
            "row": line.name,
            "ours": line.ours,
            "column": column,
            **_numbers(value.estimate),
            "published": value.published,
            "difference": value.difference,
            **_numbers(value.effect, "effect_"),
            "seeds": len(value.estimate.seeds) if value.estimate else 0,
            "images": value.estimate.images if value.estimate else 0,
            "profile": selection.profile,
            "data": selection.data_name,
            "data_digest": selection.data_digest,
            "settings": filled.settings,
            "comparable": filled.comparable,
        }
        for line in filled.lines
        for column, value in zip(filled.columns, line.values, strict=True)
    ]


TIDY = (
    "artefact", "paper", "row", "ours", "column", "mean", "low", "high", "published", "difference",
    "effect_mean", "effect_low", "effect_high", "seeds", "images", "profile", "data",
    "data_digest", "settings", "comparable",
)  # fmt: skip


def csv_text(records: Records) -> str:
    """Records as CSV; lists are joined by semicolons.

    Text that a spreadsheet would run as a formula is quoted with an apostrophe.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, records.columns, lineterminator="\n")
    writer.writeheader()
    for record in records.rows:
        writer.writerow({name: _csv_cell(record.get(name)) for name in records.columns})
    return out.getvalue()


def _csv_cell(value: Any) -> Any:
    if isinstance(value, list):
        value = "; ".join(str(v) for v in value)
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@"):
        return "'" + value
    return value


def json_text(records: list[dict[str, Any]]) -> str:
    """Records as indented JSON."""
    return json.dumps(records, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
