"""Put a method and the components that its config switches on together.

Training and inference call these functions, never a method's own: so complementary pairs, and
SIPE's prototypes and consistency, can be added to any method by config.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camsweep.methods.base import Batch, Method, Output
from camsweep.methods.ipe import IpeConfig, attach, gsc_term, prototype_localize
from camsweep.methods.pair import PairConfig, pair_terms
from camsweep.methods.segment.config import SegmentConfig
from camsweep.methods.task import Task


class ComposedConfig(PairConfig, IpeConfig, SegmentConfig):
    """The base of every method's config: all settings that the methods share.

    Those of every trial, of the components, and of the stages after the maps.
    """


def build(method: Method | Task, config: Any, classes: int) -> nn.Module:
    """The method's network with what the components need; classes counts the background."""
    net = method.build(config, classes)
    if not isinstance(method, Task):  # which has no components
        attach(net, config)
    return net


def losses(
    method: Method | Task, net: nn.Module, batch: Batch, config: Any, progress: float
) -> dict[str, Tensor]:
    """The method's terms and those of its components; ``"loss"`` is the weighted total."""
    values = method.losses(net, batch, config, progress)
    if isinstance(method, Task):
        return values
    if config.pair and "pair" not in method.owns:
        added, found = pair_terms(net, batch, config, progress)
        values = {**values, **found, "loss": values["loss"] + added}
    if config.gsc and "gsc" not in method.owns:
        value = gsc_term(net, batch.output(net), batch, config)
        values = {**values, "gsc": value, "loss": values["loss"] + config.w_gsc * value}
    return values


def views(images: Tensor, config: ComposedConfig) -> Tensor:
    """[images, mirrored images] if ``config.flip_test``, else the images [N, 3, H, W]."""
    return torch.cat([images, images.flip(-1)]) if config.flip_test else images


def view_maps(output: Output) -> dict[str, Tensor]:
    """Maps that are made view by view: ``raw`` = ReLU(scores), and ``refined`` where there is one.

    Returns:
        [N, C-1, h, w], foreground only, >= 0, not yet normalised.
    """
    found = {"raw": F.relu(output.scores)}
    if output.refined is not None:
        found["refined"] = output.refined[:, 1:]
    return found


def joint_maps(
    method: Method,
    net: nn.Module,
    images: Tensor,
    output: Output,
    labels: Tensor,
    config: ComposedConfig,
) -> dict[str, Tensor]:
    """Maps that need an image and its mirror image at once: the method's own, and IS-CAMs.

    Args:
        method: whose maps.
        net: its network.
        images: [N, 3, H, W] of one scale, not mirrored.
        output: of the images, or if ``config.flip_test`` of [images, mirrored images].
        labels: [N, C-1] of 0 and 1.
        config: ``flip_test``, ``ipe`` and the method's own settings.

    Returns:
        [N, C-1, h, w], or [N, C, h, w] with the map's own background first.
    """
    found: dict[str, Tensor] = {}
    if method.joint_maps is not None:
        found |= method.joint_maps(net, images, output, labels, config)
    if config.ipe:
        found |= prototype_localize(net, output, labels, config)
    return found
