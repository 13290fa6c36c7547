"""Compare a file's tensors with those of a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from camsweep.methods import compose
from camsweep.methods.backbones import (
    BACKBONES,
    Backbone,
    backbone_name,
    build_backbone,
    without_storage,
)
from camsweep.methods.base import load_method, make_config
from camsweep.methods.pretrained.known import Known
from camsweep.methods.pretrained.names import shapes
from camsweep.shards.errors import InputError

VOC_CLASSES = 21


@dataclass(frozen=True)
class Match:
    """A file's tensors beside those of a network, by our names.

    Attributes:
        matched: tensors that fit.
        missing: tensors of the network that the file lacks.
        unknown: tensors of the file that the network lacks.
        reshaped: name, the file's shape and the network's.
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    reshaped: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]

    @property
    def fits(self) -> bool:
        """Whether every tensor of both fits."""
        return not (self.missing or self.unknown or self.reshaped)


def compare(state: Mapping[str, Tensor], network: Mapping[str, Tensor]) -> Match:
    """Compare tensors by name and shape; counters of batch norm do not count."""
    given, wanted = shapes(state), shapes(network)
    both = [name for name in wanted if name in given]
    reshaped = tuple((k, given[k], wanted[k]) for k in both if given[k] != wanted[k])
    return Match(
        tuple(k for k in both if given[k] == wanted[k]),
        tuple(k for k in wanted if k not in given),
        tuple(k for k in given if k not in wanted),
        reshaped,
    )


def problem(known: Known, match: Match) -> str | None:
    """The first thing that does not fit, in the file's own names, or None."""
    more = len(match.missing) + len(match.unknown) + len(match.reshaped) - 1
    rest = f" (and {more} more)" if more > 0 else ""
    for name, given, wanted in match.reshaped:
        # Beside other heads the number says nothing: methods differ in a background output.
        same_heads = not (match.missing or match.unknown)
        if name == "classifier.weight" and given[1:] == wanted[1:] and same_heads:
            return (
                f"its class count differs: {known.named(name)} has {given[0]} outputs, "
                f"{wanted[0]} are needed for the data's classes"
            )
    if match.missing:
        return f"lacks {known.named(match.missing[0])}{rest}"
    if match.unknown:
        return f"has the unknown {known.named(match.unknown[0])}{rest}"
    if match.reshaped:
        name, given, wanted = match.reshaped[0]
        return f"{known.named(name)} is {list(given)}, it must be {list(wanted)}{rest}"
    return None


def backbone_of(known: Known) -> Known:
    """The backbone's part of a whole network, as a file of its own."""
    if not known.kind.whole:
        return known
    prefix = "backbone."
    part = {k.removeprefix(prefix): v for k, v in known.state.items() if k.startswith(prefix)}
    return replace(known, state=part, official={k: known.official[prefix + k] for k in part})


def build_empty(backbone: str) -> nn.Module:
    """A backbone without storage: names and shapes only."""
    with without_storage():
        return build_backbone(backbone)


def expected_network(method: str, backbone: str | None, classes: int) -> nn.Module:
    """A method's network at its default settings, without storage.

    Args:
        method: name of the method.
        backbone: instead of the method's own default.
        classes: background included.

    Raises:
        InputError: no such method, or not with this backbone.
    """
    # Where the first weights come from does not change the network, but some are not for all.
    values = {"method": method, "pretrain": "none"}
    if backbone is not None:
        values["backbone"] = backbone
    return empty_network(make_config(values, "--for"), classes)


def empty_network(config: Any, classes: int) -> nn.Module:
    """The network of a trial without storage; ``classes`` counts the background."""
    with without_storage():
        return compose.build(load_method(config.method), config, classes)


def class_count(known: Known, method: str, default: int = VOC_CLASSES) -> int:
    """How many classes, background included, a file's classifier is for."""
    classifier = known.state.get("classifier.weight")
    if classifier is None:
        return default
    # The released heads differ in whether the background has an output of its own.
    probe: Any = expected_network(known.kind.method or method, known.kind.backbone, default)
    return len(classifier) + default - len(probe.classifier.weight)


def refuse(net: nn.Module, known: Known) -> None:
    """Raise unless every tensor of a file fits a network and the other way round.

    Args:
        net: a backbone, or a method's network with the attribute ``backbone``.
        known: the file's tensors, of the same extent.

    Raises:
        InputError: another backbone or class count, or a tensor is missing, unknown or of another
            shape.
    """
    name = backbone_name(net if isinstance(net, Backbone) else net.get_submodule("backbone"))
    if name in BACKBONES and name != known.kind.backbone:
        raise InputError(
            f"{known.source}: holds {known.kind.title}; the backbone here is {name}, "
            "give weights for it"
        )
    found = problem(known, compare(known.state, net.state_dict()))
    if found is not None:
        raise InputError(f"{known.source}: {found}; it holds {known.kind.title}")
