from __future__ import annotations

from pathlib import Path

import pytest
from synthetic_store import make

from camsweep.reports.board.ofstore import rank
from camsweep.reports.board.text import leaderboard_caption
from camsweep.reports.build import Request, build
from camsweep.sweeps.plan import make_plan
from camsweep.sweeps.profile import load_profile
from camsweep.sweeps.results import load_trials
from camsweep.sweeps.spec import Sweep, SweepSpec, load_sweep
from camsweep.sweeps.stopping import write_stopping
from camsweep.sweeps.store import Store

DIGEST = "ab12cd34ef"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of cpn/table4 whose seeds were added by a rule, as far as the report can tell."""
    made = make(tmp_path_factory.mktemp("seeded") / "store", sweeps=("cpn/table4",), images=20)
    shipped = load_sweep("cpn/table4").spec.model_dump(exclude={"search", "ablate"})
    spec = SweepSpec.model_validate({**shipped, "seeds": {"min": 3, "max": 9, "until": 0.4}})
    for name, digest in (("cpn/table4", DIGEST), ("mine", DIGEST), ("elsewhere", "other data")):
        sweep = Sweep(name, "mine.yaml", spec)
        plan = make_plan([sweep], load_profile("embedded"), digest, overrides={"epochs": 6})
        write_stopping(made, plan, load_trials(made))
    return made


def test_the_rule_stands_under_the_artefact_and_in_the_leaderboard(
    store: Store, tmp_path: Path
) -> None:
    request = Request(store.url, tmp_path, ("cpn/table4",), ("html", "md"))
    build(request, say=lambda line: None)
    page = (tmp_path / "index.html").read_text()
    table = next(p for p in tmp_path.rglob("*table4*.md")).read_text()
    rule = "3 to 9 seeds an arm, added until the 95 % interval of the difference to p_h=0.1"
    for text in (page, table):
        assert rule in text
        assert "too many and too large" in text
    assert "Seeds of cpn/table4 --set epochs=6, p_h=0.2: 3 seeds, not decided yet" in table
    assert "mine" not in table, "another sweep's rule is not this artefact's"
    caption = leaderboard_caption(rank(store.url, say=lambda line: None))
    assert rule in caption
    assert "mine --set epochs=6" in caption
    assert "elsewhere" not in caption, "of other data"


def test_other_first_seeds_are_told_apart_under_one_rule(tmp_path: Path) -> None:
    made = make(tmp_path / "store", sweeps=("cpn/table4",), images=20)
    shipped = load_sweep("cpn/table4").spec.model_dump(exclude={"search", "ablate"})
    spec = SweepSpec.model_validate({**shipped, "seeds": {"min": 3, "max": 9, "until": 0.4}})
    for first in (100, 0):
        sweep = Sweep("cpn/table4", "mine.yaml", spec)
        plan = make_plan([sweep], load_profile("embedded"), DIGEST, first_seed=first)
        write_stopping(made, plan, load_trials(made))
    caption = leaderboard_caption(rank(made.url, say=lambda line: None))
    assert caption.count("seeds an arm, added until") == 1
    assert caption.count("Seeds of cpn/table4, p_h=0.2: 3 seeds") == 1
    assert caption.count("Seeds of cpn/table4 --first-seed 100, p_h=0.2: 3 seeds") == 1


def test_a_report_without_rules_says_nothing_of_them(tmp_path: Path) -> None:
    made = make(tmp_path / "store", sweeps=("cpn/table4",), images=20)
    assert "seeds an arm" not in leaderboard_caption(rank(made.url, say=lambda line: None))
