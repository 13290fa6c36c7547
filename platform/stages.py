"""Stage artefacts in the store, keyed by stage id: computed once, found by everyone after.

Checkpoints live here too and not in Ray's own: Ray restores a trial from its last snapshot, which
can be older than the last checkpoint (docs/decisions/0004-engine.md).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from camsweep.methods.training import EpochLog
from camsweep.shards.errors import InputError
from camsweep.sweeps.leasing.leases import LeaseLost
from camsweep.sweeps.results import artefact_name
from camsweep.sweeps.store import Store

Tensors = dict[str, Tensor]
WEIGHTS = "weights.safetensors"
CHECKPOINT = "checkpoint.safetensors"
TIMING = "timing.json"
JOURNAL = "epochs.json"
SKIPPED = "skipped.json"
#: Ends the folder of what was made without the samples that could not be read.
SKIPPING = "-skipping"
STEP = "camsweep.step"


def read_tensors(store: Store, name: str) -> Tensors:
    """A safetensors file of the store.

    Raises:
        InputError: the file is damaged.
    """
    try:
        return load(store.read(name))
    except SafetensorError as error:
        raise InputError(f"{store}/{name}: damaged ({error}); delete it and run again") from error


def write_tensors(store: Store, name: str, tensors: Tensors) -> None:
    """Write a safetensors file, whole or not at all."""
    store.write(name, save({key: t.detach().cpu().contiguous() for key, t in tensors.items()}))


@dataclass(frozen=True)
class StoredCheckpoint:
    """The training checkpoint of one stage; resumes an interrupted trial at the next step."""

    store: Store
    stage_id: str

    @property
    def _name(self) -> str:
        return artefact_name(self.stage_id, CHECKPOINT)

    def load(self) -> tuple[int, Tensors] | None:
        """Optimiser steps made and the tensors, or None when nothing was saved."""
        if not self.store.exists(self._name):
            return None
        tensors = read_tensors(self.store, self._name)
        return int(tensors.pop(STEP)), tensors

    def save(self, step: int, tensors: Tensors) -> None:
        """Replace the checkpoint: `step` optimiser steps are made."""
        write_tensors(self.store, self._name, {**tensors, STEP: torch.tensor([step])})

    def delete(self) -> None:
        """Remove the checkpoint once the final weights are there."""
        self.store.delete(self._name)


class Computed(NamedTuple):
    """What computing a stage gave: weights, the seconds over all attempts, its epochs if any.

    ``workers`` processes did it, each of which divided a step by ``accumulation``.
    """

    tensors: Tensors
    seconds: float
    epochs: Sequence[EpochLog] = ()
    workers: int = 1
    accumulation: int = 1


@dataclass(frozen=True)
class StageResult:
    """A stage's artefact.

    Attributes:
        tensors: the weights.
        seconds: what computing it took, also when it was found.
        found: whether somebody had computed it before.
        epochs: the journal of its training.
        skipped: the damaged samples (`SPLIT/KEY`) that its training left out.
        workers: processes that trained it together, when it ended.
        accumulation: parts into which each of them divided a step.
    """

    tensors: Tensors
    seconds: float
    found: bool
    epochs: tuple[EpochLog, ...] = ()
    skipped: tuple[str, ...] = ()
    workers: int = 1
    accumulation: int = 1


def ensure_weights(
    store: Store,
    stage_id: str,
    compute: Callable[[], Computed],
    on_wait: Callable[[], object] | None = None,
) -> StageResult:
    """The weights of a stage: found, or computed by one process while the others wait for it.

    Args:
        store: where.
        stage_id: the stage.
        compute: called where they are not there.
        on_wait: called now and then while another process computes them.
    """
    while True:
        with store.lock(stage_id, on_wait) as require:
            result = _ensure(store, stage_id, compute, require)
        if result is not None:
            return result


def _ensure(
    store: Store, stage_id: str, compute: Callable[[], Computed], require: Callable[[], None]
) -> StageResult | None:
    name = artefact_name(stage_id, WEIGHTS)
    found = store.exists(name)
    if not found:
        made = compute()
        try:
            require()
        except LeaseLost:
            return None  # paused for so long that another took over: what that one makes is used
        timing = {
            "seconds": made.seconds,
            "workers": made.workers,
            "accumulation": made.accumulation,
        }
        store.write(artefact_name(stage_id, TIMING), json.dumps(timing).encode())
        if made.epochs:
            # Again: who was paused and went on may have written an earlier epoch's meanwhile.
            write_journal(store, stage_id, made.epochs)
        write_tensors(store, name, made.tensors)
    # Also when found: whoever wrote the weights may have been killed right after it.
    StoredCheckpoint(store, stage_id).delete()
    timing = _timing(store, stage_id)
    return StageResult(
        read_tensors(store, name),
        float(timing.get("seconds", 0.0)),
        found,
        tuple(read_journal(store, stage_id) if found else made.epochs),
        tuple(read_skipped(store, stage_id)),
        int(timing.get("workers", 1)),
        int(timing.get("accumulation", 1)),
    )


def take_over(store: Store, stage_id: str, other: str) -> None:
    """Let `other` go on from the checkpoint of `stage_id`, where it has begun nothing itself."""
    if store.names(f"artefacts/{other}") or not store.exists(artefact_name(stage_id, CHECKPOINT)):
        return
    for part in (JOURNAL, CHECKPOINT):
        if store.exists(artefact_name(stage_id, part)):
            store.write(artefact_name(other, part), store.read(artefact_name(stage_id, part)))


def stage_seconds(store: Store, stage_id: str) -> float:
    """What a stage took to compute, in seconds; 0 where that is not recorded."""
    return float(_timing(store, stage_id).get("seconds", 0.0))


def _timing(store: Store, stage_id: str) -> dict[str, float]:
    """What was written of how a stage was computed; empty where nothing was."""
    name = artefact_name(stage_id, TIMING)
    found: dict[str, float] = json.loads(store.read(name)) if store.exists(name) else {}
    return found


def read_journal(store: Store, stage_id: str) -> list[EpochLog]:
    """The epochs that the stage has done, empty where it never began."""
    name = artefact_name(stage_id, JOURNAL)
    if not store.exists(name):
        return []
    return [EpochLog(**row) for row in json.loads(store.read(name))]


def write_journal(store: Store, stage_id: str, epochs: Sequence[EpochLog]) -> None:
    """Replace the stage's journal of epochs."""
    rows = json.dumps([asdict(log) for log in epochs]).encode()
    store.write(artefact_name(stage_id, JOURNAL), rows)


def read_skipped(store: Store, stage_id: str) -> list[str]:
    """The damaged samples (`SPLIT/KEY`) that a stage's training left out, in order of finding."""
    name = artefact_name(stage_id, SKIPPED)
    if not store.exists(name):
        return []
    return [str(sample) for sample in json.loads(store.read(name))]


def write_skipped(store: Store, stage_id: str, samples: Sequence[str]) -> None:
    """Replace the list of the damaged samples that a stage's training left out."""
    store.write(artefact_name(stage_id, SKIPPED), json.dumps(list(samples)).encode())
