"""The segmentation network as a task of a later stage, and the settings of its training and test.

What a config leaves out is as published (``published``).
"""

from __future__ import annotations

from dataclasses import dataclass

from camsweep.methods.refine.densecrf import SETTINGS, Crf
from camsweep.methods.segment.config import SegmentConfig
from camsweep.methods.segment.deeplab_v1 import NORM_MOMENTUM, DeepLabV1
from camsweep.methods.segment.deeplab_v2 import DeepLabV2
from camsweep.methods.segment.losses import known_counts, losses
from camsweep.methods.segment.networks import Network, build_network
from camsweep.methods.segment.published import RECIPES, STEPS, Recipe
from camsweep.methods.task import Task, TaskSettings
from camsweep.shards.errors import InputError

#: The largest momentum of running statistics, torch's own.
MOST_MOMENTUM = 0.1


@dataclass(frozen=True)
class Inference:
    """How a trained network is tested.

    Attributes:
        scales: of the image; the mean of their logits counts.
        flip: add the mirrored image.
        crf: denseCRF on the probabilities, or None.
        bgr: that one reads the image in BGR.
    """

    scales: tuple[float, ...]
    flip: bool
    crf: Crf | None = None
    bgr: bool = False


def recipe_of(config: SegmentConfig) -> Recipe:
    """The published recipe of the config's network.

    Raises:
        InputError: the config has none.
    """
    if config.segment == "none":
        raise InputError("segment: none; deeplab_v1 or deeplab_v2 is trained on pseudo masks")
    return RECIPES[config.segment]


def build(settings: TaskSettings, classes: int) -> DeepLabV1 | DeepLabV2:
    """The network of ``settings.extra`` with random weights; classes counts the background."""
    network: Network = settings.extra
    return build_network(network, classes)


def task_of(config: SegmentConfig) -> Task:
    """What ``training.train`` trains for a config; its settings are ``settings_of``'s.

    Raises:
        InputError: the config has no segmentation network.
    """
    recipe_of(config)
    return Task("segment", build, losses, counts=known_counts)


def settings_of(config: SegmentConfig, images: int) -> TaskSettings:
    """What the training is done with.

    Args:
        config: the trial's settings.
        images: of the training split. Fewer than a batch are ``train``'s error.

    Raises:
        InputError: the config has no segmentation network.
    """
    recipe = recipe_of(config)
    an_epoch = max(1, images // config.segment_batch)
    epochs = max(1, round(config.segment_steps / an_epoch))
    return TaskSettings(
        seed=config.seed,
        epochs=epochs,
        batch=config.segment_batch,
        crop=config.segment_crop or recipe.crop,
        lr=config.segment_lr or recipe.lr,
        rescale=config.segment_rescale,
        rescale_step=recipe.rescale_step,
        flip=True,
        jitter=recipe.jitter if config.segment_jitter else (0.0, 0.0, 0.0, 0.0),
        lr_new_factor=10.0,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        bias_lr_factor=2.0,
        bias_decay=False,
        poly_power=recipe.power,
        precision=config.precision,
        extra=network_of(config, epochs * an_epoch),
    )


def network_of(config: SegmentConfig, steps: int = STEPS) -> Network:
    """The config's network, trained in so many steps.

    The published momentum of the running statistics forgets where they started from in 20,000
    steps. With it a short training would end with statistics that are not the data's, and a
    network that works in training alone; so a shorter one gets a larger momentum, by as much.

    Raises:
        InputError: the config has no segmentation network.
    """
    recipe_of(config)
    assert config.segment != "none"
    momentum = min(MOST_MOMENTUM, NORM_MOMENTUM * max(1.0, STEPS / steps))
    return Network(config.segment, config.segment_network, momentum)


def inference_of(config: SegmentConfig) -> Inference:
    """How the trained network is tested.

    Raises:
        InputError: the config has no segmentation network.
    """
    recipe = recipe_of(config)
    scales, flip = config.segment_scales, config.segment_flip_test
    name = config.segment_crf
    return Inference(
        scales=recipe.scales if scales is None else scales,
        flip=recipe.flip if flip is None else flip,
        crf=None if name == "none" else SETTINGS[name].within(config.crf_reach),
        bgr=config.segment_crf == "deeplab",
    )
