"""Checking the side sets that lie beside the shards."""

from __future__ import annotations

import hashlib

from pydantic import ValidationError

from camsweep.shards.errors import InputError
from camsweep.shards.index import SplitIndex
from camsweep.shards.places import Place
from camsweep.shards.superpixels.labelmaps import decode_labels
from camsweep.shards.superpixels.sidesets import FOLDER, Facts, SideSet, load


def side_set_problems(place: Place, digest: str, indexes: dict[str, SplitIndex]) -> list[str]:
    """One line a problem of the side sets in ``superpixels/``.

    Sets of other data are left alone: nothing reads them. Where a place cannot be listed (a web
    server), nothing is checked here; every label map is compared with its CRC-32 when it is read.

    Args:
        place: where the shards lie.
        digest: of the data.
        indexes: of the splits that can be read.

    Raises:
        InputError: the place cannot be reached.
    """
    folder = place.folder(FOLDER)
    try:
        names = sorted(folder.sizes() or {})
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror or error})") from None
    problems = []
    for name in names:
        if not name.endswith(".json"):
            continue
        try:
            facts = Facts.model_validate_json(folder.read(name))
        except (OSError, ValidationError):
            problems.append(f"{folder.name(name)}: is not readable; {_cure(name)}")
            continue
        if facts.wanted.data == digest and facts.wanted.split in indexes:
            problems += _problems(place, folder.name(name), facts, indexes[facts.wanted.split])
    return problems


def _problems(place: Place, name: str, facts: Facts, index: SplitIndex) -> list[str]:
    side = load(place, facts.wanted, list(index.keys))
    if side is None:
        return [f"{name}: its files are not what it says; {_cure(name)}"]
    problems = []
    if _sha256(side) != facts.sha256:
        problems.append(f"{side.name}: SHA-256 differs from its JSON; {_cure(name)}")
    for row, (height, width) in enumerate(index.sizes.tolist()):
        if side.rows.length[row] < 0:
            problems.append(f"{side.where(row)}: is missing, as its image was damaged")
            continue
        try:
            labels = decode_labels(side.read(row), side.where(row))
        except InputError as error:
            problems.append(str(error))
            continue
        if labels.shape != (height, width):
            problems.append(f"{side.where(row)}: is {labels.shape}, its image {(height, width)}")
        elif labels.min() < 1 or labels.max() != side.rows.segments[row]:
            problems.append(f"{side.where(row)}: is not labelled 1..{side.rows.segments[row]}")
    return problems


def _sha256(side: SideSet) -> str:
    try:
        return hashlib.sha256(side.content()).hexdigest()
    except (OSError, InputError):
        return ""


def _cure(name: str) -> str:
    stem = name.rpartition("/")[2].removesuffix(".json")
    return f"delete {stem}.* to compute the superpixels again"
