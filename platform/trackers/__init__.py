"""Trackers: TensorBoard, MLflow and Weights & Biases are told of every trial, from the driver.

None of them is needed: each is an extra to install, asked for by one key (`track:` in a sweep file,
`--track NAME=VALUE`), and works without a network unless it is given one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from camsweep.platform.notify import warn
from camsweep.platform.trackers.facts import Backend, Find
from camsweep.platform.trackers.listener import TrackerListener
from camsweep.shards.errors import InputError, nearest

if TYPE_CHECKING:
    from camsweep.sweeps.spec import Sweep
    from camsweep.sweeps.store import Store

#: By name: the package it needs, and what its value is.
TRACKERS = {
    "tensorboard": ("tensorboardX", "a folder"),
    "mlflow": ("mlflow", "a folder or the URI of a server"),
    "wandb": ("wandb", "a project's name"),
}


def parse_tracks(words: list[str]) -> dict[str, str]:
    """`--track NAME=VALUE` words as a mapping.

    Raises:
        InputError: a word without `=`, or an unknown tracker.
    """
    wanted = {}
    for word in words:
        name, mark, value = word.partition("=")
        if not mark:
            raise InputError(f"--track {word}: write NAME=VALUE, e.g. tensorboard=runs")
        wanted[name.strip()] = value.strip()
    check_tracks(wanted, "--track")
    return wanted


def check_tracks(wanted: Mapping[str, str], where: str = "track") -> None:
    """Check names and values; imports nothing.

    Args:
        wanted: value by tracker.
        where: the file and key or the option, for the error's line.

    Raises:
        InputError: an unknown tracker or an empty value.
    """
    for name, value in wanted.items():
        if name not in TRACKERS:
            raise InputError(f"{where} {name}: no such tracker{nearest(name, TRACKERS)}")
        if not value:
            raise InputError(f"{where} {name}: empty; give {TRACKERS[name][1]}")


def tracks_of(sweeps: Iterable[Sweep], over: Mapping[str, str] | None = None) -> dict[str, str]:
    """The trackers of a run: those that its sweep files name, and the command line's over them.

    Args:
        sweeps: the run's.
        over: of `parse_tracks`.

    Raises:
        InputError: a file names an unknown tracker or gives it nothing, or two files want the same
            tracker elsewhere.
    """
    found = dict(over or {})
    for sweep in sweeps:
        check_tracks(sweep.spec.track, f"{sweep.path}: track")
        for name, value in sweep.spec.track.items():
            if name not in (over or {}) and found.setdefault(name, value) != value:
                raise InputError(
                    f"{sweep.path}: track.{name}: {value}, but another sweep of this run says "
                    f"{found[name]}; run them apart, or give --track {name}=..."
                )
    return found


def make_trackers(
    wanted: Mapping[str, str],
    find: Find,
    store: Store | None = None,
    warn: Callable[[str], None] = warn,
) -> list[TrackerListener]:
    """The listeners of a run's monitor, one a tracker.

    Args:
        wanted: value by tracker: a folder, a URI, a project.
        find: the planned trial of an id, or None where nobody planned it.
        store: where the finished trials' metrics and epochs are; without it a tracker gets only
            what the monitor is told.
        warn: is given the one line that a tracker which fails is worth.

    Raises:
        InputError: an unknown tracker, a value that can't be, or a package that is not installed.
    """
    check_tracks(wanted)
    return [
        TrackerListener(_backend(name, value), find, store, warn) for name, value in wanted.items()
    ]


def _backend(name: str, value: str) -> Backend:
    try:
        made: Backend = import_module(f"camsweep.platform.trackers.{name}").Backend(value)
        return made
    except ImportError as error:
        raise InputError(
            f"track {name}: the package '{TRACKERS[name][0]}' can't be imported ({error}); "
            f"pip install 'camsweep[{name}]'"
        ) from error
    except InputError:
        raise
    except Exception as error:  # whatever the package raises where it can't write there
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"track {name}: {value}: {line}") from error
