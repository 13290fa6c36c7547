"""The methods' titles and default settings, without loading the methods themselves.

A method's file imports torch, which takes as long as everything else that a leaderboard does. So
both are kept in `known.yaml`; tests/test_board_names.py holds it to the methods. After a change of
a default: ``python -m camsweep.reports.known > reports/known.yaml``.
"""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import yaml

from camsweep import methods


def asked_of(method: str) -> dict[str, Any]:
    """Title and defaults as the method itself gives them; this loads it, and torch.

    The defaults are those of a whole config, as some follow others, with a network that needs no
    weights, which says nothing of the other settings.

    Raises:
        InputError: this version has no such method.
    """
    from camsweep.methods.base import load_method, make_config

    config = make_config({"method": method, "backbone": "small", "pretrain": "none"})
    return {"title": load_method(method).title, "defaults": config.model_dump(mode="json")}


def all_methods() -> dict[str, dict[str, Any]]:
    """What `known.yaml` must hold."""
    from camsweep.methods.base import method_names

    return {method: asked_of(method) for method in method_names()}


@cache
def _kept() -> Mapping[str, Mapping[str, Any]]:
    text = resources.files("camsweep.reports").joinpath("known.yaml").read_bytes()
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: Mapping[str, Mapping[str, Any]] = yaml.load(text, loader)
    return found


@cache
def _about(method: str) -> Mapping[str, Any]:
    if method in _kept():
        return _kept()[method]
    # A user's own method, or one of another version: only a file that is there is loaded.
    if method in {module.name for module in pkgutil.iter_modules(methods.__path__)}:
        from camsweep.shards.errors import InputError

        try:
            return asked_of(method)
        except InputError:
            pass
    return {"title": method, "defaults": {}}


def method_title(method: str) -> str:
    """How tables call a method; its own name where this version does not know it."""
    return str(_about(method)["title"])


def method_defaults(method: str) -> Mapping[str, Any]:
    """What a method sets where nobody says anything; nothing where this version does not know it.

    Values are as a store has them: plain, sequences as lists.
    """
    found: Mapping[str, Any] = _about(method)["defaults"]
    return found


if __name__ == "__main__":
    yaml.safe_dump(
        all_methods(), sys.stdout, sort_keys=False, allow_unicode=True, default_flow_style=None
    )
