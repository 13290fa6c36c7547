"""Where data lie: a local folder, object storage or a web server, read and written by one class."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import unquote

from camsweep.shards.errors import InputError
from camsweep.shards.places.errors import ChangedFile, LostFile, MissingFile, clear_error
from camsweep.shards.places.fetching import RemoteFile, fetched
from camsweep.shards.places.files import copy_whole, write_whole
from camsweep.shards.places.remote import Remote, connect
from camsweep.shards.places.urls import check_url, redact, split_url, without_query

__all__ = ["ChangedFile", "LostFile", "MissingFile", "Place", "as_place", "redact"]


@dataclass(frozen=True)
class Place:
    """A folder of data; make it with ``as_place``. Cheap, hashable and picklable.

    Connections are opened at first use and never travel to another process.

    Attributes:
        url: an absolute path, or ``s3://``, ``gs://``, ``http(s)://`` with its query
            (``endpoint_override``, ``scheme``, ``region``, ...); never credentials.
    """

    url: str

    @property
    def local(self) -> Path | None:
        """The folder, where it is on this machine's file system, else None."""
        return None if split_url(self.url)[0] else Path(self.url)

    def __str__(self) -> str:
        """What people see: no query."""
        return without_query(self.url)

    def name(self, file: str) -> str:
        """The full name of a file, for people: no query."""
        return f"{str(self).rstrip('/')}/{file}"

    def folder(self, name: str) -> Place:
        """The place of a folder inside this one."""
        address, mark, query = self.url.partition("?") if self.local is None else (self.url, "", "")
        return Place(f"{address.rstrip('/')}/{name}{mark}{query}")

    def exists(self, file: str) -> bool:
        """Whether the file is there."""
        return self.size(file) is not None

    def size(self, file: str) -> int | None:
        """Bytes of the file, None where there is none; one request.

        Raises:
            OSError: it can't be said (no permission, no connection).
        """
        try:
            if self.local is not None:
                return (self.local / file).stat().st_size
            with self._remote(file) as remote:
                return remote.size(file)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def sizes(self) -> dict[str, int] | None:
        """Bytes of every file directly in the folder, asked for at once; {} where it is not there.

        None where the place can't be listed (web servers).

        Raises:
            OSError: it can't be read.
        """
        if self.local is None:
            with self._remote("") as remote:
                return remote.sizes()
        try:
            files = [path for path in self.local.iterdir() if path.is_file()]
        except FileNotFoundError:
            return {}
        return {path.name: path.stat().st_size for path in files}

    def read(self, file: str, *, checked: bool = False) -> bytes:
        """The whole of a small file.

        Args:
            file: its name.
            checked: the caller compares the content with a digest, so that a request is saved
                which makes sure that a file which is being replaced is not read in part.

        Raises:
            FileNotFoundError: it is not there.
            OSError: it can't be read; ``strerror`` says why, ``filename`` is ``name(file)``.
        """
        if self.local is not None:
            return (self.local / file).read_bytes()
        with self._remote(file) as remote:
            return remote.read(file, checked=checked)

    def write(self, file: str, data: bytes) -> None:
        """Write a file whole or not at all; a local folder is made where it is missing.

        Raises:
            InputError: a web server, which is read-only.
            OSError: no room, no permission, no connection.
        """
        self.require_writable()
        if self.local is not None:
            write_whole(self.local / file, data)
            return
        with self._remote(file) as remote:
            remote.write(file, data)

    def upload(self, path: Path, file: str) -> None:
        """Copy the local file ``path`` to ``file``, whole or not at all, in little memory.

        Raises:
            InputError: a web server, which is read-only.
            OSError: as by ``write``, or ``path`` can't be read.
        """
        self.require_writable()
        if self.local is not None:
            copy_whole(path, self.local / file)
        elif path.stat().st_size == 0:  # cannot be mapped
            self.write(file, b"")
        else:
            with (
                path.open("rb") as stream,
                mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content,
                self._remote(file) as remote,
            ):
                remote.write(file, content)

    def fetch(self, file: str, bytes: int, sha256: str, *, check: bool = False) -> Path:
        """A local path of a whole file: itself, or its copy in the node's cache.

        A local file's size is checked, a download's SHA-256, too. See ``fetching.fetched`` for how
        long a copy stays.

        Args:
            file: the file's name.
            bytes: its size, as the manifest says.
            sha256: of its content, hex.
            check: compare a remote file's copy with ``sha256`` again, and replace it if it differs.

        Raises:
            LostFile: not there (``MissingFile``), not the content that the manifest says
                (``ChangedFile``), or the cache's disk is full.
            InputError: it cannot be read now: no connection, no permission, an error of the
                server or of the cache. All lines name the file.
        """
        name = self.name(file)
        try:
            if self.local is None:
                chunks, stamp = partial(self._chunks, file), partial(self._stamp, file)
                return fetched(RemoteFile(name, bytes, sha256, chunks, stamp), check=check)
            path = self.local / file
            size = path.stat().st_size
        except OSError as error:
            kind = MissingFile if isinstance(error, FileNotFoundError) else InputError
            raise kind(f"{name}: cannot be read ({error.strerror or error})") from None
        if size != bytes:
            raise LostFile(f"{name}: {size} bytes, its manifest says {bytes}; build the data again")
        return path

    def require_writable(self) -> None:
        """Check that the place is of a kind that can be written.

        Raises:
            InputError: a web server.
        """
        if split_url(self.url)[0] in ("http", "https"):
            raise InputError(f"{self}: is read-only; name a folder, s3://BUCKET/... or gs://...")

    def _chunks(self, file: str) -> Iterator[bytes]:
        with self._remote(file) as remote:
            yield from remote.chunks(file)

    def _stamp(self, file: str) -> str:
        with self._remote(file) as remote:
            return remote.stamp(file)

    @contextmanager
    def _remote(self, file: str) -> Iterator[Remote]:
        """The connection; whatever it raises comes out as a short OSError that names ``file``."""
        name = self.name(file) if file else str(self)
        try:
            yield connect(self.url)
        except (InputError, AssertionError, AttributeError, LookupError, TypeError):
            raise  # ours
        except Exception as error:
            # pyarrow raises its own errors for a wrong query, aiohttp its own for the network.
            raise clear_error(error, name) from None


def as_place(value: Place | Path | str) -> Place:
    """A place from what a user wrote: a path (made absolute), or a URL.

    Raises:
        InputError: empty, an unknown scheme, or credentials in the URL.
    """
    if isinstance(value, Place):
        return value
    text = str(value)
    if not text.strip():
        raise InputError("empty name of a data folder; name a folder or s3://BUCKET/...")
    scheme = "" if isinstance(value, Path) else check_url(text)
    if scheme == "file":
        text, scheme = unquote(split_url(text)[1]), ""
    if not scheme:
        try:
            return Place(str(Path(text).expanduser().absolute()))
        except RuntimeError as error:
            raise InputError(f"{text}: {error}") from None  # ~NAME without such a user
    address, mark, query = text.partition("?")
    return Place(f"{scheme}://{split_url(address)[1].rstrip('/')}{mark}{query}")
