"""The leaderboard in a real browser: sorting, filters, columns, several data sets."""

from __future__ import annotations

import csv
import math
from typing import Any

import pytest
from browser import Site, opened, settle, until

from camsweep.reports.site.board import SHOWN, shares

VISIBLE = "#leaderboard .of-board:visible tbody tr:visible"


@pytest.fixture(scope="module")
def ranked(site: Site) -> list[dict[str, str]]:
    """The leaderboard as the CSV file has it, from best to worst."""
    with (site.page.parent / "leaderboard.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def column(page: Any, key: str) -> list[str]:
    script = """(key) => {
        const board = document.querySelector('#leaderboard .of-board:not([hidden])');
        const at = board.querySelector(`th[data-key=${key}]`).cellIndex;
        return [...board.querySelectorAll('tbody tr:not([hidden])')]
            .map((row) => row.children[at].dataset.v);
    }"""
    return list(page.evaluate(script, key))


def click(page: Any, key: str) -> Any:
    head = page.locator(f"#leaderboard .of-board:visible th[data-key={key}]")
    head.locator("button").click()
    return head


def told(page: Any) -> str:
    return str(page.locator("#leaderboard .of-board:visible .count").inner_text())


def test_rows_are_those_of_the_csv(chromium: Any, site: Site, ranked: list[dict[str, str]]) -> None:
    with opened(chromium, site.page, "leaderboard") as page:
        assert [int(v) for v in column(page, "rank")] == list(range(1, len(ranked) + 1))
        means = [float(v) for v in column(page, "metric")]
        assert means == pytest.approx([float(r["mean"]) / 100 for r in ranked], abs=1e-6)
        assert told(page) == f"{len(ranked)} of {len(ranked)} variants shown"


def test_sorting(chromium: Any, site: Site) -> None:
    with opened(chromium, site.page, "leaderboard") as page:
        page.locator("input[name=ui-set][value=all]").check()
        ranks = [int(v) for v in column(page, "rank")]
        for key in ("background", "train", "seeds", "gpu"):
            before = [int(v) for v in column(page, "rank")]
            values = dict(zip(before, column(page, key), strict=True))
            head = click(page, key)
            first = head.get_attribute("aria-sort")
            assert first == ("descending" if key in ("background", "seeds") else "ascending")
            for direction in (first, {"ascending": "descending"}.get(first, "ascending")):
                assert head.get_attribute("aria-sort") == direction
                sign = -1 if direction == "descending" else 1

                def place(
                    rank: int, sign: int = sign, values: dict[int, str] = values
                ) -> tuple[bool, float]:
                    return values[rank] == "", sign * float(values[rank] or 0)

                expected = sorted(before, key=place)  # stable, what is not known last
                assert [int(v) for v in column(page, "rank")] == expected
                before = expected
                if direction == first:
                    click(page, key)
        assert page.locator("#leaderboard .of-board:visible th[aria-sort]").count() == 1
        click(page, "rank")
        assert [int(v) for v in column(page, "rank")] == ranks
        click(page, "variant")
        names = column(page, "variant")
        assert names == sorted(names)


def test_filters(chromium: Any, site: Site, ranked: list[dict[str, str]]) -> None:
    with opened(chromium, site.page, "leaderboard") as page:
        total = len(ranked)
        page.locator("[data-filter=method]").select_option("cam")
        assert told(page) == f"1 of {total} variants shown"
        assert page.locator(VISIBLE).count() == 1
        page.get_by_role("button", name="Reset").click()
        until(page, f"document.querySelectorAll('{VISIBLE.split(':')[0]}').length > 0")
        assert told(page) == f"{total} of {total} variants shown"
        page.locator("[data-filter=find]").fill("GRID cpn/fig7")
        wanted = [int(r["rank"]) for r in ranked if "grid" in r["variant"]]
        assert [int(v) for v in column(page, "rank")] == wanted
        assert told(page) == f"{len(wanted)} of {total} variants shown"
        click(page, "metric")
        click(page, "metric")
        assert [int(v) for v in column(page, "rank")] == wanted[::-1], "sorted among the filtered"
        page.locator("[data-filter=find]").fill("")
        page.locator("[data-filter=seeds]").select_option("3")
        few = sum(int(r["seeds"]) < 3 for r in ranked)
        assert few == 1, "the variant of which a trial failed"
        assert told(page) == f"{total - few} of {total} variants shown"
        for name in ("backbone", "stage"):
            control = page.locator(f"[data-filter={name}]")
            for value in control.locator("option").evaluate_all("o => o.map((x) => x.value)"):
                page.locator("[data-filter=seeds]").select_option("2")
                control.select_option(value)
                shown = page.eval_on_selector_all(
                    "#leaderboard .of-board:not([hidden]) tbody tr:not([hidden])",
                    f"all => all.map((r) => r.dataset.{name})",
                )
                assert shown
                assert not value or set(shown) == {value}
            control.select_option("")


def test_each_data_set_and_profile_has_its_board(chromium: Any, site: Site) -> None:
    with opened(chromium, site.page, "leaderboard") as page:
        control = page.locator("[data-filter=board]")
        names = control.locator("option").all_inner_texts()
        assert len(names) == 2
        assert names[0].startswith("embedded on")
        assert names[1].startswith("quick on other")
        control.select_option("1")
        assert page.locator(VISIBLE).count() == 5
        assert told(page) == "5 of 5 variants shown"
        heading = page.locator("#leaderboard .of-board:visible h2").first.inner_text()
        assert heading == names[1]
        settle(page)
        page.reload()
        assert page.locator(VISIBLE).count() == 5, "what was chosen stays until the tab is closed"


def test_columns_in_sets_fit_the_screen(chromium: Any, site: Site) -> None:
    with opened(chromium, site.page, "leaderboard") as page:
        table = page.locator("#leaderboard .of-board:visible .scroll").first
        seen = {}
        for name in ("quality", "places", "objects", "cost"):
            page.locator(f"input[name=ui-set][value={name}]").check()
            keys = page.locator("#leaderboard .of-board:visible thead th:visible")
            seen[name] = set(keys.evaluate_all("all => all.map((h) => h.dataset.key)"))
            assert table.evaluate("e => e.scrollWidth <= e.clientWidth"), name
        common = {"rank", "variant", "metric", "bar", "group", "seeds"}
        assert set.intersection(*seen.values()) == common
        assert {"ranks", "better", "tied"} <= seen["places"]
        assert {"background", "foreground", "precision", "recall"} <= seen["quality"]
        assert {"small", "medium", "large"} <= seen["objects"]
        assert {"train", "memory", "parameters", "gpu", "cpu"} <= seen["cost"]


def test_rows_of_many_boards_stay_below_the_limit() -> None:
    assert shares([3000]) == [SHOWN]
    assert shares([26, 5]) == [26, 5]
    assert shares([3000, 10, 3000]) == [245, 10, 245]
    assert shares([]) == []
    assert sum(shares([400] * 7)) <= SHOWN
    assert math.isclose(min(shares([400] * 7)), SHOWN // 7, abs_tol=1)
