"""What a build has finished so far, kept beside its target until all of it is there."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from camsweep.shards.manifest import ShardEntry
from camsweep.shards.places import Place
from camsweep.shards.places.cache import cache_folder
from camsweep.shards.places.files import write_whole


class Finished(BaseModel):
    """The JSON of a finished shard; written last, so it means that the shard is whole.

    Attributes:
        stamp: of the task that made it; another stamp means that it must be made anew.
        entry: what the manifest will say of it.
        uploaded: whether it lies at the target already, not here.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stamp: str
    entry: ShardEntry
    uploaded: bool


@dataclass(frozen=True)
class Staging:
    """A build's working folder: whole shards in ``data``, facts of each in ``done``."""

    folder: Path

    @property
    def data(self) -> Path:
        """Whole shards; at the end also indexes and manifest, and then it becomes the target."""
        return self.folder / "data"

    @property
    def partial(self) -> Path:
        """Shards being written; what killed builds left there goes when the next one begins."""
        return self.folder / "partial"

    def open(self) -> None:
        """Make the folders, without what an earlier build left half-written."""
        shutil.rmtree(self.partial, ignore_errors=True)
        for folder in (self.data, self.partial, self.folder / "done"):
            folder.mkdir(parents=True, exist_ok=True)

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def keep(self, finished: Finished, rows: Any) -> None:
        """Record a finished shard and its rows of the index (a ``pyarrow.Table``)."""
        from camsweep.shards.index import encode

        base = self.folder / "done" / finished.entry.file
        write_whole(base.with_suffix(".arrow"), encode([rows]))
        write_whole(base.with_suffix(".json"), finished.model_dump_json().encode())

    def holds(self, file: str, stamp: str, uploaded: dict[str, int]) -> bool:
        """Whether an earlier build has finished this shard for an equal task.

        Args:
            file: the shard's name.
            stamp: of the task; empty = cannot be told, so nothing is equal.
            uploaded: sizes of the files at the target.
        """
        try:
            finished = self.finished(file)
            size = uploaded.get(file) if finished.uploaded else (self.data / file).stat().st_size
        except (OSError, ValidationError):
            return False
        return bool(stamp) and finished.stamp == stamp and size == finished.entry.bytes

    def finished(self, file: str) -> Finished:
        """What is recorded of a finished shard."""
        path = (self.folder / "done" / file).with_suffix(".json")
        return Finished.model_validate_json(path.read_bytes())

    def rows(self, file: str) -> Any:
        """A finished shard's rows of the index."""
        import pyarrow as pa

        content = (self.folder / "done" / file).with_suffix(".arrow").read_bytes()
        return pa.ipc.open_file(pa.BufferReader(content)).read_all()

    def keep_only(self, files: Sequence[str]) -> None:
        """Remove the shards of an earlier build that this one has no use for."""
        stems = {Path(file).stem for file in files}
        for folder in (self.data, self.folder / "done"):
            for path in folder.iterdir():
                if path.stem not in stems:
                    path.unlink()

    def holds_any(self) -> bool:
        """Whether a later build can go on with something."""
        return any((self.folder / "done").glob("*.json"))


@contextmanager
def staging_for(place: Place) -> Iterator[Staging]:
    """The working folder of a target, for one build at a time; others wait here.

    A local target's lies beside it, so that it can become the target by a rename. A remote one's
    lies in the node's cache folder.

    Raises:
        OSError: it cannot be made.
    """
    if place.local is not None:
        target = place.local.resolve()  # beside the folder itself, not beside a link to it
        folder = target.with_name(f".{target.name}.building")
    else:
        name = hashlib.sha256(place.url.encode()).hexdigest()[:16]
        folder = cache_folder() / "building" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f"{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logging.getLogger(__name__).warning("%s: another build writes it; waiting", place)
        lock.acquire()
    try:
        yield Staging(folder)
    finally:
        # Nothing stays beside the target. Whoever waits sees that its file is gone and makes anew.
        if not folder.exists():
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()
