"""A page that is watched, in a real browser: it reads itself again and comes back in place."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import synthetic_store as synthetic
from browser import opened, until

from camsweep.reports.build import Request, gather, write_page
from camsweep.reports.refreshing import refreshing


def test_the_page_reads_itself_again_where_its_reader_was(chromium: Any, tmp_path: Path) -> None:
    made = synthetic.make(tmp_path / "s", images=6, seeds=(0, 1), sweeps=("cpn/table4",))
    request = Request(made.url, tmp_path / "o", resamples=20)
    report = gather(request, lambda _: None)
    file = write_page(report, request, refresh=2)
    with opened(chromium, file, "cpn", viewport={"width": 800, "height": 300}) as page:
        page.evaluate("scrollTo(0, 250)")
        place = page.evaluate("scrollY")
        assert place > 100, "there is something to scroll"
        # What is written while the page is open is what is read: marked, to be told apart.
        text = file.read_text(encoding="utf-8").replace("</body>", "<i id='new'></i></body>")
        file.write_text(text, encoding="utf-8")
        until(page, "document.getElementById('new') !== null", 60)
        until(page, f"Math.abs(scrollY - {place}) < 2", 60)
        assert page.evaluate("location.hash") == "#cpn"
        # The last page stays: nothing is marked any more once it was read.
        write_page(report, request)
        until(page, "document.getElementById('new') === null", 60)
        page.evaluate("window.same = true")
        time.sleep(4)
        assert page.evaluate("window.same === true")


def test_a_page_that_stays_has_nothing_of_it() -> None:
    assert refreshing(None) is None
    assert 'content="1"' in str(refreshing(0))
    assert str(refreshing(7)).count('content="7"') == 2


@pytest.mark.parametrize("seconds", [None, 5])
def test_the_same_store_gives_the_same_page(tmp_path: Path, seconds: int | None) -> None:
    made = synthetic.make(tmp_path / "s", images=6, seeds=(0, 1), sweeps=("cpn/table4",))
    request = Request(made.url, tmp_path / "o", resamples=20)
    texts = []
    for _ in range(2):
        report = gather(request, lambda _: None)
        texts.append(write_page(report, request, refresh=seconds).read_bytes())
    assert texts[0] == texts[1]
    assert (b'http-equiv="refresh"' in texts[0]) == (seconds is not None)
