"""What computing superpixels ahead did, told in lines."""

from __future__ import annotations

from dataclasses import dataclass

from camsweep.shards.superpixels.facts import Wanted
from camsweep.shards.superpixels.reader import SuperpixelReader
from camsweep.shards.superpixels.sidesets import SideSet


@dataclass(frozen=True)
class Computed:
    """What ``precompute`` did for one split and one S_N; ``str()`` is a line that says it.

    Attributes:
        split: the split's name.
        s_n: superpixels asked for.
        images: label maps there are.
        segments: superpixels obtained per image, on average.
        seconds: what computing them took, per image; None where they came with the shards.
        digest: of the side set (of the data where they lie in the shards).
        where: the file, or the data.
        new: whether they were computed now.
    """

    split: str
    s_n: int
    images: int
    segments: float
    seconds: float | None
    digest: str
    where: str
    new: bool

    def __str__(self) -> str:
        cost = ""
        if self.seconds is not None:
            cost = f", {1000 * self.seconds:.0f} ms an image{'' if self.new else ' then'}"
        return (
            f"{self.split} sp{self.s_n}: {'computed' if self.new else 'already'} in {self.where}: "
            f"{self.images:,} images, {self.segments:.1f} superpixels each{cost}, "
            f"digest {self.digest[:12]}"
        )


def describe(reader: SuperpixelReader, wanted: Wanted, side: SideSet | None, new: bool) -> Computed:
    """What there is now.

    Args:
        reader: of the label maps.
        wanted: what was asked for.
        side: the set that they are in; None where they lie in the shards.
        new: whether they were computed now.
    """
    images = len(reader) if side is None else side.facts.images
    return Computed(
        split=wanted.split,
        s_n=wanted.s_n,
        images=images,
        segments=float(reader.segments.sum()) / max(1, images),
        seconds=None if side is None else side.facts.seconds / max(1, images),
        digest=reader.digest,
        where="the shards" if side is None else side.name,
        new=new,
    )
