"""Which variants a leaderboard is about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from camsweep.reports.board.facts import stage
from camsweep.reports.known import method_title
from camsweep.reports.load import Trial
from camsweep.shards.errors import InputError, nearest

Variants = Mapping[str, Sequence[Trial]]


@dataclass(frozen=True)
class Filters:
    """What the user asks for; None is everything.

    Attributes:
        method: name or title of a method, in any case.
        backbone: name of a backbone.
        stage: what the metric is measured on, as `facts.stage` says it.
        top: how many of the best places.
    """

    method: str | None = None
    backbone: str | None = None
    stage: str | None = None
    top: int | None = None

    def text(self) -> str:
        """``method cpn, backbone resnet38``; empty where nothing is filtered."""
        named = (("method", self.method), ("backbone", self.backbone), ("stage", self.stage))
        return ", ".join(f"{name} {value}" for name, value in named if value is not None)


def backbone(trial: Trial) -> str:
    """The backbone's name, empty where the row does not tell it."""
    return str(trial.config.get("backbone") or "")


def fitting(variants: Variants, filters: Filters, metric: str = "miou") -> list[str]:
    """The keys of the variants that a leaderboard is about, in the order given.

    Raises:
        InputError: no variant has the method, backbone or stage; the line names the nearest.
    """
    if filters.top is not None and filters.top < 1:
        raise InputError(f"--top {filters.top}: must be 1 or more")
    keys = list(variants)
    for option, asked, of in (
        ("--method", filters.method, _methods),
        ("--backbone", filters.backbone, lambda t: (backbone(t),)),
        ("--stage", filters.stage, lambda t: (stage(t, metric),)),
    ):
        if asked is not None:
            keys = _having(variants, keys, option, asked, of)
    return keys


def _methods(trial: Trial) -> tuple[str, ...]:
    return trial.method, method_title(trial.method)


def _having(
    variants: Variants,
    keys: Iterable[str],
    option: str,
    asked: str,
    of: Callable[[Trial], tuple[str, ...]],
) -> list[str]:
    names = {key: of(variants[key][0]) for key in keys}
    wanted = asked.strip().casefold()
    kept = [k for k, some in names.items() if wanted in {name.casefold() for name in some}]
    if not kept:
        known = {some[0] for some in names.values() if some[0]}
        raise InputError(f"{option} {asked}: no variant has it{nearest(asked, known)}")
    return kept
