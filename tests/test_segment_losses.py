"""The loss on pseudo masks: a mean over known pixels, in parts too; a few steps reduce it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from camsweep.methods.base import Batch, make_config
from camsweep.methods.parts import Part, divide, drawing_for
from camsweep.methods.sampling import step_generator
from camsweep.methods.segment import tasks
from camsweep.methods.segment.losses import known_counts, losses, pixel_loss, shrunk
from camsweep.methods.task import TaskSettings
from camsweep.methods.training import EpochLog, build_net, load_net, train
from camsweep.shards.errors import InputError

BASE: dict[str, Any] = {
    "method": "cam",
    "backbone": "small",
    "pretrain": "none",
    "refine": "crf",
    "segment_crop": 40,
    "segment_batch": 6,
}
NAMES = ["deeplab_v1", "deeplab_v2"]


def made(name: str, **changes: Any) -> tuple[Any, TaskSettings]:
    config = make_config({**BASE, "segment": name, **changes})
    return config, tasks.settings_of(config, 6)


def batch_of(labels: Tensor, part: Part | None = None, counts: Tensor | None = None) -> Batch:
    images = torch.randn(6, 3, 40, 40, generator=torch.Generator().manual_seed(1))
    own = part or Part(0, 6, 6)
    return Batch(
        own.of(images),
        torch.zeros(own.count, 3),
        own.of(labels),
        step_generator(0, 0, 0),
        own.of(labels) > 0,
        part,
        counts=counts,
    )


def labels_of_six() -> Tensor:
    labels = torch.randint(1, 5, (6, 40, 40), generator=torch.Generator().manual_seed(2)).int()
    labels[0, :, 10:] = 0  # little of it is known
    labels[3] = 0  # nothing of it
    labels[4, 5:9, 3:30] = 0
    return labels


@pytest.mark.parametrize(
    ("size", "to"), [((321, 321), (41, 31)), ((7, 5), (3, 9)), ((4, 4), (1, 1))]
)
def test_labels_are_shrunk_as_pillow_does(size: tuple[int, int], to: tuple[int, int]) -> None:
    labels = np.random.default_rng(0).integers(0, 256, size).astype(np.uint8)
    wanted = np.asarray(Image.fromarray(labels).resize(to[::-1], Image.Resampling.NEAREST))
    assert np.array_equal(shrunk(torch.from_numpy(labels.copy())[None], to)[0].numpy(), wanted)


def test_the_loss_is_the_released_mean() -> None:
    logits = torch.randn(6, 4, 40, 40)
    labels = labels_of_six()
    targets = labels.long() - 1
    targets[targets < 0] = 255
    wanted = torch.nn.CrossEntropyLoss(ignore_index=255)(logits, targets)
    torch.testing.assert_close(pixel_loss(logits, labels), wanted)
    plain = -logits.log_softmax(1).gather(1, (labels.long() - 1).clamp(min=0)[:, None])[:, 0]
    torch.testing.assert_close(pixel_loss(logits, labels), plain[labels > 0].mean())


def test_v2_sums_the_losses_of_its_four_maps() -> None:
    config, settings = made("deeplab_v2")
    net: Any = build_net(tasks.task_of(config), settings, 4, None).train()
    labels = labels_of_six()
    terms = losses(net, batch_of(labels), settings, 0.0)
    maps = net(batch_of(labels).images)
    for name, logits in zip(("ce_100", "ce_50", "ce_75", "ce_max"), maps, strict=True):
        targets = shrunk(labels, (logits.shape[-2], logits.shape[-1])).long() - 1
        wanted = torch.nn.functional.cross_entropy(logits, targets, ignore_index=-1)
        torch.testing.assert_close(terms.pop(name), wanted)
    assert terms.keys() == {"loss"}


@pytest.mark.parametrize("name", NAMES)
def test_nothing_known_is_no_loss(name: str) -> None:
    config, settings = made(name)
    net: Any = build_net(tasks.task_of(config), settings, 4, None).train()
    terms = losses(net, batch_of(torch.zeros(6, 40, 40).int()), settings, 0.0)
    terms["loss"].backward()
    assert float(terms["loss"].detach()) == 0
    assert all(not p.grad.any() for p in net.parameters() if p.grad is not None)


def gradient(net: Any, settings: TaskSettings, parts: list[Part] | None) -> tuple[Any, Any]:
    labels = labels_of_six()
    counts = known_counts(labels, settings) if parts else None
    net.zero_grad()
    totals: dict[str, Tensor] = {}
    for part in parts or [Part(0, 6, 6)]:
        torch.manual_seed(5)
        batch = batch_of(labels, part if parts else None, counts)
        with drawing_for(batch.part, torch.device("cpu")):
            terms = losses(net, batch, settings, 0.5)
        (terms["loss"] * part.share).backward()
        for name, value in terms.items():
            totals[name] = totals.get(name, torch.zeros(())) + value.detach() * part.share
    return totals, {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("parts", [2, 4, 6])
def test_parts_add_up_to_the_batch(name: str, parts: int) -> None:
    """Of v1 with the stored statistics: those of a batch are not its parts'."""
    config, settings = made(name)
    net: Any = build_net(tasks.task_of(config), settings, 4, None).train()
    if name == "deeplab_v1":
        for norm in (m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)):
            norm.eval()
    whole, wanted = gradient(net, settings, None)
    found, grads = gradient(net, settings, divide(6, accumulation=parts))
    assert found.keys() == whole.keys()
    for term, value in whole.items():
        assert float(found[term]) == pytest.approx(float(value), abs=1e-5), term
    assert grads.keys() == wanted.keys()
    for weight, value in wanted.items():
        scale = float(value.abs().max()) + 1e-6
        assert float((grads[weight] - value).abs().max()) < 1e-3 * scale, weight


def test_a_part_needs_the_counts_of_the_whole() -> None:
    config, settings = made("deeplab_v2")
    net = build_net(tasks.task_of(config), settings, 4, None)
    with pytest.raises(ValueError, match="no mean of its own"):
        losses(net, batch_of(labels_of_six(), Part(0, 3, 6)), settings, 0.0)


def test_counts_are_those_of_the_maps() -> None:
    labels = labels_of_six()
    assert known_counts(labels, made("deeplab_v1")[1]).tolist() == [
        [int((image > 0).sum())] for image in labels
    ]
    counts = known_counts(labels, made("deeplab_v2")[1])
    assert counts[1].tolist() == [100, 25, 64, 100]
    assert counts[3].tolist() == [0, 0, 0, 0]


class Reader:
    """Six pictures of a square on a ground of another colour."""

    split = "train"
    manifest = SimpleNamespace(classes=("background", "a", "b", "c"))

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.images = rng.integers(0, 60, (6, 40, 48, 3), dtype=np.uint8)
        self.masks = np.ones((6, 40, 48), np.uint16)
        self.labels = np.zeros((6, 3), np.float32)
        for i in range(6):
            self.masks[i, 10:30, 5 + 3 * i : 25 + 3 * i] = 2 + i % 3
            self.images[i][self.masks[i] > 1, i % 3] += 150
            self.labels[i, i % 3] = 1

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> Any:
        return self.images[index]


@pytest.mark.parametrize("name", NAMES)
def test_a_few_steps_learn_a_toy_set(name: str) -> None:
    reader = Reader()
    config = make_config(
        {
            **BASE,
            "segment": name,
            "segment_batch": 3,
            "segment_steps": 24,
            "segment_lr": 0.003,
            "segment_rescale": [0.75, 1.25],
        }
    )
    task, settings = tasks.task_of(config), tasks.settings_of(config, len(reader))
    assert settings.epochs == 12
    logs: list[EpochLog] = []
    state = train(task, settings, reader, reader.masks, None, on_epoch=logs.append)
    assert logs[-1].losses["loss"] < 0.6 * logs[0].losses["loss"]
    net = load_net(task, settings, 4, state)
    assert net.state_dict().keys() == state.keys()
    assert not net.training


def test_too_few_images_are_train_s_error() -> None:
    reader = Reader()
    config, settings = made("deeplab_v1", segment_batch=10)
    with pytest.raises(InputError, match="10 is more than the 6 samples"):
        train(tasks.task_of(config), settings, reader, reader.masks, None)


def test_v1_refuses_to_compute_a_batch_in_parts() -> None:
    reader = Reader()
    config, settings = made("deeplab_v1")
    with pytest.raises(InputError, match="needs whole batches"):
        train(tasks.task_of(config), settings, reader, reader.masks, None, accumulation=2)


def test_v2_in_parts_is_v2_trained_at_once() -> None:
    reader = Reader()
    config, settings = made("deeplab_v2", segment_steps=3, segment_lr=0.003)
    task = tasks.task_of(config)
    whole = train(task, settings, reader, reader.masks, None)
    found = train(task, settings, reader, reader.masks, None, accumulation=4)
    for name, value in whole.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-5)
