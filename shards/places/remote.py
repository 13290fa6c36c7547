"""Connections to object storage (pyarrow.fs) and web servers (fsspec), one a process and URL."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlencode

from camsweep.shards.places.urls import split_url

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

CHUNK = 16 * 2**20
# pyarrow tries Google's storage for a quarter of an hour before it says that there is none.
GCS_RETRY_SECONDS = "30"
DEFAULT_REGION = "us-east-1"
READS, SAME_READS, TRIES = 3, 15, 100
_MD5 = re.compile(r"[0-9a-f]{32}")


class Remote(Protocol):
    """What a place needs of a remote folder. ``file`` is relative; all raise OSError."""

    def size(self, file: str) -> int:
        """Bytes of a file; FileNotFoundError where there is none."""

    def sizes(self) -> dict[str, int] | None:
        """The files directly in the folder; None where the place can't tell."""

    def stamp(self, file: str) -> str:
        """What changes when the file is replaced; one request."""

    def read(self, file: str, *, checked: bool) -> bytes:
        """The whole file; with ``checked``, perhaps a part of one that is being replaced."""

    def chunks(self, file: str) -> Iterator[bytes]:
        """The whole file in pieces of some MB."""

    def write(self, file: str, data: Any) -> None:
        """Write a file whole; ``data`` has the buffer protocol."""


_open: dict[tuple[int, str], Remote] = {}
_tagged: set[str] = set()  # buckets whose tags have been seen to be MD5s


def connect(url: str) -> Remote:
    """The connection to a remote folder, opened once a process.

    A connection belongs to the process that opened it: neither pyarrow's nor fsspec's threads
    live on in a forked child, so a child opens its own.
    """
    key = (os.getpid(), url)
    if key not in _open:
        scheme = split_url(url)[0]
        _open[key] = _Web(url) if scheme in ("http", "https") else _Bucket(url)
    return _open[key]


def arrow_url(url: str) -> str:
    """A URL of S3 or Google storage as pyarrow wants it, with what the environment adds.

    Without a region in the URL pyarrow would ask Amazon for the bucket's, even where another
    server holds it.
    """
    scheme, rest, query = split_url(url)
    names = {part.partition("=")[0] for part in query.split("&")}
    more: dict[str, str] = {}
    if scheme == "gs" and "retry_limit_seconds" not in names:
        more["retry_limit_seconds"] = GCS_RETRY_SECONDS
    if scheme == "s3":
        if "allow_delayed_open" not in names:
            more["allow_delayed_open"] = "true"  # a small file is one request in place of three
        environment = os.environ.get
        endpoint = environment("AWS_ENDPOINT_URL_S3") or environment("AWS_ENDPOINT_URL")
        if endpoint and "endpoint_override" not in names:
            more["endpoint_override"] = endpoint
        region = environment("AWS_REGION") or environment("AWS_DEFAULT_REGION")
        if "region" not in names and (region or endpoint or "endpoint_override" in names):
            more["region"] = region or DEFAULT_REGION
    query = "&".join(part for part in (query, urlencode(more)) if part)
    return f"{scheme}://{rest}" + (f"?{query}" if query else "")


def filesystem(url: str) -> tuple[FileSystem, str]:
    """The file system of a URL of S3 or Google storage, and the path in it."""
    remote = connect(url)
    assert isinstance(remote, _Bucket)
    return remote.files, remote.prefix


def read_whole(files: FileSystem, path: str, *, checked: bool = False) -> bytes:
    """The content of a file, never a part of it, also while another process replaces it.

    Args:
        files: where the file is.
        path: its name there.
        checked: the caller compares the content with a digest, so that a part is never taken for
            the whole, and a request may be saved.

    Raises:
        FileNotFoundError: it is not there.
    """
    if files.type_name == "gcs":  # one request, whatever happens meanwhile
        with files.open_input_stream(path) as stream:
            data: bytes = stream.read()
        return data
    # One request asks for the size and one for that many bytes: where the file was replaced in
    # between, the bytes are a piece of the new one. The server's tag is the MD5 of what was written
    # in one piece (and not encrypted with a key of one's own), which tells.
    bucket, same = path.partition("/")[0], 0
    before: tuple[bytes, str] | None = None
    for tries in range(TRIES):
        data, facts, digest = _read_once(files, path)
        if checked:
            return data
        if not digest:
            break
        if digest == hashlib.md5(data, usedforsecurity=False).hexdigest():
            _tagged.add(bucket)
            return data
        # A tag that only looks like an MD5 (encrypted with a key of one's own): what comes again
        # and again is the file, sooner where no tag has been an MD5 yet.
        same = same + 1 if (data, facts) == before else 1
        if same == (SAME_READS if bucket in _tagged else READS):
            return data
        before = data, facts
        time.sleep(min(0.2, 0.01 * tries))
    else:
        raise OSError(errno.EIO, "is replaced all the time while it is read", path)
    # Else the file is looked at before and after.
    while _facts(files, path) != facts:
        data, facts, _ = _read_once(files, path)
    return data


def _read_once(files: FileSystem, path: str) -> tuple[bytes, str, str]:
    """What a file says it holds: the bytes, how the server describes it, its MD5 or ""."""
    while True:
        with files.open_input_file(path) as stream:
            size, tag = stream.size(), stream.metadata().get("ETag", b"")
            data = stream.read_at(size, 0)
        if len(data) == size:
            tag = tag.decode().strip('"')
            return data, f"{size} {tag}", tag if _MD5.fullmatch(tag) else ""


def _facts(files: FileSystem, path: str) -> str:
    with files.open_input_file(path) as stream:
        tag: str = stream.metadata().get("ETag", b"").decode().strip('"')
        return f"{stream.size()} {tag}"


class _Bucket:
    """A folder of S3 or Google storage."""

    def __init__(self, url: str) -> None:
        from pyarrow import fs

        self.files, path = fs.FileSystem.from_uri(arrow_url(url))
        self.prefix = path.rstrip("/")

    def _path(self, file: str) -> str:
        return f"{self.prefix}/{file}"

    def size(self, file: str) -> int:
        info = self.files.get_file_info(self._path(file))
        if not info.is_file:
            raise FileNotFoundError(file)
        return int(info.size)

    def sizes(self) -> dict[str, int]:
        from pyarrow import fs

        selector = fs.FileSelector(self.prefix, allow_not_found=True)
        infos = self.files.get_file_info(selector)
        return {info.base_name: info.size for info in infos if info.type == fs.FileType.File}

    def stamp(self, file: str) -> str:
        if self.files.type_name == "s3":  # its times are whole seconds
            return _facts(self.files, self._path(file))
        info = self.files.get_file_info(self._path(file))
        return f"{info.size} {info.mtime_ns}"

    def read(self, file: str, *, checked: bool) -> bytes:
        return read_whole(self.files, self._path(file), checked=checked)

    def chunks(self, file: str) -> Iterator[bytes]:
        with self.files.open_input_stream(self._path(file)) as stream:
            while piece := stream.read(CHUNK):
                yield piece

    def write(self, file: str, data: Any) -> None:
        # One call of `write`: a stream that is closed after half of the content, as `with` does on
        # Ctrl-C, would publish that half.
        with self.files.open_output_stream(self._path(file)) as stream:
            stream.write(data)


class _Web:
    """A folder of a web server: can be read, not listed. Proxies and ~/.netrc are respected."""

    def __init__(self, url: str) -> None:
        import aiohttp
        import fsspec

        scheme, rest, query = split_url(url)
        self._base = f"{scheme}://{rest.rstrip('/')}"
        self._query = f"?{query}" if query else ""
        # By default a whole request has 5 minutes, too few for some shards; a stall is the error.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)
        self._files = fsspec.filesystem(
            scheme,
            skip_instance_cache=True,
            client_kwargs={"trust_env": True, "timeout": timeout},
        )

    def _url(self, file: str) -> str:
        return f"{self._base}/{quote(file)}{self._query}"

    def size(self, file: str) -> int:
        size = self._files.info(self._url(file))["size"]
        return len(self.read(file, checked=True)) if size is None else int(size)

    def sizes(self) -> None:
        return None

    def stamp(self, file: str) -> str:
        info = self._files.info(self._url(file))
        return " ".join(str(info.get(name)) for name in ("size", "ETag", "Last-Modified"))

    def read(self, file: str, *, checked: bool) -> bytes:
        data: bytes = self._files.cat_file(self._url(file))
        return data

    def chunks(self, file: str) -> Iterator[bytes]:
        with self._files.open(self._url(file), "rb", block_size=0) as stream:
            while piece := stream.read(CHUNK):
                yield piece

    def write(self, file: str, data: Any) -> None:
        raise PermissionError(errno.EROFS, "is read-only", self._url(file))
