"""Parts of a batch add up to it: losses and gradients of every method, draws, evaluated groups."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from camsweep.methods import compose
from camsweep.methods.backbones import Features
from camsweep.methods.base import Batch, Output, load_method, make_config, method_names
from camsweep.methods.inference import groups_of, localize
from camsweep.methods.parts import (
    Part,
    divide,
    drawing_for,
    dropout,
    dropout2d,
    rows_an_image,
)
from camsweep.methods.sampling import step_generator
from camsweep.methods.team import SOLO, check_team
from camsweep.methods.training import build_net, train
from camsweep.shards.errors import InputError

BASE: dict[str, Any] = {
    "backbone": "small",
    "pretrain": "none",
    "crop": 48,
    "resize_max": 0,
    "batch": 6,
    "epochs": 1,
}
CASES: dict[str, dict[str, Any]] = {
    **{name: {"method": name} for name in method_names()},
    "grid": {"method": "cpn", "patches": "grid"},
    "released draw": {"method": "cpn", "hiding": "with_replacement"},
    "pairs of patches": {"method": "ppl", "pair": True, "patches": "grid"},
    "prototypes": {"method": "cam", "gsc": True},
}


def batch_of(n: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(n, 3, 48, 48, generator=generator)
    labels = (torch.rand(n, 3, generator=generator) < 0.6).float()
    side = torch.arange(48) // 8
    ids = (side[:, None] * 6 + side + 1).int().repeat(n, 1, 1)
    ids[2, :, 24:] = 0  # fewer regions, some of it padding
    ids[4] //= 2
    return images, labels, ids


def gradient(config: Any, net: nn.Module, parts: list[Part] | None) -> tuple[Any, Any]:
    """Losses and gradients of a batch, whole or as a sum over parts."""
    method = load_method(config.method)
    images, labels, ids = batch_of()
    net.zero_grad()
    totals: dict[str, Tensor] = {}
    for part in parts or [Part(0, 6, 6)]:
        torch.manual_seed(5)
        batch = Batch(
            part.of(images),
            part.of(labels),
            None if config.superpixels() is None else part.of(ids),
            step_generator(0, 0, 0),
            part.of(ids) > 0,
            part if parts else None,
            ids.flatten(1).amax(1).long() if parts else None,
        )
        with drawing_for(batch.part, torch.device("cpu")):
            terms = compose.losses(method, net, batch, config, 0.7)
        (terms["loss"] * part.share).backward()
        for name, value in terms.items():
            totals[name] = totals.get(name, torch.zeros(())) + value.detach() * part.share
    grads = {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}
    return totals, grads


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("parts", [2, 6])
def test_every_method_adds_up(case: str, parts: int) -> None:
    config = make_config({**BASE, **CASES[case]})
    net = build_net(load_method(config.method), config, 4, None).train()
    whole, wanted = gradient(config, net, None)
    found, grads = gradient(config, net, divide(6, accumulation=parts))
    assert found.keys() == whole.keys()
    for name, value in whole.items():
        assert float(found[name]) == pytest.approx(float(value), abs=1e-5), name
    assert grads.keys() == wanted.keys()
    for name, value in wanted.items():
        scale = float(value.abs().max()) + 1e-6
        assert float((grads[name] - value).abs().max()) < 1e-3 * scale, name


def test_parts_are_consecutive_and_whole() -> None:
    assert divide(8) == [Part(0, 8, 8)]
    assert divide(8, 1, 2) == [Part(4, 4, 8)]
    assert divide(8, 1, 2, 3) == [Part(4, 1, 8), Part(5, 1, 8), Part(6, 2, 8)]
    held = [p for rank in range(3) for p in divide(12, rank, 3, 4)]
    images = [i for p in held for i in range(p.start, p.start + p.count)]
    assert images == list(range(12))
    assert sum(p.share for p in held) == pytest.approx(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("views", "inner"), [(1, 1), (3, 1), (1, 4), (2, 4)])
def test_dropout_draws_for_the_whole_batch(views: int, inner: int, dtype: torch.dtype) -> None:
    x = torch.randn(views * 6 * inner, 5, 3, 3).to(dtype)
    torch.manual_seed(3)
    wanted = nn.functional.dropout2d(x, 0.3).unflatten(0, (views, 6, inner))
    for part in divide(6, accumulation=3):
        own = x.unflatten(0, (views, 6, inner))[:, part.start : part.start + 2].flatten(0, 2)
        torch.manual_seed(3)
        with drawing_for(part, torch.device("cpu")), rows_an_image(inner):
            found = dropout2d(own, 0.3, True)
        kept = wanted[:, part.start : part.start + 2].flatten(0, 2)
        assert torch.equal(found, kept)
    assert torch.equal(dropout2d(x, 0.3, False), x)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("views", "inner"), [(1, 1), (3, 1), (2, 4)])
def test_single_values_are_dropped_for_the_whole_batch(
    views: int, inner: int, dtype: torch.dtype, layout: torch.memory_format
) -> None:
    x = torch.randn(views * 6 * inner, 5, 3, 4).to(dtype).contiguous(memory_format=layout)
    torch.manual_seed(3)
    wanted = nn.functional.dropout(x, 0.3).unflatten(0, (views, 6, inner))
    torch.manual_seed(3)
    assert torch.equal(dropout(x, 0.3, True), wanted.flatten(0, 2))
    for part in divide(6, accumulation=3):
        own = x.unflatten(0, (views, 6, inner))[:, part.start : part.start + 2].flatten(0, 2)
        own = own.contiguous(memory_format=layout)
        torch.manual_seed(3)
        with drawing_for(part, torch.device("cpu")), rows_an_image(inner):
            found = dropout(dropout2d(own, 0, True), 0.3, True)
        assert torch.equal(found, wanted[:, part.start : part.start + 2].flatten(0, 2))
    assert torch.equal(dropout(x, 0.3, False), x)
    assert not dropout(x, 1.0, True).any()


def test_both_dropouts_draw_one_after_the_other() -> None:
    x = torch.randn(6, 4, 3, 3)

    def twice(rows: Tensor) -> Tensor:
        return dropout2d(dropout(dropout2d(rows, 0.5, True), 0.5, True), 0.5, True)

    torch.manual_seed(3)
    wanted = twice(x)
    for part in divide(6, accumulation=3):
        torch.manual_seed(3)
        with drawing_for(part, torch.device("cpu")):
            assert torch.equal(twice(part.of(x)), part.of(wanted))


def test_patches_of_resnet38_see_the_channels_that_they_would_alone() -> None:
    """PPL cuts images into patches, each a row of its own in the dropout layers."""

    class Dropping(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return dropout2d(x, 0.5, True)

    config = make_config({**BASE, "method": "ppl"})
    net: Any = build_net(load_method("ppl"), config, 4, None).train()
    net.backbone.stage4 = nn.Sequential(net.backbone.stage4, Dropping())
    whole, wanted = gradient(config, net, None)
    found, grads = gradient(config, net, divide(6, accumulation=3))
    assert float(found["loss"]) == pytest.approx(float(whole["loss"]), abs=1e-5)
    for name, value in wanted.items():
        torch.testing.assert_close(grads[name], value, rtol=1e-3, atol=1e-6)


def test_draws_that_parts_cannot_share_are_refused() -> None:
    here = torch.device("cpu")
    with pytest.raises(InputError, match="draws random numbers"), drawing_for(Part(0, 2, 4), here):
        torch.rand(3)
    with drawing_for(None, here):
        torch.rand(3)


def test_a_dropout_covers_up_no_draw_before_it() -> None:
    def noisy(x: Tensor, drop: Any = dropout2d) -> Tensor:
        found: Tensor = drop(x + torch.rand_like(x), 0.5, True)
        return found

    here, x = torch.device("cpu"), torch.ones(2, 3, 1, 1)
    for drop in (dropout, dropout2d):
        with (
            pytest.raises(InputError, match="draws random numbers"),
            drawing_for(Part(0, 2, 4), here),
        ):
            noisy(x, drop)
    with drawing_for(None, here):
        noisy(x)


def test_a_team_needs_a_batch_that_it_can_divide() -> None:
    config = make_config({**BASE, "method": "cam"})
    check_team(config, 3)
    with pytest.raises(InputError, match="6 images cannot be divided equally among 4 workers"):
        check_team(config, 4)


class Reader:
    """Pictures of several sizes, with the interface of a SplitReader."""

    split = "val"

    def __init__(self) -> None:
        sizes = [(96, 96)] * 20 + [(64, 80)] * 3 + [(400, 375), (375, 400), (96, 96), (96, 96)]
        self.sizes = np.array(sizes)
        self.labels = np.ones((len(sizes), 3), np.float32)

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> Any:
        height, width = self.sizes[index]
        image = np.full((height, width, 3), index, np.uint8)
        return SimpleNamespace(image=image, mask=np.zeros((height, width), np.uint8))


class Counting(nn.Module):
    """Remembers how many images it saw at once."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, images: Tensor) -> Output:
        self.seen.append(len(images))
        return Output(images, Features((images, images), images, (images,) * 4))


@pytest.mark.parametrize("max_side", [0, 96])
def test_the_groups_that_a_team_deals_out_are_those_of_one_process(max_side: int) -> None:
    config = make_config(
        {**BASE, "method": "cam", "max_side": max_side, "scales": [1.0], "flip_test": False}
    )
    method, reader, net = load_method("cam"), Reader(), Counting()
    alone = [index for index, _, _ in localize(method, net, reader, config)]
    groups = groups_of(reader.sizes, max_side)
    assert [i for group in groups for i in group] == alone == list(range(len(reader)))
    assert [len(group) for group in groups] == net.seen
    dealt = []
    for rank in range(2):
        net.seen = []
        own = groups[rank::2]
        dealt += [i for i, _, _ in localize(method, net, reader, config, groups=own)]
        assert net.seen == [len(group) for group in own]
    assert sorted(dealt) == alone


def test_the_hook_gets_the_network_after_each_checkpoint() -> None:
    from test_training import CONFIG, Memory
    from test_training import Reader as Pictures

    config = make_config({**CONFIG, "method": "cam"})
    memory, seen = Memory(), list[Any]()

    def on_net(done: int, net: nn.Module) -> None:
        net.eval()
        assert memory.saved is not None
        seen.append((done, memory.saved[0]))
        if done == 2:
            raise TimeoutError("stopped")

    with pytest.raises(TimeoutError):
        train(
            load_method("cam"), config, Pictures(), None, None, checkpoint=memory, on_net=on_net,
            team=SOLO,
        )  # fmt: skip
    assert seen == [(1, 3), (2, 6)]
