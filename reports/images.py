"""Static images by kaleido and the system's Chromium, one browser for a whole report."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

FORMATS = ("png", "svg", "pdf")
START_SECONDS, DRAW_SECONDS, CLOSE_SECONDS = 60.0, 120.0, 10.0
_NAMES = (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome",
    "microsoft-edge",
)  # fmt: skip
Render = Callable[[go.Figure, str], bytes]


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

    def call(self, work: Coroutine[Any, Any, Any], seconds: float) -> Any:
        future = asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, seconds), self._loop)
        return future.result(seconds + 5)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)


@contextmanager
def renderer() -> Iterator[Render]:
    """A function ``(figure, "png") -> bytes`` with one browser kept open behind it.

    MathJax is off, since its default address is on the network.

    Raises:
        BrowserMissingError: there is no browser, or it does not start or draw.
    """
    from kaleido import Kaleido

    path = browser()
    loop = _Loop()
    try:
        kaleido = Kaleido(n=1, mathjax=False, path=path)
        with _told(f"{path} does not start"):
            loop.call(kaleido.open(), START_SECONDS)

        def render(figure: go.Figure, form: str) -> bytes:
            size = {"width": figure.layout.width, "height": figure.layout.height}
            options = {"format": form, "scale": 2 if form == "png" else 1, **size}
            with _told(f"{path} does not draw"):
                return bytes(loop.call(kaleido.calc_fig(figure.to_dict(), options), DRAW_SECONDS))

        try:
            yield render
        finally:
            # A browser that won't close is no reason to lose the report.
            with suppress(Exception):
                loop.call(kaleido.close(), CLOSE_SECONDS)
    finally:
        loop.close()


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
