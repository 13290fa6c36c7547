"""A headless Chromium for the tests of the site, with the network off."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import pytest
import synthetic_store as synthetic
from safetensors.numpy import save

from camsweep.reports.build import Request, build
from camsweep.reports.load import read_pictures, read_trials
from camsweep.sweeps.store import Store

SWEEPS = ("cpn/fig5", "cpn/fig6", "cpn/fig7", "cpn/table4")
NAMES = ("chromium", "chromium-browser", "google-chrome")


class Site(NamedTuple):
    """The page of a report, the store behind it, its request, stored pictures by method."""

    page: Path
    store: Store
    request: Request
    pictures: dict[str, dict[str, Any]]


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
        if wrong:
            raise AssertionError("; ".join(wrong))
    finally:
        context.close()


def _local(url: str) -> bool:
    return urlsplit(url).scheme in ("file", "data", "blob")


def until(page: Any, script: str, seconds: float = 15) -> None:
    """Wait until something is true in the page, which may be read again meanwhile.

    The place of playwright's `wait_for_function`, which evaluates text from within the page once it
    has to wait: the page's own policy refuses that.
    """
    end = time.monotonic() + seconds
    why = ""
    while time.monotonic() < end:
        try:
            if page.evaluate(script):
                return
            why = ""
        except Exception as error:
            why = f" ({error})"
        page.wait_for_timeout(50)
    raise AssertionError(f"not true in {seconds:g} s: {script}{why}")


def settle(page: Any) -> None:
    """Wait until the figures of the page that is shown are drawn."""
    until(
        page,
        "[...document.querySelectorAll('.plot')]"
        ".every((p) => p.offsetParent === null || p.classList.contains('drawn'))",
    )


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A report of a store with holes, a failed trial, two data sets and two kinds of pictures."""
    store = synthetic.make(
        tmp_path_factory.mktemp("store"), images=12, noise=0.004, sweeps=SWEEPS,
        missing=frozenset({"s_n=4000"}), failing=frozenset({"p_h=0.3"}),
    )  # fmt: skip
    synthetic.make(
        Path(store.url), images=12, seeds=(0, 1), profile="quick", data_name="other",
        digest="ff00ff00", sweeps=("cpn/table4",),
    )  # fmt: skip
    written = {}
    for trial in read_trials(store):
        if read_pictures(store, trial) and trial.profile == "embedded":
            written[trial.method] = drawn_pictures(classed=trial.method == "cpn")
            name = f"artefacts/{trial.id}/pictures.safetensors"
            store.write(name, save(written[trial.method]))
    out = tmp_path_factory.mktemp("report")
    request = Request(store.url, out, formats=("html", "csv"), profile="embedded", resamples=60)
    build(request, say=lambda _: None)
    return Site(out / "index.html", store, request, written)


def drawn_pictures(*, classed: bool) -> dict[str, Any]:
    """Three pictures as trials store them; older trials kept no class of a score."""
    rng = np.random.default_rng(8)
    arrays: dict[str, Any] = {}
    for index, (high, wide) in enumerate(((40, 56), (48, 48), (33, 47))):
        key = f"val_{index:05d}"
        mask = np.zeros((high, wide), np.uint8)
        mask[5:25, 8:30] = 1 + index
        mask[20:30, 25:40] = 4
        mask[0:3] = 255
        score = rng.integers(0, 256, (1, high, wide), dtype=np.uint8)
        score[0][mask > 0] = np.maximum(score[0][mask > 0], 120)
        winner = rng.choice([1 + index, 4], size=(1, high, wide)).astype(np.uint8)
        winner[score == 0] = 0
        arrays[f"{key}/image"] = rng.integers(0, 256, (high, wide, 3), dtype=np.uint8)
        arrays[f"{key}/mask"] = mask
        arrays[f"{key}/map"] = score
        arrays[f"{key}/raw"] = 255 - score
        if classed:
            arrays[f"{key}/map_class"] = winner
            arrays[f"{key}/raw_class"] = winner
    return arrays
