"""Where results live: a folder on a disk, NFS, S3 or GCS, written one whole file at a time."""

from __future__ import annotations

import errno
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from camsweep.shards.errors import InputError
from camsweep.shards.places import as_place
from camsweep.shards.places.errors import clear_error
from camsweep.shards.places.remote import filesystem, read_whole
from camsweep.sweeps.arrowfiles import table_from_bytes, table_to_bytes
from camsweep.sweeps.leasing.filelocks import NoLocks, file_lock
from camsweep.sweeps.leasing.leases import clear_dead, waiting
from camsweep.sweeps.temporary import is_left, remove_leftovers, write_file

TABLES = ("trials", "epochs", "images", "curves")


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

    def inside(self, folder: str) -> Store:
        """The store in the relative folder `folder` of this one; its URL keeps the query."""
        if self.local is not None:
            return Store(str(self.local / folder))
        base, mark, query = self.url.partition("?")
        return Store(f"{base.rstrip('/')}/{folder}{mark}{query}")

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
        names = (info.base_name for info in self._infos(folder))
        return sorted(n for n in names if n.endswith(suffix) and n[0] not in "._")

    def times(self, folder: str) -> dict[str, float]:
        """When each file directly inside `folder` was written, by the server's or disk's clock."""
        files = (info for info in self._infos(folder) if info.type == fs.FileType.File)
        return {info.base_name: info.mtime_ns / 1e9 for info in files}

    def sizes(self, folder: str) -> dict[str, int]:
        """Bytes of each file directly inside `folder`."""
        files = (info for info in self._infos(folder) if info.type == fs.FileType.File)
        return {info.base_name: info.size for info in files}

    def _infos(self, folder: str) -> list[fs.FileInfo]:
        selector = fs.FileSelector(self.path(folder), allow_not_found=True)
        with self._files(folder) as files:
            infos: list[fs.FileInfo] = files.get_file_info(selector)
        return infos

    def read(self, name: str) -> bytes:
        """The bytes of the relative file `name`.

        Raises:
            FileNotFoundError: when it is not there.
        """
        try:
            with self._files(name) as files:
                return read_whole(files, self.path(name))
        except FileNotFoundError:
            raise
        except OSError:
            # An object that is deleted while it is read comes as any of a server's errors.
            if self.local is None and not self.exists(name):
                raise FileNotFoundError(errno.ENOENT, "not there", name) from None
            raise

    def open(self, name: str) -> pa.NativeFile:
        """The relative file `name` for reading at any place; for files that are never replaced.

        Raises:
            FileNotFoundError: when it is not there.
        """
        if self.local is not None:
            # A map stays whole when the file is deleted meanwhile.
            return pa.memory_map(str(self.local / name))
        with self._files(name) as files:
            return files.open_input_file(self.path(name))

    def write(self, name: str, data: bytes) -> None:
        """Write `name` whole or not at all: a temporary file renamed on disks, one PUT on S3.

        Raises:
            OSError: no room or no permission; its `filename` is the file.
        """
        if self.local is not None:
            write_file(self.local / name, data)
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
            with suppress(FileNotFoundError), self._files(name) as files:
                files.delete_dir(self.path(name))

    def read_table(self, name: str) -> pa.Table:
        """The Arrow IPC file `name` as a table.

        Raises:
            InputError: when it is not a whole Arrow file, or a newer camsweep wrote it.
        """
        return self.as_table(self.read(name), name)

    def as_table(self, data: bytes, name: str) -> pa.Table:
        """The table of the bytes of the Arrow IPC file `name`; see `read_table`."""
        return table_from_bytes(data, as_place(self.url).name(name))

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write `table` as an Arrow IPC file (zstd), atomically."""
        self.write(name, table_to_bytes(table))

    @contextmanager
    def lock(
        self, name: str, on_wait: Callable[[], object] | None = None
    ) -> Iterator[Callable[[], None]]:
        """Hold `name` against the other processes of the store, so that work is done once.

        On a disk and NFS it is a file lock, which the operating system releases when its holder
        dies. Where there are none, as on object storage, it is a lease, which another takes over
        then (`sweeps.leasing.leases`).

        Args:
            name: of the work.
            on_wait: called now and then while another process has it.

        Yields:
            What to call before the work's result is published. It raises `leases.LeaseLost` where
            this process was paused for so long that another has taken over, which can't happen
            to a file lock.
        """
        with ExitStack() as stack:
            yield self._take_lock(stack, name, on_wait)

    def _take_lock(
        self, stack: ExitStack, name: str, on_wait: Callable[[], object] | None
    ) -> Callable[[], None]:
        if self.local is not None:
            with suppress(NoLocks):
                stack.enter_context(file_lock(self.local / ".locks" / f"{name}.lock", on_wait))
                return lambda: None
        lease = waiting(self, name, owner="stage", on_wait=on_wait)
        return stack.enter_context(lease).require

    def remove_leftovers(self) -> int:
        """Delete what killed processes left: half-written files, temporary folders, leases.

        For a run's start and end: files and folders of other machines go after a day, leases of
        other machines at the end (`leases.clear_dead`). Object storage shows no half-written
        files, and its folders have no age: those of other machines stay.

        Returns:
            How many there were.

        Raises:
            InputError: a newer camsweep uses the store.
            OSError: it can't be read.
        """
        removed = clear_dead(self)
        if self.local is not None:
            return removed + remove_leftovers(self.local)
        for info in self._infos(""):
            if is_left(info.base_name, time.time):
                self.delete_folder(info.base_name)
                removed += 1
        return removed

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
