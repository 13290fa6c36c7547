"""Claims on object storage: an object each, beside one of its own for its beats."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from camsweep.sweeps.leasing.claims import FOLDER, Claim, Sight, make_sight, split_name

if TYPE_CHECKING:
    from camsweep.sweeps.store import Store

BEAT = ".beat"


@dataclass
class OwnObject:
    """A claim in a bucket."""

    store: Store
    file: str
    has_beaten: bool = False

    def beat(self, count: int) -> None:
        """Tell that the holder lives."""
        self.has_beaten = True
        self.store.write(f"{FOLDER}/{self.file}{BEAT}", b"%d" % count)

    def is_there(self) -> bool:
        """Whether nobody removed the claim."""
        return self.store.exists(f"{FOLDER}/{self.file}")

    def delete(self) -> None:
        """Remove the claim and its beats, if it is still there."""
        self.store.delete(f"{FOLDER}/{self.file}")
        if self.has_beaten:
            self.store.delete(f"{FOLDER}/{self.file}{BEAT}")


@dataclass(frozen=True)
class BucketClaims:
    """The claims of a store in a bucket."""

    store: Store

    def all(self, name: str | None = None) -> list[Claim]:
        """The claims that there are now, of one name or of all; one request."""
        times = self.store.times(FOLDER)
        found = []
        for file, heard in times.items():
            parts = None if file.endswith(BEAT) else split_name(file, 2)
            if parts is not None and name in (None, parts[0]):
                found.append(Claim(*parts, file, max(heard, times.get(file + BEAT, heard))))
        return found

    def look(self, claim: Claim) -> Sight | None:
        """What a claim says, None where it has gone."""
        name, beat = f"{FOLDER}/{claim.file}", ""
        try:
            text = self.store.read(name)
        except FileNotFoundError:
            return None
        with suppress(FileNotFoundError):  # none yet
            beat = self.store.read(name + BEAT).decode("ascii", "replace")
        return make_sight(f"{self.store}/{name}", beat, text, claim.heard)

    def create(self, name: str, generation: int, content: dict[str, Any]) -> OwnObject:
        """Make a claim; there may be others of that name and generation."""
        file = f"{name}.{generation}.{content['token']}"
        self.store.write(f"{FOLDER}/{file}", json.dumps(content).encode())
        return OwnObject(self.store, file)

    def delete(self, claim: Claim) -> None:
        """Remove a dead claim."""
        self.store.delete(f"{FOLDER}/{claim.file}")
        self.store.delete(f"{FOLDER}/{claim.file}{BEAT}")
