"""The running camsweep as a wheel, so that every node of a cluster computes with the same code.

Ray installs a wheel of its runtime environment with `pip install --target` on each node, and knows
it by its file's name. Both matter here: a wheel that lists its dependencies would have each node
fetch torch again, so this one lists none (nodes bring them); and two states of the sources must not
share a name, so the version ends in the digest of the files. It takes no build tool and no network.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import io
import os
import shutil
import tomllib
import uuid
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from camsweep.shards.errors import InputError
from camsweep.shards.places.cache import cache_folder

NAME = "camsweep"
#: Wheels that stay in the cache folder; the others go, the oldest first.
KEEP = 8
_TAG = "py3-none-any"
_DATE = (1980, 1, 1, 0, 0, 0)


def runtime_env(address: str | None) -> dict[str, Any]:
    """What `ray.init(runtime_env=...)` is to hand to the workers.

    Args:
        address: of a cluster; None for a Ray on this machine, whose workers share these files.

    Raises:
        InputError: the code cannot be packed.
    """
    return {} if address is None else {"py_modules": [str(wheel())]}


def wheel() -> Path:
    """A wheel of the camsweep that runs, without dependencies; packed once for each state of it.

    Returns:
        The file, in the folder `wheels` of the cache folder.

    Raises:
        InputError: neither the sources nor the installed files can be found, or nothing can be
            written to the cache folder.
    """
    root = Path(__file__).resolve().parent.parent
    version, files = _checkout(root) if (root / "pyproject.toml").is_file() else _installed(root)
    digest = _digest(files)
    # Packed again where it already comes from such a wheel: its version names a digest by itself.
    version = f"{version.partition('+')[0]}+{digest[:16]}"
    folder = cache_folder() / "wheels" / digest[:16]
    path = folder / f"{NAME}-{version}-{_TAG}.whl"
    if not path.is_file():
        try:
            _write(path, _packed(version, files))
            _tidy(folder.parent)
        except OSError as error:
            raise InputError(
                f"{path}: the code for the cluster cannot be written there ({error.strerror}); "
                "set CAMSWEEP_CACHE to a folder that can be"
            ) from error
    return path


def _checkout(root: Path) -> tuple[str, dict[str, bytes]]:
    """Version and files by name in the wheel, as the checkout's pyproject.toml lists them."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    tool = project["tool"]["setuptools"]
    files: dict[str, bytes] = {}
    for package in tool["packages"]:
        folder = root.joinpath(*package.split(".")[1:])
        if not folder.is_dir():
            raise InputError(
                f"{root / 'pyproject.toml'}: tool.setuptools.packages: {package} has no folder "
                f"{folder}; list what is there"
            )
        patterns = ["*.py", *_patterns(tool.get("package-data", {}), package)]
        for path in sorted(folder.iterdir()):
            if path.is_file() and any(fnmatch.fnmatchcase(path.name, p) for p in patterns):
                files[f"{package.replace('.', '/')}/{path.name}"] = path.read_bytes()
    return str(project["project"]["version"]), files


def _patterns(data: Mapping[str, list[str]], package: str) -> list[str]:
    return [*data.get("*", ()), *data.get(package, ())]


def _installed(root: Path) -> tuple[str, dict[str, bytes]]:
    """Version and files by name in the wheel, as the installation's RECORD lists them."""
    try:
        found = metadata.distribution(NAME)
        listed = found.files
    except metadata.PackageNotFoundError:
        listed = None
    if not listed or Path(str(found.locate_file(NAME))).resolve() != root:
        raise InputError(
            f"{root}: no list of camsweep's installed files (RECORD), so its code cannot be sent "
            "to a cluster; install camsweep with pip, or run it from a checkout"
        )
    files = {}
    for name in listed:
        path = Path(str(name.locate()))
        if name.parts[0] == NAME and name.suffix != ".pyc" and path.is_file():
            files[name.as_posix()] = path.read_bytes()
    return found.version, files


def _digest(files: Mapping[str, bytes]) -> str:
    total = hashlib.sha256()
    for name in sorted(files):
        total.update(f"{name}\0{hashlib.sha256(files[name]).hexdigest()}\n".encode())
    return total.hexdigest()


def _packed(version: str, files: Mapping[str, bytes]) -> bytes:
    """The bytes of a wheel (PEP 427); the same files give the same bytes."""
    info = f"{NAME}-{version}.dist-info"
    content = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": (
            f"Wheel-Version: 1.0\nGenerator: {NAME}\nRoot-Is-Purelib: true\nTag: {_TAG}\n".encode()
        ),
    }
    record = f"{info}/RECORD"
    lines = [f"{name},{_checksum(content[name])},{len(content[name])}" for name in sorted(content)]
    content[record] = "".join(f"{line}\n" for line in [*lines, f"{record},,"]).encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(content):
            entry = zipfile.ZipInfo(name, _DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content[name])
    return packed.getvalue()


def _checksum(data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest())
    return f"sha256={digest.rstrip(b'=').decode()}"


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _tidy(folder: Path) -> None:
    """Delete all but the newest wheels."""
    with suppress(OSError):  # another process tidies at the same time
        for old in sorted(folder.iterdir(), key=os.path.getmtime, reverse=True)[KEEP:]:
            shutil.rmtree(old, ignore_errors=True)
