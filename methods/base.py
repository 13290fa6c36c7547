"""What every method is: a config, a network with its output, its losses and its maps.

A new method is one new file in this package that ends with ``METHOD = Method(...)``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from camsweep.methods.backbones import Features
from camsweep.methods.config import TrialConfig
from camsweep.methods.parts import Part
from camsweep.shards.errors import InputError, nearest
from camsweep.shards.validation import first_problem


class Output(NamedTuple):
    """What a method's network returns for images [N, 3, H, W].

    Attributes:
        scores: float32 [N, C-1, h, w], class scores by place, unbounded, foreground only.
        features: of the backbone.
        refined: float32 [N, C, h, w], >= 0, background first; None where nothing refines.
    """

    scores: Tensor
    features: Features
    refined: Tensor | None = None


@dataclass
class Batch:
    """One training step's data, or a part of it.

    Attributes:
        images: float [N, 3, H, W], normalised by the backbones' mean and deviation.
        labels: float [N, C-1] of 0 and 1, foreground classes only.
        superpixels: int32 [N, H, W], 0 = padding, or None.
        generator: CPU generator of the step's hiding draws.
        valid: bool [N, H, W], false where the crop reaches beyond the image; None = nowhere.
        part: which images of the step's batch these are; None = all of them.
        regions: int64 [images of the whole batch], the largest superpixel id of each; None where
            ``part`` is None. Draws for the whole batch need it.
        counts: int64 [images of the whole batch, K], what ``Task.counts`` gave of each; None where
            ``part`` is None.
    """

    images: Tensor
    labels: Tensor
    superpixels: Tensor | None
    generator: torch.Generator
    valid: Tensor | None = None
    part: Part | None = None
    regions: Tensor | None = None
    counts: Tensor | None = None
    _output: Output | None = field(default=None, repr=False)

    def output(self, net: nn.Module) -> Output:
        """The network's output for ``images``, computed once and shared by all terms."""
        if self._output is None:
            self._output = net(self.images)
        return self._output


@dataclass(frozen=True)
class Method:
    """A method as the platform sees it.

    Attributes:
        name: the file's name.
        title: how tables call it.
        config: its config model.
        build: ``(config, classes) -> network``; classes counts the background. The network has a
            ``backbone`` and returns an ``Output``.
        losses: ``(network, batch, config, progress 0..1) -> terms``; ``"loss"`` is their weighted
            total, the others are unweighted. Every term is a mean over the batch's images, so that
            the parts of a batch add up to it (methods.parts; tests/test_team_parts.py holds every
            method to it).
        joint_maps: ``(network, images [N, 3, H, W], output, labels [N, C-1], config) -> maps``
            beside those of the ``Output``, one call a scale. If ``config.flip_test``, ``output`` is
            that of [images, mirrored images]. Maps are [N, C-1, h, w], or [N, C, h, w] with a
            background.
        owns: components (``pair``, ``gsc``) that the method's own losses hold.
        recipe: raised by one whenever the code changes what the same config computes.
    """

    name: str
    title: str
    config: type[TrialConfig]
    build: Callable[[Any, int], nn.Module]
    losses: Callable[[nn.Module, Batch, Any, float], dict[str, Tensor]]
    joint_maps: Callable[[nn.Module, Tensor, Output, Tensor, Any], dict[str, Tensor]] | None = None
    owns: frozenset[str] = frozenset()
    recipe: int = 1


@cache
def _modules() -> tuple[str, ...]:
    # Looked up for every trial that is planned, of which there may be 100,000.
    package = importlib.import_module("camsweep.methods")
    return tuple(sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.ispkg))


def method_names() -> list[str]:
    """Every method of the package: the modules that export ``METHOD``."""
    return [
        name
        for name in _modules()
        if hasattr(importlib.import_module(f"camsweep.methods.{name}"), "METHOD")
    ]


def load_method(name: str) -> Method:
    """The method of that name.

    Raises:
        InputError: no such method; the line ends with the nearest name.
    """
    if name in _modules():
        method = getattr(importlib.import_module(f"camsweep.methods.{name}"), "METHOD", None)
        if isinstance(method, Method):
            return method
    raise InputError(f"method: there is no '{name}'{nearest(name, method_names())}")


def make_config(values: Mapping[str, Any], where: str = "config") -> TrialConfig:
    """A checked config from plain values.

    Args:
        values: field values; ``method`` chooses the model.
        where: the file that the values came from, for the error line.

    Raises:
        InputError: one line with the file, the first wrong key and what would be right.
    """
    if "method" not in values:
        raise InputError(f"{where}: method is missing; one of: {', '.join(method_names())}")
    model = load_method(str(values["method"])).config
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise InputError(f"{where}: {first_problem(error, model)}") from None
