"""The files behind leases: one a claim, created by one process and by no other.

On a file system a claim is `leases/NAME.GENERATION`, made by linking a whole temporary file to that
name, which one process alone can do, also on NFS. Its holder beats by writing a count into the file
that it has open, so that a beat can never bring back a claim that others have removed.

On object storage nothing can be created exclusively through Arrow. There a claim is an object of
its own, `leases/NAME.GENERATION.TOKEN`, never written again; beats are objects beside it.

What claims mean, and why two processes can't both hold a name, is in
docs/decisions/0011-ledger.md.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol

from camsweep.shards.errors import InputError
from camsweep.sweeps.leasing.processes import Process, process_from

FOLDER = "leases"
#: A holder that was not seen to beat for this long is taken for dead.
LEASE_SECONDS = 30.0
VERSION = 1


def make_sight(file: str, beat: str, text: bytes, heard: float) -> Sight:
    """Understand a claim's JSON; what is none (a power cut) is a claim of nobody known.

    Raises:
        InputError: a newer camsweep wrote it.
    """
    try:
        content = json.loads(text)
    except ValueError:
        content = {}
    if content.get("version", VERSION) > VERSION:
        raise InputError(
            f"{file}: written by a newer camsweep (leases of format {content['version']}, this "
            f"one knows {VERSION}); use that version here, too"
        )
    return Sight(
        str(content.get("token", file)),
        beat,
        float(content.get("seconds", LEASE_SECONDS)),
        process_from(content.get("process", {})),
        str(content.get("owner", "")),
        float(content.get("since", 0.0)),
        heard,
    )


def split_name(file: str, dots: int) -> tuple[str, int] | None:
    """Name and generation out of a file's name with `dots` parts after the name."""
    parts = file.rsplit(".", dots)
    if file[0] in "._" or len(parts) <= dots or not parts[1].isdigit():
        return None
    return parts[0], int(parts[1])


@dataclass(frozen=True)
class Claim:
    """A claim as a listing shows it.

    Attributes:
        name: what is claimed.
        generation: 1 for the first claim; each that takes over has one more.
        file: relative to `leases/`.
        heard: of an object, when it or its beat was last written, by the server's clock.
    """

    name: str
    generation: int
    file: str
    heard: float = 0.0


@dataclass(frozen=True)
class Sight:
    """What a claim's file says.

    Attributes:
        token: of this claim and of no other.
        beat: changes with every beat.
        seconds: after how long without a beat its holder may be taken for dead.
        process: the holder's.
        owner: who holds it, in words.
        since: when it was made, in seconds by the holder's clock; for people only.
        heard: when it was last written, by the clock of the disk or server; for people only.
    """

    token: str
    beat: str
    seconds: float
    process: Process
    owner: str
    since: float
    heard: float


class Own(Protocol):
    """A claim that this process made."""

    @property
    def file(self) -> str:
        """As `Claim.file`."""

    def beat(self, count: int) -> None:
        """Tell that the holder lives; may raise OSError."""

    def is_there(self) -> bool:
        """Whether nobody removed the claim; one request, may raise OSError."""

    def delete(self) -> None:
        """Remove the claim and its beats, never another's; may raise OSError."""


class Claims(Protocol):
    """The claims of a store."""

    def all(self, name: str | None = None) -> list[Claim]:
        """The claims that there are now, of one name or of all; one request."""

    def look(self, claim: Claim) -> Sight | None:
        """What a claim says, None where it has gone."""

    def create(self, name: str, generation: int, content: dict[str, Any]) -> Own | None:
        """Make a claim; None where another has that name and generation."""

    def delete(self, claim: Claim) -> None:
        """Remove a dead claim."""
