"""Where results live: a folder on a disk, NFS, S3 or GCS, written one whole file at a time."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from filelock import FileLock
from pyarrow import fs

from camsweep.shards.errors import InputError
from camsweep.shards.places import as_place
from camsweep.shards.places.cache import cache_folder
from camsweep.shards.places.errors import clear_error
from camsweep.shards.places.files import write_whole
from camsweep.shards.places.remote import filesystem, read_whole

TABLES = ("trials", "epochs", "images", "curves")
IPC_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")


@dataclass(frozen=True)
class Store:
    """A store by its URL. Cheap to make and to pickle: connections are opened on first use.

    Attributes:
        url: a local path, or ``s3://bucket/prefix``, ``gs://...`` with its query
            (``endpoint_override``, ``region``, ...); never credentials.

    Raises:
        InputError: empty, no such scheme, a web server, or credentials in the URL.
    """

    url: str

    def __post_init__(self) -> None:
        if not self.url.partition("://")[2 if "://" in self.url else 0].strip("/ "):
            raise InputError(f"--store '{self.url}': empty; name a folder or s3://BUCKET/...")
        try:
            as_place(self.url).require_writable()
        except InputError as error:
            raise InputError(f"--store {error}") from None

    def __str__(self) -> str:
        """What people see: no query."""
        return str(as_place(self.url)) if "://" in self.url else self.url

    @property
    def _where(self) -> tuple[fs.FileSystem, str]:
        place = as_place(self.url)
        if place.local is not None:
            return fs.LocalFileSystem(), str(place.local)
        try:
            return filesystem(place.url)
        except (pa.ArrowException, OSError) as error:
            reason = clear_error(error, str(self)).strerror
            raise InputError(
                f"--store {self}: {reason}; name a folder, s3://BUCKET/... or gs://BUCKET/..."
            ) from None

    def __getstate__(self) -> dict[str, str]:
        # A worker has another working directory, where a relative path would be another store.
        return {"url": str(self.local or self.url)}

    @property
    def local(self) -> Path | None:
        """The folder, where the store is on this machine's file system, else None."""
        return as_place(self.url).local

    def path(self, name: str) -> str:
        """The full path of the relative file `name` inside the store's file system."""
        return f"{self._where[1]}/{name}"

    def exists(self, name: str) -> bool:
        """Whether the relative file `name` is in the store."""
        with self._files(name) as files:
            info = files.get_file_info(self.path(name))
        return info.type != fs.FileType.NotFound

    def names(self, folder: str, suffix: str = "") -> list[str]:
        """The sorted file names directly inside `folder`, without hidden and temporary ones."""
        selector = fs.FileSelector(self.path(folder), allow_not_found=True)
        with self._files(folder) as files:
            infos = files.get_file_info(selector)
        names = (info.base_name for info in infos)
        return sorted(n for n in names if n.endswith(suffix) and n[0] not in "._")

    def read(self, name: str) -> bytes:
        """The bytes of the relative file `name`.

        Raises:
            FileNotFoundError: when it is not there.
        """
        with self._files(name) as files:
            return read_whole(files, self.path(name))

    def write(self, name: str, data: bytes) -> None:
        """Write `name` whole or not at all: a temporary file renamed on disks, one PUT on S3.

        Raises:
            OSError: no room or no permission; its `filename` is the file.
        """
        if self.local is not None:
            write_whole(self.local / name, data)
            return
        # One call of `write`: closing a stream after half of the data would publish that half.
        with self._files(name) as files, files.open_output_stream(self.path(name)) as stream:
            stream.write(data)

    def delete(self, name: str) -> None:
        """Remove the relative file `name` if it is there."""
        with suppress(FileNotFoundError), self._files(name) as files:
            files.delete_file(self.path(name))

    def delete_folder(self, name: str) -> None:
        """Remove the relative folder `name` and all in it if it is there."""
        if self.exists(name):
            with self._files(name) as files:
                files.delete_dir(self.path(name))

    def read_table(self, name: str) -> pa.Table:
        """The Arrow IPC file `name` as a table.

        Raises:
            InputError: when it is not a whole Arrow file.
        """
        try:
            return pa.ipc.open_file(pa.BufferReader(self.read(name))).read_all()
        except pa.ArrowInvalid as error:
            full = as_place(self.url).name(name)
            raise InputError(
                f"{full}: not a whole Arrow file ({error}); delete it and run again"
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
        locks: there the processes of one node exclude each other, through their cache folder, but
        two nodes may compute the same artefact, and the later write wins with the same content.
        """
        folder, stem = cache_folder() / "locks", hashlib.sha256(self.url.encode()).hexdigest()[:16]
        if self.local is not None:
            folder, stem = self.local / ".locks", ""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            if self.local is None:
                return nullcontext()
            raise
        return FileLock(folder / f"{stem}{name}.lock")

    def require(self) -> None:
        """Check that the store exists.

        Raises:
            InputError: when there is no store at the URL.
        """
        if not any(self.exists(table) for table in (*TABLES, "runs")):
            raise InputError(
                f"--store {self}: no results there; name the folder given to `camsweep run`"
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
                f"--store {self}: not writable ({reason}); name a folder you may write to"
            ) from error

    @contextmanager
    def _files(self, name: str) -> Iterator[fs.FileSystem]:
        """The file system; an error comes out short, as one that names the file."""
        files, _ = self._where
        try:
            yield files
        except OSError as error:
            if self.local is not None:
                raise
            raise clear_error(error, as_place(self.url).name(name)) from None
