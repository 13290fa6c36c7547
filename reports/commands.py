"""The command that fills a hole: what a stored trial was started with, for the sweep that lacks."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from camsweep.reports.load import Trial, settings_text

QUICKSTART_OUT = "camsweep-quickstart"
_OPTIONS = {
    "--profile": "profile", "-p": "profile", "--data": "data", "--weights": "weights",
    "--out": "out", "-o": "out",
}  # fmt: skip


@dataclass(frozen=True)
class Started:
    """What a stored command says of its inputs; empty where it says nothing."""

    profile: str = ""
    data: str = ""
    weights: str = ""


def _options(words: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in _OPTIONS and equals:
            found[_OPTIONS[name]] = value
        elif word in _OPTIONS and index + 1 < len(words):
            found[_OPTIONS[word]] = words[index + 1]
    return found


def started(command: str) -> Started | None:
    """The inputs in a stored ``camsweep run`` or ``camsweep quickstart``; None for any other."""
    try:
        words = shlex.split(command)
    except ValueError:  # an unbalanced quote: not written by us
        return None
    name = next((word for word in words[1:] if not word.startswith("-")), "")
    if name not in ("run", "quickstart"):
        return None
    given = _options(words)
    if name == "quickstart":
        return Started(data=str(PurePath(given.get("out", QUICKSTART_OUT)) / "data"))
    return Started(given.get("profile", ""), given.get("data", ""), given.get("weights", ""))


def run_command(
    sweep: str,
    profile: str,
    store: str,
    trials: Sequence[Trial],
    seeds: int,
    overrides: Mapping[str, str],
) -> str:
    """The ``camsweep run`` that measures what a sweep lacks, with every path quoted for a shell.

    Args:
        sweep: the sweep's name.
        profile: the profile of the report; given as a file where the trials were.
        store: as the user wrote it.
        trials: whose stored commands are asked, the first that says anything counts.
        seeds: how many seeds; 0 leaves the sweep's own number.
        overrides: of the artefact's other rows.
    """
    from_file = (found for trial in trials if (found := started(trial.command)) is not None)
    inputs = next(from_file, Started())
    is_file = inputs.profile.endswith((".yaml", ".yml"))
    same = is_file and PurePath(inputs.profile).stem == profile
    words = ["camsweep", "run", sweep, "--profile", inputs.profile if same else profile]
    words += ["--data", inputs.data] if inputs.data else []
    words += ["--store", store]
    words += ["--seeds", str(seeds)] if seeds else []
    text = shlex.join(words)
    if overrides:
        text += f" {settings_text(dict(overrides))}"
    return f"{text} {shlex.join(['--weights', inputs.weights])}" if inputs.weights else text
