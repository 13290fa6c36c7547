"""Where trials were made otherwise than the published numbers: told from facts, never guessed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import synthetic_store as synthetic
from pydantic import ValidationError

from camsweep.methods.config import TrialConfig
from camsweep.reports.load import Trial, read_trials
from camsweep.reports.protocol import differences, say, sources
from camsweep.reports.published import FACTS, Paper
from camsweep.reports.spec import paper, shipped
from camsweep.reports.specparts import METRICS
from camsweep.sweeps.plan import resolve
from camsweep.sweeps.profile import load_profile
from camsweep.sweeps.spec import load_sweep


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    folder = tmp_path_factory.mktemp("s")
    store = synthetic.make(folder, sweeps=("cpn/table4",), seeds=(0,), images=4)
    return read_trials(store)[0]


def cells_of(name: str, profile: str, trial: Trial, images: int) -> list[tuple[str, Trial]]:
    """A trial of each cell of an artefact as a run of the profile would store it."""
    found = []
    spec = shipped()[name]
    cells = dict(load_sweep(spec.sweep).cells())
    for _, label in spec.cells():
        config = resolve(spec.sweep, cells[label], load_profile(profile), {}, {})
        own = replace(trial, method=config.method, config=config.active(), eval_images=images)
        found.append((label, own))
    return found


def told(name: str, profile: str, trial: Trial, images: int = 1464) -> list[str]:
    folder, _, artefact = name.partition("/")
    return list(differences(paper(folder), artefact, cells_of(name, profile, trial, images)))


def test_the_embedded_profile_differs_in_what_it_says(trial: Trial) -> None:
    lines = told("cpn/table4", "embedded", trial, 300)
    assert "evaluated images 300 here, 1,464 in the paper" in lines
    assert "backbone small here, resnet38 in the paper" in lines
    assert "crop 96 here, 448 in the paper" in lines
    assert "long side none here, 448 to 768 in its released code" in lines
    assert "epochs 4 here, 8 in the paper" in lines
    assert "batch 16 here, 4 in the paper" in lines
    assert "momentum 0.9 here, as in the paper, 0.0005 in its released code" in lines
    assert "ramp of the consistency terms 0.5 here, 0 in its released code" in lines
    assert (
        "background thresholds 0 to 0.99 by 0.01 here, 0.4 to 1.18 by 0.02 in its released code"
        in (lines)
    )
    assert not any(line.startswith(("learning rate", "test scales")) for line in lines), "equal"


@pytest.mark.parametrize(
    ("name", "profile", "images"),
    [
        ("cpn/table1", "voc12", 1464),
        ("cpn/fig7", "voc12", 1464),
        ("cpn/table5", "voc12", 1449),
        ("sipe/table4", "voc12", 1464),
        ("sipe/table1", "voc12", 1464),
        ("sipe/table2", "voc12", 1449),
        ("sipe/table3", "coco14", 40137),
    ],
)
def test_the_published_schedules_differ_in_known_quirks_alone(
    name: str, profile: str, images: int, trial: Trial
) -> None:
    """The profiles are the released code; what is left is where text and code disagree."""
    lines = told(name, profile, trial, images)
    allowed = ("momentum", "S_N", "hiding", "input range of SLIC", "background thresholds")
    assert [line for line in lines if not line.startswith(allowed)] == []
    assert any("as in its released code" in line for line in lines if "momentum" in line)


def test_methods_are_named_where_a_difference_is_not_theirs_alone(trial: Trial) -> None:
    lines = told("cpn/table1", "embedded", trial)
    assert "backbone small here, resnet38 in the paper" in lines, "of all three methods"
    batch = [line for line in lines if line.startswith("batch")]
    assert batch == [
        "batch 16 here, 4 in the paper (cpn)",
        "batch 16 here, 8 in its released code (seam)",
    ]


def made(facts: dict[str, Any], **more: Any) -> Paper:
    group = {"artefacts": ["t"], "methods": ["cpn"], "source": "the text", "facts": facts}
    return Paper.model_validate(
        {
            "paper": "x", "title": "x", "measured_on": "x",
            "comparable": {"profile": "voc12", "images": 1, "classes": ["background"]},
            "artefacts": {"t": {}}, "protocol": [{**group, **more}],
        }
    )  # fmt: skip


def test_what_a_row_does_not_tell_is_not_guessed(trial: Trial) -> None:
    published = made({"crop": 448, "epochs": 8, "images": 1464})
    bare = replace(trial, config={"epochs": None}, eval_images=0)
    assert differences(published, "t", [("a", bare)]) == ()
    assert differences(published, "other", [("a", trial)]) == ()
    other = replace(trial, config={"epochs": 2}, method="seam")
    assert differences(published, "t", [("a", other)]) == ()
    failed = replace(trial, config={"epochs": 2}, done=False)
    assert differences(published, "t", [("a", failed)]) == ()


def test_labels_narrow_a_group_down(trial: Trial) -> None:
    published = made({"epochs": 8}, labels=["a"])
    short = replace(trial, config={"epochs": 2})
    assert differences(published, "t", [("a", short)]) == ("epochs 2 here, 8 in the paper",)
    assert differences(published, "t", [("b", short)]) == ()
    assert sources(published, "t") == ("the text",)


def test_equal_settings_are_equal_however_they_are_written(trial: Trial) -> None:
    published = made({"scales": [0.5, 1, 2], "lr": 1, "flip_test": True})
    same = replace(trial, config={"scales": (0.5, 1.0, 2.0), "lr": 1.0, "flip_test": True})
    assert differences(published, "t", [("a", same)]) == ()
    # True is no 1: a switch that is a number is told.
    odd = replace(trial, config={"flip_test": False})
    assert differences(published, "t", [("a", odd)]) == ("test flip no here, yes in the paper",)


@pytest.mark.parametrize(
    ("facts", "more", "message"),
    [
        ({"corp": 448}, {}, "did you mean 'crop'"),
        ({"crop": {}}, {}, "needs paper, code or both"),
        ({"crop": 448}, {"artefacts": ["table9"]}, "no artefact 'table9'"),
        ({"crop": 448}, {"method": ["cpn"]}, "Extra inputs"),
    ],
)
def test_a_wrong_protocol_is_refused(
    facts: dict[str, Any], more: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        made(facts, **more)


def test_facts_are_settings_of_trials() -> None:
    from camsweep.methods.base import load_method, method_names

    known = set(TrialConfig.model_fields) | {"images", "resize"}
    for name in method_names():
        known |= set(load_method(name).config.model_fields)
    assert set(FACTS) <= known
    assert "miou" in METRICS


def test_settings_in_words() -> None:
    assert say("jitter", [0.0, 0.0, 0.0, 0.0]) == "none"
    assert say("resize", (448, 768)) == "448 to 768"
    assert say("clip_norm", 0.0) == "none"
    assert say("scales", [0.5, 1.0]) == "0.5, 1"
    assert say("flip_test", True) == "yes"


def test_a_report_tells_them(tmp_path: Path) -> None:
    from reports_world import World

    from camsweep.reports.text import notes

    store = synthetic.make(tmp_path / "s", sweeps=("cpn/table4",), images=5)
    said = [n for n in notes(World(store).fill("cpn/table4")) if n.startswith("Protocol: ")]
    assert len(said) == 1
    assert "epochs 6 here, 8 in the paper" in said[0]
    assert said[0].endswith("Known from: CPN's text and released code.")
