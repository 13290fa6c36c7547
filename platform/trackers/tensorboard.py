"""TensorBoard: one folder of event files a trial."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from camsweep.platform.trackers.facts import Ended, TrialFacts
from camsweep.shards.errors import InputError

#: Between two looks that somebody may take at a running trial.
FLUSH_SECONDS = 5.0


def run_folder(trial: TrialFacts) -> str:
    """`cpn/table4/p_h=0.3 seed 0 1a2b3c4d`: a name that sorts well and belongs to one trial."""
    parts = [*trial.sweep.split("/"), trial.name]
    clean = [re.sub(r"[^\w .,=+()@-]", "_", part)[:100].strip(" .") for part in parts]
    return f"{'/'.join(part for part in clean if part)} {trial.id[:8]}"


class _Events:
    """One file of events, written in the caller's thread, so that an error comes to the caller.

    (`tensorboardX.SummaryWriter` has a thread that dies of a full disk and blocks ever after.)
    """

    def __init__(self, folder: Path) -> None:
        from tensorboardX import RecordWriter
        from tensorboardX.proto.event_pb2 import Event

        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}"
        self._event = Event
        self._writer: Any = RecordWriter(str(folder / name))
        self._flushed = 0.0
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def add(self, summaries: Iterable[Any], step: int) -> None:
        """Append `Summary` messages at a step."""
        for summary in summaries:
            self._write(self._event(wall_time=time.time(), step=step, summary=summary))
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flushed = time.monotonic()
            self._writer.flush()

    def close(self) -> None:
        """Write everything out."""
        self._writer.close()

    def _write(self, event: Any) -> None:
        self._writer.write(event.SerializeToString())


class Backend:
    """Writes to a folder of this machine.

    Args:
        where: the folder.

    Raises:
        InputError: the folder can't be made.
    """

    name = "tensorboard"

    def __init__(self, where: str) -> None:
        from tensorboardX import summary

        self._summary: Any = summary
        self._folder = Path(where).absolute()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"track tensorboard: {where}: {error.strerror}") from error
        self._files: dict[str, _Events] = {}

    def begin(self, trial: TrialFacts) -> None:
        """Open a file in the trial's folder; those of earlier attempts stay beside it."""
        self._files[trial.id] = _Events(self._folder / run_folder(trial))

    def epoch(self, trial: TrialFacts, epoch: int, values: Mapping[str, float]) -> None:
        """A scalar a value, at the epoch."""
        self._scalars(trial, epoch, values)

    def end(self, trial: TrialFacts, ended: Ended) -> None:
        """The final numbers as scalars and as hyperparameter metrics beside the settings."""
        last = max(ended.epochs, default=0)
        self._scalars(trial, last, ended.metrics)
        settings = {"method": trial.method, "seed": str(trial.seed), **trial.settings()}
        about = {"status": ended.status, "cause": ended.cause, **ended.about, "trial": trial.id}
        words = [self._summary.text(name, text) for name, text in about.items() if text]
        file = self._files.pop(trial.id)
        try:
            file.add([*self._summary.hparams(settings, dict(ended.metrics)), *words], last)
        finally:
            file.close()

    def close(self) -> None:
        """Write out what interrupted trials have."""
        while self._files:
            self._files.popitem()[1].close()

    def _scalars(self, trial: TrialFacts, step: int, values: Mapping[str, float]) -> None:
        scalars = [self._summary.scalar(name, value) for name, value in values.items()]
        self._files[trial.id].add(scalars, step)
