"""Pretraining of SmallNet on rendered single objects; stands in for ImageNet weights."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from camsweep.methods.backbones import MEAN, STD
from camsweep.methods.backbones.small import SmallNet
from camsweep.shards.embedded.pretrain_images import BODY_WAYS, HEAD_WAYS, pretrain_set
from camsweep.shards.errors import InputError

LabelledImages = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]]

RECIPE = 1  # raise whenever the same arguments would give other weights

BATCH = 16
LEARNING_RATE = 0.025
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
WARM_UP = 0.1  # share of the steps over which the learning rate rises
SIDES = (80, 96, 96, 112, 128)  # pixels; one a batch, so that features bear test-time scaling
HELD_OUT = 500  # images that only measure


@dataclass(frozen=True)
class PretrainLog:
    """One epoch of pretraining.

    Attributes:
        epoch: 1-based.
        epochs: How many there will be.
        loss: Mean training loss of the epoch (sum of both cross entropies, nats).
        head_accuracy: Held-out accuracy of the head id (7 ways), 0..1.
        body_accuracy: Held-out accuracy of the body id (6 ways), 0..1.
        seconds: Wall time of the epoch.
    """

    epoch: int
    epochs: int
    loss: float
    head_accuracy: float
    body_accuracy: float
    seconds: float


class TwoHeads(nn.Module):
    """SmallNet, global average pooling, and one linear classifier for heads and one for bodies."""

    def __init__(self) -> None:
        super().__init__()
        self.net = SmallNet(train_norm=True)
        self.head = nn.Linear(self.net.channels, HEAD_WAYS)
        self.body = nn.Linear(self.net.channels, BODY_WAYS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map images float [N, 3, H, W] to logits [N, 7] and [N, 6]."""
        pooled = self.net(x).last.mean(dim=(2, 3))
        return self.head(pooled), self.body(pooled)


def pretrain_embedded(
    seed: int = 0,
    images: int = 2000,
    epochs: int = 12,
    on_epoch: Callable[[PretrainLog], None] | None = None,
    *,
    threads: int = 1,
) -> dict[str, Tensor]:
    """Train SmallNet to name heads and bodies of single objects.

    Bit-deterministic for one thread of one machine: every draw comes from `seed`.

    Args:
        seed: Seeds the initial weights, the order, the augmentation and the images.
        images: Number of training images; 500 further ones measure accuracy.
        epochs: Passes over the images.
        on_epoch: Called after every epoch.
        threads: CPU threads of torch; other numbers may round differently.

    Returns:
        State dict of a `SmallNet` (float32, CPU) for `weights.load_into`.

    Raises:
        InputError: Fewer images than one batch.
    """
    if images < BATCH:
        raise InputError(f"pretrain_images: {images} is less than one batch; {BATCH} or more")
    training = pretrain_set(images, seed)
    held = pretrain_set(HELD_OUT, seed + 1_000_003) if on_epoch is not None else None
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return _pretrain(seed, epochs, training, held, on_epoch)
    finally:
        torch.set_num_threads(before)


def _pretrain(
    seed: int,
    epochs: int,
    training: LabelledImages,
    held: LabelledImages | None,
    on_epoch: Callable[[PretrainLog], None] | None,
) -> dict[str, Tensor]:
    pixels, heads, bodies = training
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = TwoHeads()
    model = model.to(memory_format=torch.channels_last)
    parameters = list(model.parameters())
    decayed = [p for p in parameters if p.ndim > 1]
    plain = [p for p in parameters if p.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": WEIGHT_DECAY},
        {"params": plain},
    ]
    optimiser = torch.optim.SGD(
        groups,
        lr=LEARNING_RATE,
        momentum=MOMENTUM,
        nesterov=True,
    )
    batches = len(pixels) // BATCH
    for epoch in range(epochs):
        started = time.perf_counter()
        rng = np.random.RandomState(np.random.MT19937(np.random.SeedSequence([seed, epoch])))
        order = rng.permutation(len(pixels))
        model.train()
        total = 0.0
        for step in range(batches):
            rate = _learning_rate((epoch * batches + step) / (epochs * batches))
            for group in optimiser.param_groups:
                group["lr"] = rate
            chosen = order[step * BATCH : (step + 1) * BATCH]
            x = _augmented(pixels[chosen], rng)
            side = SIDES[rng.randint(len(SIDES))]
            if side != x.shape[-1]:
                x = functional.interpolate(
                    x, (side, side), mode="bilinear", align_corners=False, antialias=True
                ).contiguous(memory_format=torch.channels_last)
            head_logits, body_logits = model(x)
            loss = functional.cross_entropy(head_logits, torch.from_numpy(heads[chosen]))
            loss = loss + functional.cross_entropy(body_logits, torch.from_numpy(bodies[chosen]))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            total += float(loss.detach())
        if on_epoch is not None and held is not None:
            head_accuracy, body_accuracy = _accuracy(model, *held)
            on_epoch(
                PretrainLog(
                    epoch=epoch + 1,
                    epochs=epochs,
                    loss=total / batches,
                    head_accuracy=head_accuracy,
                    body_accuracy=body_accuracy,
                    seconds=time.perf_counter() - started,
                )
            )
    return {
        name: value.detach().contiguous().clone()
        for name, value in model.net.state_dict().items()
        if not name.endswith("num_batches_tracked")  # means nothing once statistics are frozen
    }


def _learning_rate(progress: float) -> float:
    """Linear rise, then half a cosine down to zero."""
    if progress < WARM_UP:
        return LEARNING_RATE * (progress + 1e-3) / WARM_UP
    return LEARNING_RATE * 0.5 * (1 + float(np.cos(np.pi * (progress - WARM_UP) / (1 - WARM_UP))))


def _normalised(pixels: np.ndarray) -> Tensor:
    """Images uint8 [N, H, W, 3] as normalised float32 [N, 3, H, W], channels last in memory."""
    x = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 255
    mean = torch.tensor(MEAN).view(1, 3, 1, 1)
    std = torch.tensor(STD).view(1, 3, 1, 1)
    return ((x - mean) / std).contiguous(memory_format=torch.channels_last)


def _augmented(pixels: np.ndarray, rng: np.random.RandomState) -> Tensor:
    """Random flips of both axes and a gain of +-20 % an image, then normalisation."""
    flipped = pixels.copy()
    left, up = rng.rand(2, len(pixels)) < 0.5
    flipped[left] = flipped[left, :, ::-1]
    flipped[up] = flipped[up, ::-1]
    gain = rng.uniform(0.8, 1.2, (len(pixels), 1, 1, 1)).astype(np.float32)
    scaled = np.clip(flipped * gain, 0, 255)
    return _normalised(scaled)


def _accuracy(
    model: TwoHeads, pixels: np.ndarray, heads: np.ndarray, bodies: np.ndarray
) -> tuple[float, float]:
    model.eval()
    right = np.zeros(2)
    with torch.inference_mode():
        for start in range(0, len(pixels), 100):
            part = slice(start, start + 100)
            for which, (logits, truth) in enumerate(
                zip(model(_normalised(pixels[part])), (heads[part], bodies[part]), strict=True)
            ):
                right[which] += (logits.argmax(1).numpy() == truth).sum()
    return float(right[0] / len(pixels)), float(right[1] / len(pixels))
