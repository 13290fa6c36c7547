"""Results as a page: ``python -m camsweep.platform.bench.page < bench.json > page.md``.

The JSON is that of ``camsweep bench --json``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from camsweep.platform.bench.table import VERDICTS, Spread, number, span


def page(content: dict[str, Any]) -> str:
    """Markdown tables of values and ratios, with the notes of every benchmark.

    Args:
        content: what ``camsweep bench --json`` printed.
    """
    return "\n".join(_lines(content)) + "\n"


def _lines(content: dict[str, Any]) -> Iterator[str]:
    versions = ", ".join(f"{name} {version}" for name, version in content["versions"].items())
    yield f"{content['machine']}; {versions}."
    for found in content["benchmarks"]:
        yield from ("", f"### {found['name']}", "")
        yield from _table(found["unit"], found["values"].items())
        if found["ratios"]:
            yield ""
            rows = ((f"{ratio['of']} / {ratio['to']}", ratio) for ratio in found["ratios"])
            yield from _table("ratio", rows)
        yield ""
        yield from (f"- {note}" for note in found["notes"])


def _table(what: str, rows: Any) -> Iterator[str]:
    yield f"| {what} | median | range | goal | met |"
    yield "| --- | ---: | ---: | --- | --- |"
    for name, found in rows:
        spread = Spread(found["median"], found["low"], found["high"])
        cells = (number(spread.median), span(spread), found["goal"], VERDICTS[found["met"]])
        yield f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    print(page(json.load(sys.stdin)), end="")
