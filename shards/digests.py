"""SHA-256 of files, remembered across processes so that large data are not hashed at every run."""

from __future__ import annotations

import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from camsweep.shards.errors import InputError
from camsweep.shards.manifest import Manifest, find_split, size_problems
from camsweep.shards.places import Place
from camsweep.shards.places.cache import cache_folder
from camsweep.shards.places.files import locked, write_whole

THREADS = 4  # hashlib lets go of the interpreter's lock, so files are hashed side by side
SETTLED = 0.1  # seconds; a change right after another one may leave all times as they are


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file, read in pieces."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def remembered_sha256(paths: list[Path]) -> list[str]:
    """SHA-256 (hex) of files of one folder, each hashed once for as long as it stays the same.

    What is known lies in ``cache_folder()/digests``, one small JSON a folder. A file is the same
    while its size, inode, modification and change time are; the last one cannot be set back.
    Where the cache cannot be written the files are hashed every time.

    Raises:
        OSError: a file cannot be read.
    """
    if not paths:
        return []
    folder = str(paths[0].parent.absolute())
    memory = cache_folder() / "digests" / f"{hashlib.sha256(folder.encode()).hexdigest()}.json"
    known = _known(memory)
    facts = [_facts(path) for path in paths]
    if any(fact not in known for fact in facts):
        with locked(memory.with_suffix(".lock")):  # one process of the node hashes
            return _hashed(paths, memory)
    return [known[fact] for fact in facts]


def _hashed(paths: list[Path], memory: Path) -> list[str]:
    """The digests of files, and those that ``memory`` does not know yet written to it."""
    known = _known(memory)
    started = time.time()
    facts = [_facts(path) for path in paths]
    new = [path for path, fact in zip(paths, facts, strict=True) if fact not in known]
    with ThreadPoolExecutor(THREADS) as threads:
        fresh = dict(zip(new, threads.map(file_sha256, new), strict=True))
    pairs = list(zip(paths, facts, strict=True))
    digests = [fresh[path] if path in fresh else known[fact] for path, fact in pairs]
    if new:
        names = {path.name for path in paths}
        kept = {fact: known[fact] for fact in known if fact.partition(" ")[0] not in names}
        for (path, fact), digest in zip(pairs, digests, strict=True):
            if path not in fresh or started - path.stat().st_ctime > SETTLED:
                kept[fact] = digest
        with suppress(OSError):
            write_whole(memory, json.dumps(kept, indent=0).encode())
    return digests


def _facts(path: Path) -> str:
    status = path.stat()
    times = f"{status.st_mtime_ns} {status.st_ctime_ns}"
    return f"{path.name} {status.st_size} {status.st_ino} {times}"


def _known(memory: Path) -> dict[str, str]:
    try:
        content = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {str(fact): str(digest) for fact, digest in content.items()}


def shard_problems(place: Place, manifest: Manifest, split: str) -> dict[int, str]:
    """The shards that are not what the manifest says: number -> one line.

    Of local shards the SHA-256 is compared, of remote ones the size: fetching compares theirs.

    Raises:
        InputError: no such split, or the place cannot be reached.
    """
    shards = find_split(place, manifest, split).shards
    problems = size_problems(place, shards)
    if place.local is None:
        return problems
    paths = {n: place.local / shard.file for n, shard in enumerate(shards) if n not in problems}
    try:
        digests = remembered_sha256(list(paths.values()))
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from None
    for number, digest in zip(paths, digests, strict=True):
        if digest != shards[number].sha256:
            problems[number] = differs(place.name(shards[number].file))
    return dict(sorted(problems.items()))


def differs(name: str) -> str:
    """The line of a shard whose bytes are others than its manifest says."""
    return (
        f"{name}: SHA-256 differs from the manifest, so its bytes have changed; "
        "build or copy the data again"
    )
