"""Why a file of a place cannot be had: by the file's fault or the server's, in clear words."""

from __future__ import annotations

import errno
import re
from pathlib import Path

from camsweep.shards.errors import InputError
from camsweep.shards.places.urls import redact, split_url

NOT_THERE = "not there"

# How pyarrow tells what Amazon's and Google's libraries met: a kind, then words.
_AMAZON = re.compile(r"AWS Error (\w+) during \w+ operation: ?(.*?)(?: ?\(Request ID.*)?$")
_GOOGLE = re.compile(
    r"google::cloud::Status\((\w+): (?:.*last message of )?(.*?)(?: error_info=|$)"
)
_REFUSED = re.compile(
    r"(?i)(access|permission)_?denied|(expired|invalid)_?token|invalid_?access_?key|unauthenticated"
    r"|signature_?does_?not_?match|HTTP status 40[13]\b|OAuth2 access token"
)
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "http": "~/.netrc",
    "https": "~/.netrc",
}


def clear_error(error: Exception, name: str) -> OSError:
    """An error of a connection as one short line without credentials; ``filename`` is the file."""
    status = getattr(error, "status", None)
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        # fsspec says "not found" for whatever a web server answered, and names that as the cause.
        if isinstance(error.__cause__, Exception):
            return clear_error(error.__cause__, name)
        return FileNotFoundError(errno.ENOENT, NOT_THERE, name)
    text = redact(" ".join(str(error).split())) or type(error).__name__
    kind, detail = "", text
    for pattern in (_AMAZON, _GOOGLE):
        found = pattern.search(text)
        if found:
            kind, detail = found.groups()
    if "NO_SUCH_BUCKET" in kind:
        return FileNotFoundError(errno.ENOENT, "no such bucket", name)
    if status in (401, 403) or _REFUSED.search(text):
        told = kind or f"HTTP {status or 403}"
        where = _CREDENTIALS[split_url(name)[0]]
        return PermissionError(errno.EACCES, f"access refused ({told}); check {where}", name)
    if status is not None:
        told = getattr(error, "message", "") or "an error"
        return OSError(errno.EIO, f"the server answered {status}: {told[:120]}", name)
    if kind in ("NETWORK_CONNECTION", "UNAVAILABLE") or isinstance(error, ConnectionError):
        return OSError(errno.EIO, f"no connection ({detail[:120]})", name)
    return OSError(errno.EIO, detail[:200], name)


class LostFile(InputError):  # noqa: N818  (says what there is, as DamagedSample does)
    """A file that is gone or not what was written, or for which this node's disk has no room.

    Its samples are damaged, and asking again soon is of no use. Whatever else keeps a file away
    (connection, credentials, a server's own errors) is a plain InputError: that passes, and says
    nothing about the samples.
    """


class MissingFile(LostFile):
    """A file that is not there; perhaps because its whole folder is not."""


class ChangedFile(LostFile):
    """A remote file whose bytes are others than its manifest says.

    Attributes:
        path: what was downloaded, for whoever can use the part of it that is whole.
    """

    def __init__(self, line: str, path: Path | None = None) -> None:
        super().__init__(line)
        self.path = path
