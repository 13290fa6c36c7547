"""What a report says of sweeps whose seeds were added by a rule, and how each arm stopped."""

from __future__ import annotations

from collections.abc import Iterable

from camsweep.reports.load import Selection
from camsweep.sweeps.stopping import Stopping

#: Arms that a caption names; the notes of an artefact have all.
NAMED = 8

WARNING = (
    "Looking after every seed and stopping at a difference makes such differences too many and "
    "too large, so intervals of arms that stopped early are narrower than they should be"
)


def rules(selection: Selection, sweeps: Iterable[str] | None = None) -> list[str]:
    """The rule of each sweep whose seeds were added by one, in one sentence; none without.

    Args:
        selection: whose trials are shown.
        sweeps: names of the sweeps that are shown; all of the selection if not given.
    """
    # One rule may have been followed from several first seeds.
    lines = dict.fromkeys(f"{_name(one)}: {one.rule}." for one in _of(selection, sweeps))
    return [*lines, f"{WARNING}."] if lines else []


def arms(selection: Selection, sweeps: Iterable[str] | None = None) -> list[str]:
    """How every arm of those sweeps stopped, one sentence each."""
    return [
        f"Seeds of {_name(one)}{_first(one)}, {label}: {text}."
        for one in _of(selection, sweeps)
        for label, text in one.arms
    ]


def summary(selection: Selection) -> list[str]:
    """Rules and arms of all sweeps, for a caption without notes."""
    told = arms(selection)
    more = [f"… and {len(told) - NAMED} more arms."] if len(told) > NAMED else []
    return [*rules(selection), *told[:NAMED], *more]


def _of(selection: Selection, sweeps: Iterable[str] | None) -> list[Stopping]:
    wanted = None if sweeps is None else set(sweeps)
    return [one for one in selection.stopping if wanted is None or one.sweep in wanted]


def _first(one: Stopping) -> str:
    return f" --first-seed {one.first_seed}" if one.first_seed else ""


def _name(one: Stopping) -> str:
    settings = " ".join(f"--set {key}={value}" for key, value in one.overrides.items())
    return f"{one.sweep} {settings}".strip()
