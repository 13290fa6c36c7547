"""Checking the side sets that lie beside the shards."""

from __future__ import annotations

from pydantic import ValidationError

from camsweep.shards.digests import file_sha256
from camsweep.shards.errors import DamagedSample, InputError
from camsweep.shards.index import SplitIndex
from camsweep.shards.places import Place
from camsweep.shards.places.errors import LostFile
from camsweep.shards.superpixels.facts import Facts
from camsweep.shards.superpixels.labelmaps import decode_labels
from camsweep.shards.superpixels.sidesets import FOLDER, find


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
    problems = []
    for name, facts in listed(place):
        if facts is None:
            problems.append(f"{name}: is not readable; {_cure(name)}")
        elif facts.wanted.data == digest and facts.wanted.split in indexes:
            problems += _problems(place, name, facts, indexes[facts.wanted.split])
    return problems


def listed(place: Place) -> list[tuple[str, Facts | None]]:
    """The side sets beside the shards: each one's JSON, by name and read; None where it can't be.

    Empty where the place can't be listed (a web server).

    Raises:
        InputError: the place cannot be reached.
    """
    folder = place.folder(FOLDER)
    try:
        names = sorted(name for name in folder.sizes() or {} if name.endswith(".json"))
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror or error})") from None
    found: list[tuple[str, Facts | None]] = []
    for name in names:
        try:
            facts = Facts.model_validate_json(folder.read(name))
        except (OSError, ValidationError):
            facts = None
        found.append((folder.name(name), facts))
    return found


def _problems(place: Place, name: str, facts: Facts, index: SplitIndex) -> list[str]:
    side = find(place, facts.wanted, list(index.keys))
    if side is None:
        return [f"{name}: its files are not what it says; {_cure(name)}"]
    problems = []
    try:
        if file_sha256(side.path()) != facts.sha256:
            problems.append(f"{side.name}: SHA-256 differs from its JSON; {_cure(name)}")
    except InputError as error:
        return [f"{error}; {_cure(name)}" if isinstance(error, LostFile) else str(error)]
    except OSError as error:
        return [f"{side.name}: cannot be read ({error.strerror or error})"]
    for row, (height, width) in enumerate(index.sizes.tolist()):
        if side.rows.length[row] < 0:
            continue  # its image was damaged; a run makes the set anew when that can be read
        try:
            labels = decode_labels(side.read(row), side.where(row))
        except DamagedSample as error:
            problems.append(str(error))
            continue
        except InputError as error:  # the place is gone, so the others are, too
            return [*problems, str(error)]
        if labels.shape != (height, width):
            problems.append(f"{side.where(row)}: is {labels.shape}, its image {(height, width)}")
        elif labels.min() < 1 or labels.max() != side.rows.segments[row]:
            problems.append(f"{side.where(row)}: is not labelled 1..{side.rows.segments[row]}")
    return problems


def _cure(name: str) -> str:
    stem = name.rpartition("/")[2].removesuffix(".json")
    return f"delete {stem}.* to compute the superpixels again"
