"""One training step of CPN, against the same mathematics written plainly.

Ours: image and pair as one batch, channels-last, bfloat16 where the processor computes in it.
The peer is written from the equations: three passes, the default memory layout, float32, torch's
own batch norm, and every term of the loss on maps of all classes at the crop's size. Both draw the
same pair and end with a step of the same optimiser; dropout is on, as batch and draws differ, but
where losses are compared. On a GPU torch lets convolutions round their factors to TF32 unless it is
told not to: the peer is measured both ways.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camsweep.methods.backbones import batch_norms
from camsweep.methods.base import Batch
from camsweep.methods.cpn import METHOD, CpnConfig
from camsweep.methods.optimise import make_optimiser
from camsweep.methods.pair import draw_pair
from camsweep.methods.training import build_net
from camsweep.platform.bench.rounds import alternate
from camsweep.platform.bench.table import Result, ratio
from camsweep.shards.errors import InputError
from camsweep.shards.places import Place


class Case(NamedTuple):
    """A network, the side of its crops, a batch, and the foreground classes."""

    backbone: str
    crop: int
    batch: int
    classes: int


#: On a CPU: the embedded profile's, and the paper's network at a size that takes seconds.
ON_CPU = (Case("small", 96, 16, 6), Case("resnet38", 224, 1, 20))
#: On a GPU: the paper's.
ON_GPU = (Case("resnet38", 448, 4, 20),)
#: Largest relative difference of the losses, by precision.
SAME = {"float32": 1e-4, "bf16": 3e-2}
#: How many times faster a step shall be.
GOALS = {
    ("cpu", "float32"): 1.3,
    ("cpu", "bf16"): 2,
    ("cuda", "float32"): None,
    ("cuda", "bf16"): 3,
}


def run(data: Place | None, seconds: float, repeat: int) -> Result:
    """Measure all by turns, on the GPU if there is one; see ``camsweep.platform.bench.measure``.

    Raises:
        InputError: the losses differ.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precisions = ["float32", "bf16"] if device == "cuda" or has_bf16() else ["float32"]
    rounds: dict[str, tuple[float, ...]] = {}
    ratios, notes = [], []
    for case in ON_GPU if device == "cuda" else ON_CPU:
        given = Given(case, device)
        gaps = given.compare(precisions)
        name = f"{case.backbone}, {case.crop} px, batch {case.batch}"
        steps: dict[str, Callable[[], object]] = {f"{name}: plain": given.stepper(None)}
        if device == "cuda":
            steps[f"{name}: plain, no TF32"] = without_tf32(given.stepper(None))
        plain = list(steps)
        for precision in precisions:
            steps[f"{name}: camsweep, {precision}"] = given.stepper(precision)
        found = alternate(
            {what: lambda step=step: _seconds(step, device) for what, step in steps.items()},  # type: ignore[misc]
            repeat,
        )
        rounds |= found
        for precision in precisions:
            wanted = GOALS[device, precision]
            goal = "" if wanted is None else f"at least {wanted}"
            ours = f"{name}: camsweep, {precision}"
            ratios += [ratio(found, peer, ours, goal) for peer in plain]
        told = ", ".join(f"{gap:.1e} in {precision}" for precision, gap in gaps.items())
        notes.append(f"{name}: relative difference of the loss {told}; seed 0")
    where = (
        torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"
    )
    notes.append(f"on {where}; superpixels and loading left out, grid pairs")
    if precisions == ["float32"]:
        notes.append("bf16 left out: this processor does not compute in it")
    return Result("step", "seconds a step", rounds, tuple(ratios), tuple(notes))


def has_bf16() -> bool:
    """Whether this CPU multiplies in bfloat16 (else torch converts, which is slower)."""
    found = Path("/proc/cpuinfo")
    words = found.read_text().split() if found.exists() else []
    return "avx512_bf16" in words or "amx_bf16" in words


def _seconds(step: Callable[[], object], device: str) -> float:
    """What one step takes, all that the GPU has to do included."""
    _finish(device)
    begun = time.perf_counter()
    step()
    _finish(device)
    return time.perf_counter() - begun


def _finish(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def without_tf32(step: Callable[[], object]) -> Callable[[], object]:
    """The same step with convolutions of unrounded float32."""

    def exact() -> None:
        before = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = False
        try:
            step()
        finally:
            torch.backends.cudnn.allow_tf32 = before

    return exact


class Given:
    """A batch, and networks of equal weights for both ways."""

    def __init__(self, case: Case, device: str) -> None:
        generator = torch.Generator().manual_seed(0)
        shape = (case.batch, 3, case.crop, case.crop)
        self.device, self.case = device, case
        self.images = torch.randn(shape, generator=generator).to(device)
        self.labels = torch.zeros(case.batch, case.classes, device=device)
        self.labels[:, :2] = 1
        values = {"backbone": case.backbone, "pretrain": "none", "patches": "grid"}
        self.config = CpnConfig.model_validate(values)

    def net(self, ours: bool) -> nn.Module:
        """A new network on the device; its weights are the same every time."""
        net = build_net(METHOD, self.config, self.case.classes + 1, None).to(self.device)
        if ours:
            return net.to(memory_format=torch.channels_last)
        for norm in batch_norms(net):
            norm.forward = nn.BatchNorm2d.forward.__get__(norm)
        return net

    def batch(self, channels_last: bool) -> Batch:
        """The images and labels; the pair's draws begin anew."""
        form = torch.channels_last if channels_last else torch.contiguous_format
        images = self.images.contiguous(memory_format=form)
        return Batch(images, self.labels, None, torch.Generator().manual_seed(0))

    def loss(self, net: nn.Module, precision: str | None) -> Tensor:
        """The loss of our way, or of the plain one where the precision is None."""
        batch = self.batch(channels_last=precision is not None)
        if precision is None:
            return plain_loss(net, batch, self.config)
        with torch.autocast(self.device, torch.bfloat16, enabled=precision == "bf16"):
            return METHOD.losses(net, batch, self.config, 1.0)["loss"]

    def stepper(self, precision: str | None) -> Callable[[], object]:
        """A function that makes a step; it has been called once, to warm up."""
        net = self.net(ours=precision is not None).train()
        optimiser = make_optimiser(net, self.config)
        # A rate so small that the weights, and with them the work, stay what they are.
        for group in optimiser.param_groups:
            group["lr"] = 1e-12

        def step() -> None:
            optimiser.zero_grad(set_to_none=True)
            self.loss(net, precision).backward()
            optimiser.step()

        step()
        return step

    def compare(self, precisions: list[str]) -> dict[str, float]:
        """Relative differences of the losses without dropout.

        Raises:
            InputError: they are larger than ``SAME``.
        """
        with torch.no_grad():
            want = float(self.loss(self.net(False).eval(), None))
            net, gaps = self.net(True).eval(), {}
            for precision in precisions:
                gaps[precision] = abs(float(self.loss(net, precision)) - want) / abs(want)
        for precision, gap in gaps.items():
            if gap > SAME[precision]:
                raise InputError(f"bench: step: the losses differ by {gap:.1e} in {precision}")
        return gaps


def plain_loss(net: nn.Module, batch: Batch, config: CpnConfig) -> Tensor:
    """L_cls with the released min-pooling term, L_tcp and L_cpcr of three passes (eq. 5 to 10)."""
    pair = draw_pair(batch, config)
    first, second = pair.split(batch.images)
    size = batch.images.shape[-2:]
    mask = batch.labels[:, :, None, None]
    lam = pair.lam.to(mask.device)[:, None, None, None]
    classified, lowest, raw, refined = [], [], [], []
    for image, share in ((batch.images, torch.ones_like(lam)), (first, lam), (second, 1 - lam)):
        output = net(image)
        scores = _enlarged(output.scores, size)
        better = _enlarged(output.refined[:, 1:], size)
        classified.append(F.multilabel_soft_margin_loss(scores.mean((2, 3)), batch.labels))
        best = (better * mask).amax(1).flatten(1)
        count = best.shape[1] // 4
        lowest.append(F.relu(best.topk(count, largest=False).values).sum() / (count * len(best)))
        raw.append(_normalised(scores) * mask * share)
        refined.append(_normalised(better) * mask * share)

    tcp = (raw[1].detach() + raw[2].detach() - raw[0]).abs().mean()
    tcp = tcp + (refined[1] + refined[2] - refined[0]).abs().mean()
    whole, *hidden = (_with_background(maps.detach()) for maps in raw)
    cpcr: Any = 0
    for one, other in ((hidden[0], refined[2]), (hidden[1], refined[1])):
        target = whole - one
        target = torch.where(target == target.amax(1, keepdim=True), target, 0.0)
        error = (target - _with_background(other)).abs().flatten(1)
        cpcr = cpcr + error.topk(int(error.shape[1] * 0.2), 1).values.mean()
    return torch.stack(classified).mean() + torch.stack(lowest).mean() + tcp + cpcr


def _enlarged(maps: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(maps, size, mode="bilinear", align_corners=True)


def _normalised(maps: Tensor) -> Tensor:
    positive = F.relu(maps)
    low, high = positive.amin((2, 3), keepdim=True), positive.amax((2, 3), keepdim=True)
    return F.relu(positive - low - 1e-5) / (high - low + 1e-5)


def _with_background(maps: Tensor) -> Tensor:
    return torch.cat([1 - maps.amax(1, keepdim=True), maps], 1)
