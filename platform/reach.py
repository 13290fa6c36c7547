"""Whether a Ray cluster answers at an address: tried in ways that cannot hang.

Ray itself waits two minutes and more where nobody answers, and then ends the process.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from camsweep.shards.errors import InputError

#: Seconds for a TCP connection, and for the cluster's answer.
PORT_SECONDS = 5.0
ANSWER_SECONDS = 20.0
#: What the address of a Ray Client server begins with.
CLIENT = "ray://"


def require_answer(address: str, named: str) -> None:
    """Return if a Ray cluster, or a Ray Client server, may be at the address.

    Args:
        address: `auto`, `HOST:PORT` or `ray://HOST:PORT`; for the last the port alone is tried.
        named: how an error names it.

    Raises:
        InputError: nobody answers, or something else than Ray does.
    """
    if address.startswith(CLIENT):
        host = address.removeprefix(CLIENT).partition("?")[0]
        _require_port(host if ":" in host else f"{host}:10001", named)
        return
    from ray._private import services

    try:
        found = services.canonicalize_bootstrap_address(address)
    except (ConnectionError, ValueError, OSError) as error:
        raise InputError(
            f"{named}: {line(error)}"
            if address != "auto"
            else f"{named}: no Ray cluster runs "
            "on this machine; give HOST:6379 or ray://HOST:10001, or start one (ray start --head)"
        ) from error
    if found is None:
        raise InputError(f"{named}: not a cluster's address; give auto, HOST:6379 or ray://HOST")
    _require_port(found, named)
    # A port may be open and silent, or another service's, and Ray's own attempt cannot be stopped.
    code = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1])"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, found],
            capture_output=True,
            text=True,
            timeout=ANSWER_SECONDS,
            cwd=os.sep,
        )
    except subprocess.TimeoutExpired:
        raise InputError(
            f"{named}: {found} is open, but no Ray cluster answers there (its port is 6379 "
            "where nothing else was chosen)"
        ) from None
    if done.returncode:
        said = ["no Ray cluster answers there"]
        said += [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise InputError(f"{named}: {reason(said[-1])}")


def _require_port(address: str, named: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise InputError(f"{named}: must be auto, HOST:PORT or ray://HOST:PORT")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), PORT_SECONDS):
            pass
    except (OSError, OverflowError) as error:
        why = "no answer" if isinstance(error, TimeoutError) else line(error)
        raise InputError(f"{named}: nothing answers at {host}:{port} ({why})") from error


def reason(said: str) -> str:
    """What Ray said of a cluster that could not be joined, shorter where it is known."""
    if "AuthenticationError" in said or "InvalidAuthToken" in said:
        return (
            "the cluster asks for a token; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH (or "
            "RAY_AUTH_TOKEN) as on its nodes"
        )
    return said


def line(error: BaseException, which: int = 0) -> str:
    """One line of an error's text, the first if not told otherwise, or the error's name."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[which] if lines else type(error).__name__
