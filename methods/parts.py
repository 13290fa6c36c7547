"""Parts of a step's batch, and draws that do not depend on how it was divided.

The processes of a team, and the micro-batches of one process, each hold some consecutive images of
the batch that one process would see at a step. Whatever is drawn at random is drawn for the whole
batch by everybody, and each takes the rows of its own images: so an image's result is the same
however many share the work.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from camsweep.shards.errors import InputError


@dataclass(frozen=True)
class Part:
    """Consecutive images of a batch.

    Attributes:
        start: the first one's place in the whole batch.
        count: how many.
        whole: images of the whole batch.
    """

    start: int
    count: int
    whole: int

    @property
    def share(self) -> float:
        """The weight of this part's mean in the whole batch's, above 0, at most 1."""
        return self.count / self.whole

    def of(self, rows: Tensor) -> Tensor:
        """This part of ``rows`` [whole, ...], as a view."""
        return rows[self.start : self.start + self.count]


def divide(batch: int, rank: int = 0, world: int = 1, accumulation: int = 1) -> list[Part]:
    """The parts that one process computes one after the other.

    Args:
        batch: images a step, a multiple of ``world``.
        rank: this process, 0..world-1.
        world: processes that share a step.
        accumulation: parts a process, at most its images; their sizes differ by one at most.
    """
    own = batch // world
    edges = [rank * own + own * i // accumulation for i in range(accumulation + 1)]
    return [Part(a, b - a, batch) for a, b in pairwise(edges)]


@dataclass
class _Draws:
    """What a forward pass on a part has drawn from torch's global generator so far."""

    part: Part
    device: torch.device
    rows_an_image: int = 1

    def __post_init__(self) -> None:
        self.state = self.now()

    def now(self) -> Tensor:
        cuda = self.device.type == "cuda"
        return torch.cuda.get_rng_state(self.device) if cuda else torch.get_rng_state()

    def require_own(self) -> None:
        """Refuse draws that were not ``dropout2d``'s or ``dropout``'s."""
        if not torch.equal(self.now(), self.state):
            raise InputError(
                "this method draws random numbers other than those of methods.parts and of the "
                "batch's generator, which a team and gradient accumulation cannot share; "
                "train it with one worker and a batch that fits"
            )


_DRAWS: ContextVar[_Draws | None] = ContextVar("draws", default=None)


@contextmanager
def drawing_for(part: Part | None, device: torch.device) -> Iterator[None]:
    """The dropouts in the block draw as they would for the whole batch; None leaves them as is.

    Raises:
        InputError: something else drew from torch's global generators. Its draws would depend on
            how the batch was divided.
    """
    if part is None:
        yield
        return
    draws = _Draws(part, device)
    token = _DRAWS.set(draws)
    try:
        yield
    finally:
        _DRAWS.reset(token)
    draws.require_own()


@contextmanager
def rows_an_image(count: int) -> Iterator[None]:
    """Every image of a view is ``count`` consecutive rows in the block: patches cut out of it."""
    draws = _DRAWS.get()
    if draws is None:
        yield
        return
    before, draws.rows_an_image = draws.rows_an_image, draws.rows_an_image * count
    try:
        yield
    finally:
        draws.rows_an_image = before


def current_rows_an_image() -> int:
    """See ``rows_an_image``; 1 where nothing else was said."""
    draws = _DRAWS.get()
    return 1 if draws is None else draws.rows_an_image


def dropout2d(x: Tensor, share: float, training: bool) -> Tensor:
    """Set whole channels to 0: torch's, with the same draws for an image in whatever part it is.

    Args:
        x: [N, C, H, W]. On a part of a batch N is views x images x ``rows_an_image``, the views of
            one network call (an image, its hidden pair, ...) one after the other.
        share: of the channels, 0..1.
        training: False returns ``x``.

    Raises:
        InputError: see ``drawing_for``.
    """
    draws = _DRAWS.get()
    if draws is None or not training or not 0 < share < 1:
        return functional.dropout2d(x, share, training)
    return x * _own_noise(draws, x, x.shape[1:2], share)[:, :, None, None]


def dropout(x: Tensor, share: float, training: bool) -> Tensor:
    """Set single values to 0, with the same draws for an image in whatever part it is.

    On CPUs with torch's own draws; on GPUs torch draws inside a kernel whose numbers depend on how
    large ``x`` is, so they are drawn here, whole batch or not.

    Args:
        x: [N, C, H, W]; N as in ``dropout2d``.
        share: of the values, 0..1.
        training: False returns ``x``.

    Raises:
        InputError: see ``drawing_for``.
    """
    draws = _DRAWS.get()
    if not training or not 0 < share < 1 or (draws is None and x.device.type == "cpu"):
        return functional.dropout(x, share, training)
    if draws is None:
        return x * torch.empty_like(x).bernoulli_(1 - share).div_(1 - share)
    return x * _own_noise(draws, x, x.shape[1:], share)


def _own_noise(draws: _Draws, x: Tensor, each: torch.Size, share: float) -> Tensor:
    """0 or 1 / (1 - share), drawn for the whole batch: the rows of ``x``, of size ``each``."""
    part, inner = draws.part, draws.rows_an_image
    views, rest = divmod(x.shape[0], part.count * inner)
    if rest:
        raise ValueError(f"{x.shape[0]} rows are no views of {part.count} images of {inner} rows")
    draws.require_own()  # a draw as large as the part would shift these by part
    # As torch does it inside, bit for bit, but for the rows of the other parts. It draws in the
    # order of memory.
    last = len(each) == 3 and x.is_contiguous(memory_format=torch.channels_last)
    noise = torch.empty(
        (views * part.whole * inner, *each),
        dtype=x.dtype,
        device=x.device,
        memory_format=torch.channels_last if last else torch.contiguous_format,
    )
    noise.bernoulli_(1 - share).div_(1 - share)
    whole: Tensor = noise.unflatten(0, (views, part.whole, inner))
    own = whole[:, part.start : part.start + part.count].flatten(0, 2)
    draws.state = draws.now()
    return own
