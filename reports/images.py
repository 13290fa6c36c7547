"""Static images by kaleido and the system's Chromium, one browser for a whole report.

The same figure gives the same bytes, as long as browser and fonts are the same.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shutil
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

FORMATS = ("png", "svg", "pdf")
START_SECONDS, DRAW_SECONDS, CLOSE_SECONDS = 60.0, 120.0, 10.0
_NAMES = (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome",
    "microsoft-edge",
)  # fmt: skip
#: Pages of the browser that draw at once: a second one uses the time in which the first waits.
PAGES = 2
_UID = re.compile(rb'id="topdefs-([0-9a-f]+)"')
_NAMED = re.compile(rb"""(?:\bid="|\bclass="|url\(['"]?#|href="#)[^"')]*""")
_DATES = re.compile(rb"(/(?:CreationDate|ModDate) \(D:)\d{14}")


@dataclass(frozen=True)
class Job:
    """An image to be made: its file's name, the figure and the format."""

    name: str
    figure: go.Figure
    form: str


class BrowserMissingError(Exception):
    """No browser to draw with. The message is one line and says what to set."""


def browser() -> str:
    """The Chromium that draws: ``BROWSER_PATH``, else the first known name on ``PATH``.

    Raises:
        BrowserMissingError: there is none. kaleido's own search is not used: it would go on to
            fixed folders, and checks a path only when it starts it.
    """
    given = os.environ.get("BROWSER_PATH", "")
    if given:
        if Path(given).is_file():
            return given
        raise BrowserMissingError(f"BROWSER_PATH={given} is no file; images are left out")
    for name in _NAMES:
        found = shutil.which(name)
        if found:
            return found
    raise BrowserMissingError("no Chromium on PATH (or set BROWSER_PATH); images are left out")


def has_browser() -> bool:
    """Whether there is a Chromium to draw with."""
    try:
        return bool(browser())
    except BrowserMissingError:
        return False


class _Loop:
    """An event loop in a thread of its own, so that every call can have a time limit.

    kaleido's own `start_sync_server` waits forever where its browser dies at the start.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, Any], seconds: float) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, seconds), self._loop)

    def call(self, work: Coroutine[Any, Any, Any], seconds: float) -> Any:
        return self.start(work, seconds).result(seconds + 5)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)


def drawn(jobs: Iterable[Job]) -> Iterator[tuple[Job, bytes]]:
    """Draw figures, `PAGES` at once, with one browser for all of them.

    MathJax is off, since its default address is on the network.

    Args:
        jobs: what to draw; PNG has two pixels a unit of the figure's size.

    Yields:
        Each job with its image, in order.

    Raises:
        BrowserMissingError: there is no browser, or it does not start or draw.
    """
    with _browsing() as begin:
        waiting: deque[tuple[Job, Callable[[], bytes]]] = deque()
        for job in jobs:
            # Only so many wait, as pictures are large.
            while len(waiting) > PAGES:
                first, result = waiting.popleft()
                yield first, result()
            waiting.append((job, begin(job)))
        for first, result in waiting:
            yield first, result()


@contextmanager
def _browsing() -> Iterator[Callable[[Job], Callable[[], bytes]]]:
    """A function that begins to draw a job, and gives one that waits for its image."""
    from kaleido import Kaleido

    path = browser()
    loop = _Loop()
    try:
        kaleido = Kaleido(n=PAGES, mathjax=False, path=path)
        with _told(f"{path} does not start"):
            loop.call(kaleido.open(), START_SECONDS)

        def begin(job: Job) -> Callable[[], bytes]:
            content = job.figure.to_dict()
            for number, trace in enumerate(content.get("data", ())):
                trace["uid"] = f"t{number}"  # plotly draws lots for those that have none
            size = {"width": job.figure.layout.width, "height": job.figure.layout.height}
            options = {"format": job.form, "scale": 2 if job.form == "png" else 1, **size}
            # Whoever waits in the browser's queue has not begun: the limit is for all of them.
            limit = DRAW_SECONDS * (PAGES + 1)
            future = loop.start(kaleido.calc_fig(content, options), limit)

            def result() -> bytes:
                with _told(f"{path} does not draw"):
                    return steady(bytes(future.result(limit + 5)), job)

            return result

        try:
            yield begin
        finally:
            # A browser that won't close is no reason to lose the report.
            with suppress(Exception):
                loop.call(kaleido.close(), CLOSE_SECONDS)
    finally:
        loop.close()


def steady(content: bytes, job: Job) -> bytes:
    """An image without what differs from one drawing to the next.

    plotly draws lots for the names inside an SVG, which must differ between images of one page:
    they are made of what is drawn. Chromium writes the time into a PDF.
    """
    if job.form == "pdf":
        return _DATES.sub(rb"\g<1>20000101000000", content)
    found = _UID.search(content) if job.form == "svg" else None
    if found is None:
        return content
    drawing = json.dumps([job.name, job.figure.to_json()]).encode()
    own = hashlib.sha256(drawing).hexdigest()[: len(found[1])].encode()
    return _NAMED.sub(lambda name: name[0].replace(found[1], own), content)


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Whatever goes wrong between us and the browser, in one line: its errors share no base."""
    try:
        yield
    except Exception as error:
        said: Any = error.args
        while isinstance(said, tuple) and said:
            said = said[0]  # choreographer's errors nest their lines
        reason = str(said or type(error).__name__).strip().split("\n")[0].rstrip(".")
        raise BrowserMissingError(f"{what} ({reason}); images are left out") from error
