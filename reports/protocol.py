"""Where the trials that are shown were made otherwise than the published numbers beside them.

Only facts are told: a setting that no source states of the paper, or that a trial's row does not
have, is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from camsweep.methods.segment.config import SegmentConfig
from camsweep.reports.load import Trial
from camsweep.reports.published import FACTS, Paper, Protocol, Setting, Stated

#: Settings with what they are on the side of a trial where no column of that name is it.
_READ: dict[str, Callable[[Trial], Any]] = {
    "images": lambda trial: trial.eval_images or None,
    "resize": lambda trial: _resize(trial.config),
    "affinity_backbone": lambda trial: _network(trial.config, "affinity"),
    "segment_backbone": lambda trial: _network(trial.config, "segment"),
}


def _network(config: dict[str, Any], role: str) -> str | None:
    """The backbone of a later network: rows have it as it was asked for, so mostly ``auto``."""
    if config.get(f"{role}_backbone") is None:
        return None
    named = SegmentConfig.model_construct(**config)
    return named.affinity_network if role == "affinity" else named.segment_network


def _resize(config: dict[str, Any]) -> tuple[int, int] | None:
    """Long side from, to; (0, 0) for images as they are."""
    low, high = config.get("resize_min"), config.get("resize_max")
    if high == 0:
        return 0, 0
    return None if low is None or high is None else (low, high)


def _plain(value: Any) -> Any:
    """A setting in a form that compares: lists as tuples, whole numbers as floats."""
    if isinstance(value, list | tuple):
        return tuple(_plain(item) for item in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def say(name: str, value: Any) -> str:
    """A setting in words: ``448``, ``0.5, 1, 1.5, 2``, ``no``, ``0.4 to 1.18 by 0.02``."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        numbers = [f"{item:g}" if isinstance(item, int | float) else str(item) for item in value]
        if not any(value) and name in ("resize", "jitter"):
            return "none"
        if name in ("resize", "segment_rescale"):
            return " to ".join(numbers)
        if name == "thresholds":
            return f"{numbers[0]} to {numbers[1]} by {numbers[2]}"
        return ", ".join(numbers)
    if name == "images":
        return f"{value:,.0f}"
    if name == "clip_norm" and not value:
        return "none"
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _against(name: str, here: Any, stated: Stated | Setting) -> str | None:
    """``448 in the paper``; None where nothing differs from what is measured."""
    if not isinstance(stated, Stated):
        stated = Stated(paper=stated)
    given = (("the paper", stated.paper), ("its released code", stated.code))
    known = [(where, value) for where, value in given if value is not None]
    if all(_plain(value) == _plain(here) for _, value in known):
        return None
    if len({_plain(value) for _, value in known}) == 1:
        return f"{say(name, known[0][1])} in {known[0][0]}"
    parts = [
        f"as in {where}" if _plain(value) == _plain(here) else f"{say(name, value)} in {where}"
        for where, value in known
    ]
    return ", ".join(parts)


def _meant(group: Protocol, label: str, trial: Trial) -> bool:
    return trial.method in group.methods and (not group.labels or label in group.labels)


def differences(
    published: Paper, artefact: str, shown: Iterable[tuple[str, Trial]]
) -> tuple[str, ...]:
    """What differs between the trials of an artefact and the protocol of its published numbers.

    Args:
        published: the paper.
        artefact: its name in the paper's file, ``table1``.
        shown: (label, trial) of every done trial that stands in it.

    Returns:
        One text a setting in the order of `FACTS`, ``crop 96 here, 448 in the paper``, with the
        methods in brackets where it does not hold for all of them. Empty where nothing differs.
    """
    groups = [group for group in published.protocol if artefact in group.artefacts]
    pairs = [(label, trial) for label, trial in shown if trial.done]
    lines = []
    for name, title in FACTS.items():
        told: dict[str, dict[str, None]] = {}
        concerned: dict[str, None] = {}
        for group in groups:
            if name not in group.facts:
                continue
            for label, trial in pairs:
                if trial.method not in group.methods or (
                    group.labels and label not in group.labels
                ):
                    continue
                read = _READ.get(name)
                here = read(trial) if read else trial.config.get(name)
                if here is None:
                    continue
                concerned[trial.method] = None
                against = _against(name, here, group.facts[name])
                if against is not None:
                    told.setdefault(f"{say(name, here)} here, {against}", {})[trial.method] = None
        for words, methods in told.items():
            everywhere = list(methods) == list(concerned) and len(told) == 1
            whose = "" if everywhere else f" ({', '.join(methods)})"
            lines.append(f"{title} {words}{whose}")
    return tuple(lines)


def sources(published: Paper, artefact: str) -> tuple[str, ...]:
    """Where the protocol of an artefact's published numbers is from, each once."""
    named = (group.source for group in published.protocol if artefact in group.artefacts)
    return tuple(dict.fromkeys(named))
