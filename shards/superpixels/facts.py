"""What decides a side set, and what its JSON tells of it."""

from __future__ import annotations

import hashlib

from pydantic import BaseModel, ConfigDict

from camsweep.shards.manifest import canonical_json


class Wanted(BaseModel):
    """What decides the labels of a side set; its hash is part of the files' names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    split: str
    s_n: int
    compactness: float
    scaling: str

    @property
    def stem(self) -> str:
        """The files' name without its ending."""
        digest = hashlib.sha256(canonical_json(self.model_dump())).hexdigest()
        return f"{self.split}-sp{self.s_n}-{digest[:12]}"


class Facts(BaseModel):
    """The JSON of a side set.

    Attributes:
        wanted: what it was computed for; ``data`` is the digest of the data.
        images: label maps in it; fewer than the split has where images were damaged.
        superpixels: all of them together.
        seconds: what segmenting took, summed over the images (not divided by the workers).
        workers: threads that shared the work.
        versions: of the libraries that decide the labels.
        bytes: of the tar.
        sha256: of the tar.
        index_sha256: of the Arrow file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    wanted: Wanted
    images: int
    superpixels: int
    seconds: float
    workers: int
    versions: dict[str, str]
    bytes: int
    sha256: str
    index_sha256: str

    @property
    def digest(self) -> str:
        """Names the set: its settings and every label in it."""
        named = canonical_json({"wanted": self.wanted.model_dump(), "sha256": self.sha256})
        return hashlib.sha256(named).hexdigest()
