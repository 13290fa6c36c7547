"""The site in a real browser, from disk and offline: pages, links, keyboard, colours, widths."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import synthetic_store as synthetic
from browser import Site, opened, settle, until

from camsweep.reports.build import Request, build
from camsweep.reports.load import read_trials

PAGES = ["overview", "cpn", "leaderboard", "pictures", "training", "provenance"]
SHOWN = (
    "[...document.querySelectorAll('main > .page')].filter((p) => p.offsetParent).map((p) => p.id)"
)


def shows(page: Any, name: str) -> None:
    """Wait until that page alone is shown: the address changes it in a task of its own."""
    until(page, f"JSON.stringify({SHOWN}) === JSON.stringify(['{name}'])")


def plots(page: Any) -> int:
    return int(page.locator(".plot .main-svg:visible").count())


def test_every_page_opens_alone_and_draws_its_figures(chromium: Any, site: Site) -> None:
    with opened(chromium, site.page) as page:
        assert page.eval_on_selector_all("main > .page", "all => all.map((p) => p.id)") == PAGES
        assert page.locator("nav a.to-page").count() == len(PAGES)
        for name in PAGES:
            page.locator(f"nav a.to-page[href='#{name}']").click()
            shows(page, name)
            settle(page)
            places = page.locator(f"#{name} .plot:visible").count()
            assert (plots(page) > 0) == (places > 0)
            assert page.locator(f"#{name} .plot.failed").count() == 0
            current = page.locator("nav a[aria-current=page]")
            assert current.get_attribute("href") == f"#{name}"
            assert page.title().startswith(page.locator(f"#{name} h1").inner_text())
        assert page.locator("#cpn .plot").count() >= 2
        assert page.locator("#training .plot").count() == 1


def test_figures_of_other_pages_wait_until_they_are_shown(chromium: Any, site: Site) -> None:
    with opened(chromium, site.page) as page:
        settle(page)
        assert page.locator(".plot.drawn").count() == 0, "the overview has none"
        page.evaluate("location.hash = '#training'")
        page.wait_for_selector("#training .plot.drawn")
        assert page.locator(".plot.drawn").count() == 1


def test_deep_links_and_the_back_button(chromium: Any, site: Site) -> None:
    with opened(chromium, site.page, "cpn-table4") as page:
        shows(page, "cpn")
        settle(page)
        top = page.locator("#cpn-table4").bounding_box()["y"]
        assert -5 <= top < 300
        page.locator("nav a.to-page[href='#training']").click()
        shows(page, "training")
        page.go_back()
        shows(page, "cpn")
        page.go_forward()
        shows(page, "training")
        page.evaluate("location.hash = '#no-such-thing%'")
        shows(page, "overview")


def test_without_javascript_all_is_there_in_sequence(chromium: Any, site: Site) -> None:
    with opened(chromium, site.page, java_script_enabled=False) as page:
        for name in PAGES:
            assert page.locator(f"#{name}").is_visible()
        assert page.locator("#leaderboard .controls").is_hidden()
        assert page.locator("#leaderboard td.set-cost").first.is_visible()


def test_the_overview_says_what_is_complete_and_what_fills_the_holes(
    chromium: Any, site: Site
) -> None:
    with opened(chromium, site.page) as page:
        text = page.locator("#overview").inner_text()
        done = sum(t.done for t in read_trials(site.store) if t.profile == "embedded")
        tile = page.locator("#overview .tiles div", has_text="trials done")
        assert tile.locator("dd").inner_text() == str(done)
        assert "Best variant: CPN" in text
        assert "camsweep run cpn/fig6 --profile embedded" in text
        assert "quick on other (ff00ff00)" in text
        row = page.locator("#overview tr", has_text="Hidden probability")
        assert "1 failed trial" in row.inner_text()
        row.locator("a").click()
        shows(page, "cpn")


def test_keyboard_alone(chromium: Any, site: Site) -> None:
    with opened(chromium, site.page) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        shows(page, "overview")
        page.locator("nav a.to-page[href='#leaderboard']").focus()
        page.keyboard.press("Enter")
        shows(page, "leaderboard")
        assert page.evaluate("document.activeElement.tagName") == "H1", "the page's heading"
        head = page.locator("#leaderboard .of-board:visible th[data-key=variant]")
        head.locator("button").focus()
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == "ascending"
        page.keyboard.press("Space")
        assert head.get_attribute("aria-sort") == "descending"
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", "focus can be seen"


def ground(page: Any) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_dark_by_the_system_and_by_the_switch(chromium: Any, site: Site) -> None:
    with opened(chromium, site.page, "training", color_scheme="dark") as page:
        settle(page)
        dark = ground(page)
        text = page.locator(".plot .xtitle").first.evaluate("e => getComputedStyle(e).fill")
        assert text == "rgb(228, 233, 239)", "figures follow"
        page.locator("#ui-theme").click()
        light = ground(page)
        assert light != dark
        assert page.locator("#ui-theme").get_attribute("aria-pressed") == "false"
        settle(page)
        fill = "getComputedStyle(document.querySelector('.plot .xtitle')).fill"
        until(page, f"{fill} === 'rgb(27, 36, 48)'")
        page.reload()
        assert ground(page) == light, "kept until the tab is closed"
    with opened(chromium, site.page) as page:
        assert ground(page) == light
        assert page.locator("#ui-theme").get_attribute("aria-pressed") == "false"


@pytest.mark.parametrize("width", [360, 1280])
def test_no_page_is_wider_than_the_screen(chromium: Any, site: Site, width: int) -> None:
    with opened(chromium, site.page, viewport={"width": width, "height": 800}) as page:
        for name in PAGES:
            page.evaluate(f"location.hash = '#{name}'")
            settle(page)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name


def test_what_assistive_technology_needs(chromium: Any, site: Site) -> None:
    with opened(chromium, site.page) as page:
        for name in PAGES:
            page.evaluate(f"location.hash = '#{name}'")
            settle(page)
        unnamed = """() => [...document.querySelectorAll('button, input, select, [role=img]')]
            .filter((e) => !(e.getAttribute('aria-label')
            || e.textContent.trim() || e.labels?.length)).map((e) => e.outerHTML.slice(0, 99))"""
        assert page.evaluate(unnamed) == []
        assert page.locator("img:not([alt])").count() == 0
        for table in page.locator("table").all():
            assert table.locator("caption").count() == 1
            assert table.locator("th:not([scope])").count() == 0
        for name in ("header", "nav", "main", "footer"):
            assert page.locator(f"body {name}").count() == 1
        assert page.locator(".plot:not([role=img])").count() == 0
        ids = page.eval_on_selector_all("[id]", "all => all.map((e) => e.id)")
        assert len(ids) == len(set(ids))
        assert page.evaluate("document.documentElement.lang") == "en"


def test_paper_shows_the_page_alone_and_light(chromium: Any, site: Site) -> None:
    with opened(chromium, site.page, "cpn-table4", color_scheme="dark") as page:
        settle(page)
        page.emulate_media(media="print")
        assert ground(page) == "rgb(245, 247, 249)"
        assert page.locator("nav").is_hidden()
        shows(page, "cpn")


def test_a_script_that_is_not_the_sites_own_does_not_run(
    chromium: Any, site: Site, tmp_path: Path
) -> None:
    text = site.page.read_text(encoding="utf-8")
    file = tmp_path / "index.html"
    file.write_text(text.replace("</body>", "<script>document.title = 'evil'</script></body>"))
    with (
        pytest.raises(AssertionError, match="Content Security Policy"),
        opened(chromium, file) as page,
    ):
        assert page.title() != "evil"


def test_labels_that_look_like_markup_do_nothing(chromium: Any, tmp_path: Path) -> None:
    evil = "<img src=x onerror=\"document.title='evil'\">'&"
    store = synthetic.make(
        tmp_path / "s", images=5, seeds=(0, 1), sweeps=("cpn/table4", "cpn/fig5"), profile=evil,
        data_name=evil, rename={"p_h=0.1": evil}, classes=(*synthetic.CLASSES[:-1], evil),
    )  # fmt: skip
    build(Request(store.url, tmp_path / "o", formats=("html",), resamples=20), say=lambda _: None)
    with opened(chromium, tmp_path / "o" / "index.html") as page:
        for name in page.eval_on_selector_all("main > .page", "all => all.map((p) => p.id)"):
            page.evaluate(f"location.hash = '#{name}'")
            settle(page)
        assert page.title() != "evil"
        assert page.locator("img[src=x]").count() == 0
        assert evil in page.locator("header").inner_text()


def test_another_report_is_the_same_to_the_byte(site: Site, tmp_path: Path) -> None:
    build(replace(site.request, out=tmp_path, formats=("html",)), say=lambda _: None)
    assert (tmp_path / "index.html").read_bytes() == site.page.read_bytes()
