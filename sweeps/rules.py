"""Which combinations of parts a method allows.

Its config declares which part can't be on without which (`NEEDS`), and which not without any of
several (`NEEDS_ANY`). Rows of a design that break a rule are left out, with the rule's name; the
rules of the sweep file itself are in `sweeps.designs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from camsweep.methods.config import TrialConfig, switched

Rules = tuple[tuple[str, tuple[str, ...]], ...]


def broken_rule(model: type[TrialConfig], settings: Mapping[str, Any]) -> str | None:
    """The rule of the method that settings break, `prcm needs pcm`, or None.

    A part that nobody named goes off with what it needs, as it does in the config itself; only one
    that was named on breaks a rule.

    Args:
        model: the method's config.
        settings: all of a row's settings, those of the profile and of `--set` too.
    """
    rules = declared(model)
    filled = dict(settings)
    for _ in rules:  # a part may hang on one that hangs on a third
        for part, bases in rules:
            if not any(switched(model, filled, base) for base in bases):
                filled.setdefault(part, False)
    for part, bases in rules:
        if switched(model, filled, part) and not any(switched(model, filled, b) for b in bases):
            return f"{part} needs {' or '.join(bases)}"
    return None


def declared(model: type[TrialConfig]) -> Rules:
    """Every rule of a method's config: the part, and the parts of which it needs one."""
    needs: tuple[tuple[str, str], ...] = getattr(model, "NEEDS", ())
    any_of: Rules = getattr(model, "NEEDS_ANY", ())
    return (*((part, (base,)) for part, base in needs), *any_of)
