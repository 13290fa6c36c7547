"""The command that fills a hole: what a stored trial was started with, for the sweep that lacks."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from camsweep.reports.load import Trial, settings_text

#: A cell that lacks its first seeds counts them too; a run with `--first-seed` begins far above.
HELD_OUT = 10
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
    weights: tuple[str, ...] = ()


def _options(words: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in _OPTIONS and equals:
            found.setdefault(_OPTIONS[name], []).append(value)
        elif word in _OPTIONS and index + 1 < len(words):
            found.setdefault(_OPTIONS[word], []).append(words[index + 1])
    return found


def _last(found: Mapping[str, Sequence[str]], name: str, default: str = "") -> str:
    return found[name][-1] if name in found else default


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
        return Started(data=str(PurePath(_last(given, "out", QUICKSTART_OUT)) / "data"))
    weights = tuple(given.get("weights", ()))
    return Started(_last(given, "profile"), _last(given, "data"), weights)


def run_command(
    sweep: str,
    profile: str,
    store: str,
    trials: Sequence[Trial],
    seeds: Collection[int],
    overrides: Mapping[str, str],
) -> str:
    """The ``camsweep run`` that measures what a sweep lacks, with every path quoted for a shell.

    Args:
        sweep: the sweep's name.
        profile: the profile of the report; given as a file where the trials were.
        store: as the user wrote it.
        trials: whose stored commands are asked, the first that says anything counts.
        seeds: those that are measured elsewhere; without any it is the sweep's own number.
        overrides: of the artefact's other rows.
    """
    from_file = (found for trial in trials if (found := started(trial.command)) is not None)
    inputs = next(from_file, Started())
    is_file = inputs.profile.endswith((".yaml", ".yml"))
    same = is_file and PurePath(inputs.profile).stem == profile
    words = ["camsweep", "run", sweep, "--profile", inputs.profile if same else profile]
    words += ["--data", inputs.data] if inputs.data else []
    words += ["--store", store]
    if seeds:
        # From the first to the last. Seeds that begin elsewhere than 0 were held out on purpose.
        first = min(seeds) if min(seeds) >= HELD_OUT else 0
        words += ["--seeds", str(max(seeds) + 1 - first)]
        words += ["--first-seed", str(first)] if first else []
    text = shlex.join(words)
    if overrides:
        text += f" {settings_text(dict(overrides))}"
    files = [word for given in inputs.weights for word in ("--weights", given)]
    return f"{text} {shlex.join(files)}" if files else text
