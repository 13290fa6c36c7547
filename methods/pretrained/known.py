"""A weight file as it is known here: what it is, and its tensors under our names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

# Released names of everything that is not the backbone.
HEADS = {
    "fc8.weight": "classifier.weight",
    "f8_3.weight": "correlation.low.weight",
    "f8_4.weight": "correlation.high.weight",
    "f9.weight": "correlation.g.weight",
    "f10.weight": "correlation.phi.weight",
    "classifier.weight": "classifier.weight",
    "side1.weight": "hierarchy.side.0.weight",
    "side2.weight": "hierarchy.side.1.weight",
    "side3.weight": "hierarchy.side.2.weight",
    "side4.weight": "hierarchy.side.3.weight",
}
IMAGENET_CLASSES = 1000
# Kinds of files with the names of a released network.
RELEASED = ("seam", "cpn", "psa-cam", "sipe", "irn-cam", "irn", "affinity")


@dataclass(frozen=True)
class Kind:
    """What a weight file is.

    Attributes:
        name: ``seam``, ``torchvision-resnet50``, ...
        title: the same in words, with its origin.
        backbone: our name of its backbone.
        method: the method whose whole network it is; None where that cannot be told.
        whole: whether it holds more than a backbone.
    """

    name: str
    title: str
    backbone: str
    method: str | None = None
    whole: bool = False


@dataclass(frozen=True)
class Known:
    """A file's tensors under our names.

    Attributes:
        kind: what they are.
        state: tensors by our names; those of a backbone alone have the backbone's own names.
        official: the file's name of each tensor of ``state``.
        source: how error lines call the file.
        left_out: shapes, by the file's names, of a fully connected classifier beside a backbone,
            which nothing here uses.
        aliases: how many further names of tensors of ``state`` the file holds.
        origin: what an earlier conversion noted: ``title``, ``source``, ``source_sha256``,
            ``method``, ``prcm_layout``.
    """

    kind: Kind
    state: dict[str, Tensor]
    official: dict[str, str]
    source: str
    left_out: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    aliases: int = 0
    origin: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What the file is in words; of a converted one, what it was made of."""
        return self.origin.get("title", self.kind.title)

    @property
    def prcm_layout(self) -> str | None:
        """The ``prcm_layout`` that the network was trained with, where that is known."""
        return "code" if self.kind.name == "cpn" else self.origin.get("prcm_layout")

    @property
    def left_out_title(self) -> str:
        """What ``left_out`` is, in words."""
        outputs = {shape[0] if shape else 1 for shape in self.left_out.values()}
        if outputs <= {IMAGENET_CLASSES}:
            return "ImageNet's classifier"
        return f"a classifier of {max(outputs - {IMAGENET_CLASSES})} outputs"

    def named(self, name: str) -> str:
        """One of our names as the file has it, or would have it."""
        if name in self.official:
            return self.official[name]
        released = {ours: theirs for theirs, ours in HEADS.items() if theirs != ours}
        if self.kind.name in RELEASED:
            if name.startswith("backbone."):
                old = "" if self.kind.backbone == "resnet38" else "resnet50."
                return old + name.removeprefix("backbone.")
            return name if self.kind.name == "irn-cam" else released.get(name, name)
        return name
