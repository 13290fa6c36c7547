"""What a URL may be: known schemes, never credentials; and how people get to see one."""

from __future__ import annotations

import os
import re
from urllib.parse import parse_qsl, unquote

from camsweep.shards.errors import InputError, nearest

SCHEMES = ("file", "gs", "http", "https", "s3")

HIDDEN = "..."

# Names whose value is a secret: of settings anywhere, and more of them in a URL's query.
_SECRET_NAME = re.compile(
    r"(?i)(x[_-](amz|goog)[_-].*|aws_.*(key|token).*|awsaccesskeyid|googleaccessid"
    r"|.*(secret|password|passwd|credential|signature).*|(.*[_-])?(token|api[_-]?key)"
    r"|(.*[_-])?access[_-]?key.*)"
)
_SECRET_IN_QUERY = re.compile(r"(?i)(key|sig|sign|sas|auth|pwd)")
_SECRET_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
)
_URL = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*)://([^\s'\"<>`]*)")
_SETTING = re.compile(r"(?i)([a-z][a-z0-9_-]*)(\s*[=:]\s*)([^\s'\"&,;]+)")


def split_url(url: str) -> tuple[str, str, str]:
    """Scheme, rest and query of a URL; the scheme is "" for a plain path, which has no query."""
    scheme, mark, rest = url.partition("://")
    if not mark or "/" in scheme:
        return "", url, ""
    rest, _, query = rest.partition("?")
    return scheme.lower(), rest, query


def check_url(url: str) -> str:
    """The scheme of ``url``, "" for a plain path, after a check that it can be used.

    Raises:
        InputError: an unknown scheme, no host or bucket, a ``#``, or credentials in it. The line
            shows none of them.
    """
    scheme, rest, query = split_url(url)
    if not scheme:
        return ""
    shown = without_query(url)
    if scheme not in SCHEMES:
        raise InputError(f"{shown}: unknown scheme '{scheme}'{nearest(scheme, SCHEMES)}")
    if _holds_credentials(scheme, rest, query):
        raise InputError(
            f"{shown}: credentials in the URL ('@', a ':' in a bucket's name or a secret in the "
            "query); credentials belong in the environment "
            "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, GOOGLE_APPLICATION_CREDENTIALS, ~/.netrc)"
        )
    if scheme != "file" and not rest.partition("/")[0]:
        raise InputError(f"{shown}: names no {'bucket' if scheme in ('s3', 'gs') else 'host'}")
    if "#" in url:
        raise InputError(f"{shown}: '#' is not possible in a URL of data or results")
    return scheme


def without_query(url: str) -> str:
    """What people see of a URL: no user, no password, no query."""
    scheme, rest, _ = split_url(url)
    if not scheme:
        return url
    if scheme == "file":
        host, mark, path = rest.partition("/")
        return f"{scheme}://{host.rpartition('@')[2]}{mark}{path}"
    rest = rest.rpartition("@")[2]
    # What looks like a port may be a password with a slash or a question mark in it.
    _, colon, port = unquote(rest.partition("/")[0]).rpartition(":")
    if "@" in unquote(rest) or (colon and (scheme in ("s3", "gs") or not port.isdecimal())):
        rest = HIDDEN
    return f"{scheme}://{rest}"


def redact(text: str) -> str:
    """Any text (a command line, an error) fit for a log, a result or a report.

    Loses users and passwords in URLs, the queries of URLs that hold credentials, values of settings
    whose name says that they are secret (``secret_key=...``), and the values of the ``AWS_...``
    variables of this process, wherever they stand.
    """
    for variable in _SECRET_VARIABLES:
        value = os.environ.get(variable, "")
        if len(value) >= 8:  # a shorter one would be found inside ordinary words
            text = text.replace(value, HIDDEN)
    return _SETTING.sub(_hide_setting, _URL.sub(_hide_url, text))


def _holds_credentials(scheme: str, rest: str, query: str) -> bool:
    settings = parse_qsl(query, keep_blank_values=True)
    if any(
        _SECRET_NAME.fullmatch(name) or _SECRET_IN_QUERY.fullmatch(name) for name, _ in settings
    ):
        return True
    # A password may hold a slash or a question mark, so an "@" means a user wherever it stands.
    rest = unquote(rest.partition("/")[0] if scheme == "file" else rest)
    # Google's public buckets are named so: pyarrow's way to say "without credentials".
    if scheme == "gs":
        rest = rest.removeprefix("anonymous@")
    if scheme in ("s3", "gs") and ":" in rest.partition("/")[0]:
        return True
    return "@" in rest or "@" in unquote(unquote(query))


def _hide_url(match: re.Match[str]) -> str:
    url = match.group(0)
    scheme, rest, query = split_url(url)
    if not _holds_credentials(scheme, rest, query):
        return url  # with its endpoint, so that a recorded command can be run again
    return without_query(url) + (f"?{HIDDEN}" if query else "")


def _hide_setting(match: re.Match[str]) -> str:
    name, sign, _ = match.groups()
    return f"{name}{sign}{HIDDEN}" if _SECRET_NAME.fullmatch(name) else match.group(0)
