"""The gradient of one training step: of a whole batch, or of parts of it that are added up."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from camsweep.methods import compose
from camsweep.methods.base import Batch, Method
from camsweep.methods.exact import WholeBatchGradients
from camsweep.methods.parts import Part, drawing_for
from camsweep.methods.sampling import step_generator, step_seed
from camsweep.methods.task import Task
from camsweep.methods.team import Team


@dataclass(frozen=True)
class StepRun:
    """What stays the same from step to step."""

    method: Method | Task
    config: Any
    net: nn.Module
    optimiser: torch.optim.SGD
    device: torch.device
    steps: int
    on_damaged: Callable[[int], None] | None
    team: Team
    parts: list[Part]

    @property
    def divided(self) -> bool:
        """Whether this process computes less than a whole batch at once."""
        return self.team.world > 1 or len(self.parts) > 1

    @property
    def exact(self) -> bool:
        """Whether a team's gradients are those of one process to the last bit."""
        return self.team.world > 1 and len(self.parts) == 1 and self.device.type == "cpu"


class Whole(NamedTuple):
    """What the parts of a batch know of all its images, where it was divided; see ``Batch``."""

    regions: Tensor | None = None
    counts: Tensor | None = None


def tell_damaged(run: StepRun, given: list[Tensor]) -> Whole:
    """Tell which samples were damaged, on any rank.

    Returns:
        Facts of the images of the whole batch.
    """
    _, _, ids, damaged = given
    whole = Whole()
    if run.divided:
        count = run.method.counts if isinstance(run.method, Task) else None
        own = ids.new_zeros(len(ids), 0) if count is None else count(ids, run.config)
        largest = ids.flatten(1).amax(1, keepdim=True).long()
        facts = run.team.gather(torch.cat([damaged[:, None], largest, own.long()], 1))
        damaged, whole = facts[:, 0], Whole(facts[:, 1], None if count is None else facts[:, 2:])
    if run.on_damaged is not None:
        with run.team.together():
            for index in damaged[damaged >= 0].tolist() if run.team.rank == 0 else []:
                run.on_damaged(index)
    return whole


def gradients(
    run: StepRun,
    given: list[Tensor],
    whole: Whole,
    when: tuple[int, int],
    progress: float,
) -> dict[str, Tensor]:
    """Add the gradient of this process's parts of a batch to the parameters'.

    Args:
        run: the training.
        given: images, labels, ids of superpixels and damaged samples of the parts.
        whole: facts of all images of the batch.
        when: epoch and step.
        progress: share of the training that is done.

    Returns:
        The terms' shares in those of the whole batch, without gradient.
    """
    totals: dict[str, Tensor] = {}
    for part in run.parts:
        exact = WholeBatchGradients(run.team, part) if run.exact else None
        with run.team.together(), exact or nullcontext():
            batch = _batch(run, given, whole, when, part)
            terms = _losses(run, batch, when, progress)
            if run.divided:
                terms = {name: value * part.share for name, value in terms.items()}
        if exact is None:
            with run.team.together():
                terms["loss"].backward()
        else:
            # The ranks exchange numbers in it, so that one that fails cannot tell the others.
            with run.team.or_lost(), exact:
                terms["loss"].backward()
        for name, value in terms.items():
            totals[name] = totals[name] + value.detach() if name in totals else value.detach()
    return totals


def _batch(
    run: StepRun,
    given: list[Tensor],
    whole: Whole,
    when: tuple[int, int],
    part: Part,
) -> Batch:
    """A part of what this process holds of a step, on the device."""
    first, device = part.start - run.parts[0].start, run.device
    images, labels, ids = (held[first : first + part.count] for held in given[:3])
    ids = ids.to(device, non_blocking=True)
    return Batch(
        images.to(device, non_blocking=True, memory_format=torch.channels_last),
        labels.to(device, non_blocking=True),
        ids if run.config.needs_regions else None,
        step_generator(run.config.seed, *when),
        ids > 0,
        part if run.divided else None,
        whole.regions,
        whole.counts,
    )


def _losses(
    run: StepRun, batch: Batch, when: tuple[int, int], progress: float
) -> dict[str, Tensor]:
    config, device = run.config, run.device
    with (
        torch.random.fork_rng(_forked(device)),
        torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"),
    ):
        # Dropout draws from the global generators: set them, so that a resumed step sees the draws
        # that it would have seen.
        torch.manual_seed(step_seed(config.seed, *when, 2))
        with drawing_for(batch.part, device):
            return compose.losses(run.method, run.net, batch, config, progress)


def added(
    team: Team, terms: dict[str, Tensor], parameters: list[nn.Parameter]
) -> dict[str, Tensor]:
    """Sum terms and gradients over a team; the parameters' gradients are replaced by their sums."""
    if team.world == 1:
        return terms
    # Copies of all gradients: a GPU that has held a step may not hold them.
    with team.together():
        used = [float(p.grad is not None) for p in parameters]
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        counts = torch.tensor(used, device=parameters[0].device)
        values = torch.stack([value.float() for value in terms.values()])
        sent = [values, counts, *grads]
        # One message: what is sent in many costs as many round trips.
        flat = torch.cat([tensor.reshape(-1) for tensor in sent])
        shapes = [tensor.shape for tensor in sent]
        del grads, sent  # each is freed below as its sum takes its place
    team.add(flat)
    with team.together():
        sums = flat.split([shape.numel() for shape in shapes])
        values, counts, *grads = [s.view(shape) for s, shape in zip(sums, shapes, strict=True)]
        for parameter, ranks, grad in zip(parameters, counts.tolist(), grads, strict=True):
            # Without a gradient the optimiser leaves a parameter alone, and decays it with one of 0
            parameter.grad = torch.empty_like(parameter).copy_(grad) if ranks else None
    return dict(zip(terms, values.unbind(), strict=True))


def _forked(device: torch.device) -> list[int]:
    """The CUDA devices whose generator a step seeds."""
    if device.type != "cuda":
        return []
    return [torch.cuda.current_device() if device.index is None else device.index]
