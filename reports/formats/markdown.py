"""Tables and figures as Markdown that GitHub renders as it was meant."""

from __future__ import annotations

import re
from collections.abc import Sequence

from camsweep.reports.exhibit import Grid
from camsweep.reports.formats.cellparts import kind

# `_` inside a word and a lone `[` mean nothing; escaping them would spoil the file for the eye.
_INLINE = re.compile(r"[\\|*`$]|~(?=~)|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|\](?=[(\[:])|!(?=\[)")
_START = re.compile(r"[#+\-=\[]|(?<=\d)[.)](?=\s)")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def plain(text: str) -> str:
    """Text that is no markup inside a line: what is meant by it is what is shown."""
    line = "".join(c if c.isprintable() or c == "\u00a0" else " " for c in text)
    escaped = _INLINE.sub(lambda found: "\\" + found[0], line)
    return "".join(_ENTITIES.get(c, c) for c in escaped).strip(" ")


def paragraph(text: str) -> str:
    """Text that is no markup at a line's beginning either: no heading, list or link target."""
    line = plain(text)
    head = re.match(r"\d*", line)
    found = _START.match(line, head.end() if head else 0)
    return line if found is None else f"{line[: found.start()]}\\{line[found.start() :]}"


def _cell(text: str) -> str:
    # Sub-rows (published, difference) stay indented: blanks at a cell's beginning are dropped.
    return ("\u00a0\u00a0" if text.startswith("  ") else "") + plain(text)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def table(grid: Grid) -> list[str]:
    """The lines of a grid's table; columns of numbers are aligned to the right."""
    if not grid.headers:
        return []
    kinds = [kind([row[k] for row in grid.rows]) for k in range(len(grid.headers))]
    rules = ["---" if k == 0 or what == "text" else "---:" for k, what in enumerate(kinds)]
    return [
        _row([plain(name) for name in grid.headers]),
        _row(rules),
        *(_row([_cell(cell) for cell in row]) for row in grid.rows),
    ]


def image(file: str, alt: str) -> str:
    """A picture that lies beside the file; ``file`` is a name that `build` made."""
    return f"![{plain(alt).replace('[', chr(92) + '[').replace(']', chr(92) + ']')}]({file})"


def markdown(grid: Grid, images: Sequence[tuple[str, str]] = ()) -> str:
    """A Markdown section: heading, caption, pictures, table, notes.

    Args:
        grid: the table; without headings there is none.
        images: ``(file name, what it shows)`` of the pictures that lie beside it.
    """
    blocks = [f"## {plain(grid.title)}", paragraph(grid.caption)]
    blocks += [image(file, alt) for file, alt in images]
    blocks += ["\n".join(table(grid)), "\n".join(f"- {paragraph(note)}" for note in grid.notes)]
    return "\n\n".join(block for block in blocks if block) + "\n"
