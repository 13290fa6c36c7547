r"""Tables as LaTeX in booktabs style, and a document that shows all of them.

A table needs ``\usepackage{array,booktabs,graphicx}`` and nothing else.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from camsweep.reports.exhibit import Grid
from camsweep.reports.formats.cellparts import Parts, best, kind, parts
from camsweep.reports.formats.textext import breakable, tex_text

#: A table of more lines is set in several parts, so that none runs off its page.
LINES = 40
#: Notes under a table; further ones stand in the Markdown file.
NOTES = 12
#: Text of more characters than this is set in lines.
LINE = 30
_NOTE = 600
#: From so many columns on they stand closer together, and their words in more lines.
_MANY = 9
#: Words of at most so many characters stand in the middle of their column.
_SHORT = 14
BOLD = "Bold: the highest mean of a column whose interval lies above all others'."


def latex(grid: Grid, label: str) -> str:
    r"""A ``table`` float, or several where there are more than `LINES` lines.

    Numbers stand at their decimal point, intervals behind them in smaller type, notes below. A
    table that is wider than the line is scaled to it.

    Args:
        grid: what is shown; without headings only caption and notes.
        label: for ``\ref{tab:LABEL}``; other signs than letters, digits, ``.-:`` become dashes.
    """
    name = re.sub(r"[^A-Za-z0-9.:-]+", "-", label)
    columns = [_Column(grid, index) for index in range(len(grid.headers))]
    groups = _groups(grid, [max((c.lines(row) for c in columns), default=1) for row in _rows(grid)])
    count = len(groups)
    title = _title(grid.title)
    caption = f"{title}. {grid.caption}"
    if any(column.best is not None for column in columns):
        caption += f" {BOLD}"
    written = []
    for number, rows in enumerate(groups, 1):
        said = caption if number == 1 else f"{title} (continued)."
        named = f"tab:{name}" if number == 1 else f"tab:{name}:{number}"
        lines = [
            r"\begin{table}[htbp]",
            r"  \centering\small",
            rf"  \caption{{{tex_text(said)}}}",
            rf"  \label{{{named}}}\par\medskip",
            *([r"  \setlength{\tabcolsep}{3.5pt}"] if len(columns) >= _MANY else ()),
            *(_tabular(columns, rows) if columns else ()),
            *(_notes(grid.notes) if number == count else ()),
            r"\end{table}",
        ]
        written.append("\n".join(lines) + "\n")
    # Many floats in a row would fill LaTeX's memory for them.
    return "\\clearpage\n".join(written)


def document(files: Sequence[str]) -> str:
    r"""A document of its own that shows the tables.

    Args:
        files: the names of their files, which lie beside it.
    """
    shown = [rf"\input{{{name}}}" + "\n" + r"\clearpage" for name in files]
    return "\n".join(
        [
            "% All tables of the report. Compile it here with: pdflatex tables.tex",
            "% In a paper: the packages below, and \\input the tables you need.",
            r"\documentclass[a4paper]{article}",
            r"\usepackage[margin=2cm]{geometry}",
            r"\usepackage{array,booktabs,graphicx}",
            r"\begin{document}",
            *(shown or ["There are no tables."]),
            r"\end{document}",
            "",
        ]
    )


def _rows(grid: Grid) -> range:
    return range(len(grid.rows))


def _groups(grid: Grid, lines: Sequence[int]) -> list[range]:
    """The rows of each part; a row's sub-rows stay with it."""
    found, start, height = [], 0, 0
    # So many columns are scaled to the page, and their lines with them.
    limit = LINES * 4 // 3 if len(grid.headers) >= _MANY else LINES
    for row in _rows(grid):
        height += lines[row]
        if height > limit and row > start:
            end = row
            while end > start + 1 and _is_sub(grid.rows[end]):
                end -= 1
            found.append(range(start, end))
            start, height = end, sum(lines[end : row + 1])
    return [*found, range(start, len(grid.rows))]


def _title(text: str) -> str:
    """A title without the number that it has in the paper: LaTeX gives it one of its own."""
    found = re.fullmatch(r"(Table|Figure|Section) ([\w.]+): (.+)", text, re.S)
    return text if found is None else f"{found[3]} (the paper's {found[1].lower()} {found[2]})"


def _is_sub(row: Sequence[str]) -> bool:
    """Whether a row (published, difference) belongs to the one above it."""
    return bool(row) and row[0].startswith("  ")


def _tabular(columns: Sequence[_Column], rows: range) -> list[str]:
    spec = "".join(column.spec for column in columns)
    body = [" & ".join(column.cell(row) for column in columns) for row in rows]
    return [
        r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        # An empty table would have no width at all, by which resizebox would divide.
        rf"  \begin{{tabular}}{{@{{\hspace{{1sp}}}}{spec}@{{}}}}",
        r"  \toprule",
        "  " + " & ".join(column.heading() for column in columns) + r" \\",
        r"  \midrule",
        *(f"  {line} \\\\" for line in body),
        r"  \bottomrule",
        r"  \end{tabular}}",
    ]


def _notes(notes: Sequence[str]) -> list[str]:
    if not notes:
        return []
    shown = [textwrap.shorten(note, _NOTE, placeholder=" …") for note in notes[:NOTES]]
    if notes[NOTES:]:
        shown.append(f"{len(notes) - NOTES} more notes are in the Markdown file.")
    # Notes hold commands to be copied, and the usual font has a line for an underscore.
    underscore = r"{\ttfamily\char95}"
    lines = [f"  {breakable(note, 40)}\\par".replace(r"\_", underscore) for note in shown]
    begin = r"  \par\medskip\begin{minipage}{\linewidth}\footnotesize\raggedright"
    return [begin, *lines, r"  \end{minipage}"]


def _guarded(text: str) -> str:
    r"""Text that may stand behind ``\\``, which takes ``*`` and ``[`` for its own."""
    return "{}" + text if text[:1] in ("[", "*") else text


def _number(text: str) -> str:
    return re.sub(r"[-−](?=\d)", "$-$", text)


class _Column:
    """One column of a grid: how it is aligned, and its cells."""

    def __init__(self, grid: Grid, index: int) -> None:
        self._cells = [row[index] for row in grid.rows]
        self._title = grid.headers[index]
        self._first = index == 0
        crowded = len(grid.headers) >= _MANY and not self._first
        self._line = _SHORT if crowded else LINE
        words = all(parts(cell) is None for cell in self._cells)
        self.kind = "text" if self._first and words else kind(self._cells)
        # Sub-rows are no rivals: they hold what was published, and differences.
        rivals = ["" if _is_sub(row) else row[index] for row in grid.rows]
        self.best = best(rivals) if self.kind == "estimate" else None
        self._decimals = max((p.decimals for c in self._cells if (p := parts(c))), default=0)

    @property
    def _long(self) -> bool:
        return self.kind == "text" and max(map(len, self._cells), default=0) > self._line

    @property
    def _narrow(self) -> bool:
        return self._line < LINE and max(map(len, self._cells), default=0) <= LINE

    def lines(self, row: int) -> int:
        """About how many lines a cell takes."""
        fitting = 12 if self._narrow else 22
        return -(-len(self._cells[row]) // fitting) if self._long else 1

    @property
    def spec(self) -> str:
        if self.kind == "estimate":
            return r"r@{\,}l"
        if self._long:
            width = "2.4cm" if self._narrow else "4.2cm"
            return rf">{{\raggedright\arraybackslash}}p{{{width}}}"
        return self._side

    @property
    def _side(self) -> str:
        if self.kind != "text":
            return "r"
        short = max(map(len, self._cells), default=0) <= _SHORT
        return "c" if short and not self._first else "l"

    def heading(self) -> str:
        text = self._title.strip()
        lines = [text]
        if not self._long:
            # A heading is no reason for a column to be wider than its cells.
            width = max(map(len, [*self._cells, *text.split()]), default=1)
            lines = textwrap.wrap(text, max(width, 1), break_long_words=False) or [""]
        set_ = [_guarded(tex_text(line)) for line in lines]
        whole = set_[0]
        if len(set_) > 1:
            side = "c" if self.kind == "estimate" else self._side
            whole = rf"\begin{{tabular}}[b]{{@{{}}{side}@{{}}}}" + r" \\ ".join(set_)
            whole += r"\end{tabular}"
        return rf"\multicolumn{{2}}{{c}}{{{whole}}}" if self.kind == "estimate" else whole

    def cell(self, row: int) -> str:
        text = self._cells[row]
        found = parts(text)
        if self.kind == "estimate":
            return self._estimate(text, found, row)
        if self.kind == "number":
            return self._padded(found) if found else tex_text(text.strip())
        set_ = _guarded(breakable(text.strip(), 12) if self._long else tex_text(text.strip()))
        # Sub-rows (published, difference) are indented under the row they belong to.
        return r"\quad " + set_ if self._first and text.startswith("  ") else set_

    def _padded(self, found: Parts) -> str:
        rest = f" {tex_text(found.interval + ' ' + found.rest).strip()}".rstrip()
        missing = self._decimals - found.decimals
        if not missing or rest:
            return _number(found.number) + rest
        point = "" if found.decimals else "."
        return _number(found.number) + rf"\phantom{{{point}{'0' * missing}}}"

    def _estimate(self, text: str, found: Parts | None, row: int) -> str:
        if found is None:
            return rf"\multicolumn{{2}}{{c}}{{{tex_text(text.strip())}}}"
        number = self._padded(Parts(found.number, "", ""))
        if row == self.best:
            number = rf"\textbf{{{number}}}"
        behind = _number(f"{found.interval} {found.rest}".strip())
        small = "" if not behind else rf"{{\scriptsize {_small(behind)}}}"
        return f"{number} & {small}"


def _small(text: str) -> str:
    """The part behind a number; its minus signs are made already."""
    return "$-$".join(tex_text(piece) for piece in text.split("$-$"))
