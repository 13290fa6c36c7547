"""A headless Chromium for the tests of the site, with the network off."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """One browser for all tests; skips where Chromium or playwright is missing."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("no Chromium on PATH")
    with api.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=path,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, file: Path, hash_: str = "", **options: Any) -> Iterator[Any]:
    """A page of a file, offline.

    At the end nothing may have been asked of a network, and no error may have come up.

    Args:
        browser: from the fixture.
        file: an HTML file.
        hash_: of the address, without the sign.
        **options: of the browser's context, such as ``viewport`` and ``color_scheme``.
    """
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    context.set_offline(True)
    context.set_default_timeout(15_000)
    page = context.new_page()
    wrong: list[str] = []
    page.on("request", lambda r: _local(r.url) or wrong.append(f"request: {r.url}"))
    page.on("console", lambda m: m.type in ("error", "warning") and wrong.append(m.text))
    page.on("pageerror", lambda e: wrong.append(str(e)))
    try:
        page.goto(file.as_uri() + (f"#{hash_}" if hash_ else ""))
        yield page
        assert not wrong
    finally:
        context.close()


def _local(url: str) -> bool:
    return urlsplit(url).scheme in ("file", "data", "blob")


def settle(page: Any) -> None:
    """Wait until the figures of the page that is shown are drawn."""
    page.wait_for_function(
        "() => [...document.querySelectorAll('.plot')]"
        ".every((p) => p.offsetParent === null || p.classList.contains('drawn'))"
    )
