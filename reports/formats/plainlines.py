"""Our own markup -> its text, for formats that have none."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from camsweep.reports.markup import Html

_BLOCKS = ("p", "li", "div", "h3", "summary", "ul", "details")


def plain_lines(markup: Html | None) -> tuple[str, ...]:
    """The text of markup, a line for each of its blocks; none for None."""
    reader = _Text()
    reader.feed(markup or "")
    return tuple(line.strip() for line in reader.lines if line.strip())


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.lines = [""]

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag in _BLOCKS:
            self.lines.append("")

    def handle_data(self, data: str) -> None:
        self.lines[-1] += data
