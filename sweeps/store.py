"""Where results live: a folder on a disk, NFS, S3 or GCS, written one whole file at a time."""

from __future__ import annotations

import os
import uuid
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
from filelock import FileLock
from pyarrow import fs

from camsweep.shards.errors import InputError

TABLES = ("trials", "epochs", "images", "curves")
IPC_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")


@dataclass(frozen=True)
class Store:
    """A store by its URL. Cheap to make and to pickle: connections are opened on first use.

    Attributes:
        url: a local path, or ``s3://bucket/prefix``, ``gs://…`` as `pyarrow.fs` understands it.
    """

    url: str

    @cached_property
    def _where(self) -> tuple[fs.FileSystem, str]:
        scheme, mark, rest = self.url.partition("://")
        if not (rest if mark else scheme).strip("/ "):
            raise InputError(f"--store '{self.url}': empty; name a folder or s3://BUCKET/…")
        if not mark:
            return fs.LocalFileSystem(), str(Path(self.url).absolute())
        try:
            return fs.FileSystem.from_uri(self.url)
        except (pa.ArrowException, OSError) as error:
            raise InputError(
                f"--store {self.url}: {str(error).splitlines()[0]}; "
                "name a folder, s3://BUCKET/… or gs://BUCKET/…"
            ) from error

    def __getstate__(self) -> dict[str, str]:
        # A worker has another working directory, where a relative path would be another store.
        return {"url": str(self.local or self.url)}

    @property
    def local(self) -> Path | None:
        """The folder, where the store is on this machine's file system, else None."""
        filesystem, path = self._where
        return Path(path) if isinstance(filesystem, fs.LocalFileSystem) else None

    def path(self, name: str) -> str:
        """The full path of the relative file `name` inside the store's file system."""
        return f"{self._where[1]}/{name}"

    def exists(self, name: str) -> bool:
        """Whether the relative file `name` is in the store."""
        info = self._where[0].get_file_info(self.path(name))
        return info.type != fs.FileType.NotFound

    def names(self, folder: str, suffix: str = "") -> list[str]:
        """The sorted file names directly inside `folder`, without hidden and temporary ones."""
        selector = fs.FileSelector(self.path(folder), allow_not_found=True)
        infos = self._where[0].get_file_info(selector)
        names = (info.base_name for info in infos)
        return sorted(n for n in names if n.endswith(suffix) and n[0] not in "._")

    def read(self, name: str) -> bytes:
        """The bytes of the relative file `name`.

        Raises:
            FileNotFoundError: when it is not there.
        """
        with self._where[0].open_input_stream(self.path(name)) as stream:
            return stream.read()

    def write(self, name: str, data: bytes) -> None:
        """Write `name` whole or not at all: a temporary file renamed on disks, one PUT on S3.

        Raises:
            OSError: no room or no permission; its `filename` is the file.
        """
        filesystem, _ = self._where
        target = self.path(name)
        if self.local is None:
            filesystem.create_dir(target.rpartition("/")[0], recursive=True)
            with filesystem.open_output_stream(target) as stream:
                stream.write(data)
        else:
            write_whole(Path(target), data)

    def delete(self, name: str) -> None:
        """Remove the relative file `name` if it is there."""
        if self.exists(name):
            self._where[0].delete_file(self.path(name))

    def delete_folder(self, name: str) -> None:
        """Remove the relative folder `name` and all in it if it is there."""
        if self.exists(name):
            self._where[0].delete_dir(self.path(name))

    def read_table(self, name: str) -> pa.Table:
        """The Arrow IPC file `name` as a table.

        Raises:
            InputError: when it is not a whole Arrow file.
        """
        try:
            return pa.ipc.open_file(pa.BufferReader(self.read(name))).read_all()
        except pa.ArrowInvalid as error:
            raise InputError(
                f"{self.path(name)}: not a whole Arrow file ({error}); delete it and run again"
            ) from error

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write `table` as an Arrow IPC file (zstd), atomically."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema, options=IPC_OPTIONS) as writer:
            writer.write_table(table)
        self.write(name, sink.getvalue().to_pybytes())

    def lock(self, name: str) -> AbstractContextManager[object]:
        """Hold `name` against the other processes of the store, so that work is done once.

        The lock is released by the operating system when its holder dies. Object storage has no
        locks: there two workers may compute the same artefact, and the later write wins with the
        same content.
        """
        if self.local is None:
            return nullcontext()
        folder = self.local / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{name}.lock")

    def require(self) -> None:
        """Check that the store exists.

        Raises:
            InputError: when there is no store at the URL.
        """
        if not any(self.exists(table) for table in (*TABLES, "runs")):
            raise InputError(
                f"--store {self.url}: no results there; name the folder given to `camsweep run`"
            )

    def require_writable(self) -> None:
        """Check before anything starts that results can be written.

        Raises:
            InputError: when they can't.
        """
        probe = f".probe-{uuid.uuid4().hex}"
        try:
            self.write(probe, b"camsweep")
            self.delete(probe)
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(
                f"--store {self.url}: not writable ({reason}); name a folder you may write to"
            ) from error


def write_whole(path: Path, data: bytes) -> None:
    """Write a local file whole or not at all, its folder made where it is missing.

    Raises:
        OSError: no room or no permission; its `filename` is the file.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    except OSError as error:
        # A full disk shows while writing or at fsync, where the error carries no name.
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
