"""The site without a browser: contrast, pages and ids, what the overview tells, pictures."""

from __future__ import annotations

import io
import itertools
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
import synthetic_store as synthetic
from PIL import Image
from safetensors.numpy import save

from camsweep.reports.exhibit import Drawn, Exhibit
from camsweep.reports.load import read_pictures, read_trials
from camsweep.reports.site import colours
from camsweep.reports.site.cards import exhibit_card
from camsweep.reports.site.gallery import SIDE, VARIANTS, gallery
from camsweep.reports.site.layout import Placed, pages
from camsweep.reports.site.overview import commands, verdicts
from camsweep.reports.site.page import policy


def exhibit(id_: str, page: str, **more: Any) -> Exhibit:
    return Exhibit(id_, page, "", "A title", "", **more)


@pytest.mark.parametrize("theme", [colours.LIGHT, colours.DARK])
def test_text_can_be_read_on_every_ground(theme: dict[str, str]) -> None:
    for text, ground in itertools.product(colours.TEXTS, colours.GROUNDS):
        assert colours.contrast(theme[text], theme[ground]) >= 4.5, (text, ground)
    assert colours.contrast(theme["on-accent"], theme["accent"]) >= 4.5
    for ground in ("page", "card"):  # edges of controls, outlines of focus, marks in figures
        for mark in ("edge", "accent"):
            assert colours.contrast(theme[mark], theme[ground]) >= 3


def test_contrast_is_that_of_the_standard() -> None:
    assert colours.contrast("#ffffff", "#000000") == pytest.approx(21)
    assert colours.contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)
    assert colours.contrast("#123456", "#123456") == 1


def test_the_stylesheet_uses_the_checked_colours_alone(root: Path) -> None:
    css = (root / "reports" / "site" / "page.css").read_text()
    assert not re.findall(r"#[0-9a-fA-F]{3,8}\b|rgba?\(", css)
    used = set(re.findall(r"var\(--([a-z-]+)\)", css))
    assert used <= set(colours.LIGHT) == set(colours.DARK)


def test_pages_in_order_with_ids_of_their_own() -> None:
    made = [
        exhibit("training", "training"),
        exhibit("own/a.b", "own"),
        exhibit("own/a-b", "own"),
        exhibit("x/1", "something new"),
        exhibit("cpn/table4", "cpn"),
        exhibit("leaderboard", "cpn"),
    ]
    shown = pages(made)
    names = [p.name for p in shown]
    assert names == [
        "overview", "cpn", "own", "something-new", "leaderboard", "training", "provenance",
    ]  # fmt: skip
    anchors = {p.name: [x.anchor for x in p.placed] for p in shown}
    assert anchors["own"] == ["own-a-b", "own-a-b-2"]
    assert anchors["training"] == [""], "the page itself is what links lead to"
    assert anchors["cpn"] == ["cpn-table4", "leaderboard-2"]
    assert [p.title for p in shown if p.name == "something-new"] == ["Something new"]
    assert sum(len(p.placed) for p in shown) == len(made)
    assert [p.name for p in pages([])] == ["overview", "leaderboard", "provenance"]
    assert [p.name for p in pages([], board=False)] == ["overview", "provenance"]
    assert "pictures" in [p.name for p in pages([], pictures=True)]


def test_figures_have_words_and_room_before_they_are_drawn() -> None:
    figure = go.Figure(layout={"height": 512})
    drawn = Drawn("a b", "Title", 'Falls from "3" to <1>.', figure)
    card = exhibit_card(Placed("own-x", exhibit("own/x", "own", figures=(drawn,))), "own")
    assert 'role="img" aria-label="Falls from &quot;3&quot; to &lt;1&gt;."' in card
    assert 'id="plot-own-x-a-b"' in card
    assert "height:512px" in card
    assert "<1>" not in card


def test_the_overview_lists_each_command_once() -> None:
    some = exhibit("a", "cpn", commands=("camsweep run a --set 'x=<1>'", "camsweep run b"))
    assert commands([some, some]) == ["camsweep run a --set 'x=<1>'", "camsweep run b"]
    assert not some.complete
    assert exhibit("a", "cpn").complete
    assert not exhibit("a", "cpn", lacking=True).complete
    judged = exhibit("a", "cpn", verdicts={"differs": 2, "reproduced": 1})
    assert verdicts([judged, some, judged]) == {"differs": 4, "reproduced": 2}


def test_the_policy_allows_the_given_scripts_alone() -> None:
    given = policy(["alert(1)"])
    # printf 'alert(1)' | openssl dgst -sha256 -binary | base64
    assert "script-src 'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='; " in given
    assert given.startswith("default-src 'none'")
    assert "unsafe-eval" not in given


def entry(rank: int, trial: Any) -> Any:
    return SimpleNamespace(rank=rank, name=f"V{rank}", trials=(trial,))


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Any, list[Any]]:
    """A store and twelve trials of two methods in it, the baseline's last."""
    store = synthetic.make(tmp_path, images=3, seeds=(0,), sweeps=("cpn/fig6", "cpn/fig5"))
    trials = read_trials(store)
    cam = next(t for t in trials if t.method == "cam")
    return store, [*[t for t in trials if t.method == "cpn"][:11], cam]


def write(store: Any, trial: Any, size: int, classed: bool = True, all_maps: bool = False) -> Any:
    rng = np.random.default_rng(1)
    arrays = {
        "k/image": rng.integers(0, 256, (size, size, 3), dtype=np.uint8),
        "k/mask": np.full((size, size), 2, np.uint8),
        "k/map": rng.integers(0, 256, (6 if all_maps else 1, size, size), dtype=np.uint8),
    }
    if classed:
        arrays["k/map_class"] = np.full((1, size, size), 2, np.uint8)
    store.write(f"artefacts/{trial.id}/pictures.safetensors", save(arrays))
    return arrays


def decode(content: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(content)))


def test_the_best_of_each_method_is_among_the_pictures(stored: tuple[Any, list[Any]]) -> None:
    store, trials = stored
    for trial in trials:
        write(store, trial, 8)
    found = gallery([entry(i + 1, t) for i, t in enumerate(trials)], store)
    assert found is not None
    assert [v.rank for v in found.variants] == [*range(1, VARIANTS), 12]
    assert [s.label for s in found.shots] == ["kite"]
    assert all(v.threshold == pytest.approx(0.3) for v in found.variants)


def test_pictures_keep_every_value_and_large_ones_are_thinned(
    stored: tuple[Any, list[Any]],
) -> None:
    store, trials = stored
    small, large = write(store, trials[0], 8), write(store, trials[1], 2 * SIDE)
    for trial, arrays, step in ((trials[0], small, 1), (trials[1], large, 2)):
        found = gallery([entry(1, trial)], store)
        assert found is not None
        assert found.shots[0].step == step
        layer = found.variants[0].maps["map"][0]
        assert layer is not None
        assert layer.winner is not None
        np.testing.assert_array_equal(decode(layer.score), arrays["k/map"][0, ::step, ::step])
        np.testing.assert_array_equal(decode(layer.winner), 2)
        np.testing.assert_array_equal(
            decode(found.shots[0].image), arrays["k/image"][::step, ::step]
        )


def test_pictures_of_older_trials(stored: tuple[Any, list[Any]]) -> None:
    store, trials = stored
    write(store, trials[0], 8, classed=False)
    several = write(store, trials[1], 8, classed=False, all_maps=True)
    found = gallery([entry(1, trials[0]), entry(2, trials[1])], store)
    assert found is not None
    one, other = (v.maps["map"][0] for v in found.variants)
    assert one is not None
    assert other is not None
    assert one.winner is None, "no class was stored"
    assert other.winner is not None
    np.testing.assert_array_equal(decode(other.winner), several["k/map"].argmax(0) + 1)
    np.testing.assert_array_equal(decode(other.score), several["k/map"].max(0))


def test_no_pictures_no_page(stored: tuple[Any, list[Any]]) -> None:
    store, trials = stored
    without = [t for t in trials if not read_pictures(store, t)]
    assert without
    assert gallery([entry(1, without[0])], store) is None
    assert gallery([], store) is None
