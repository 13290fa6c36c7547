"""Which data set a run uses: the one given, or the embedded one, rendered on first use."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from camsweep.shards.embedded.source import RECIPE, embedded_source
from camsweep.shards.errors import InputError
from camsweep.shards.manifest import load_manifest
from camsweep.shards.places import Place, as_place
from camsweep.shards.places.cache import cache_folder
from camsweep.shards.writing.writer import build
from camsweep.sweeps.profile import Profile


def find_data(data: str | None, profile: Profile) -> Place:
    """The data of a run.

    The embedded set is rendered into the cache folder where it is missing, as ids contain the
    digest of its bytes; a line on stderr says so.

    Args:
        data: what `--data` named, or None.
        profile: says which data set it is meant for.

    Raises:
        InputError: nothing given and the profile's data can't be rendered here, or no manifest.
    """
    if data is not None:
        place = as_place(data)
        load_manifest(place)
        return place
    if profile.data != "embedded":
        raise InputError(
            f"--data: profile '{profile.name}' needs shards of {profile.data}; build them with "
            f"`camsweep shards build {profile.data} --root … --out DIR` and give --data DIR"
        )
    return as_place(embedded_data(cache_folder() / f"embedded-{RECIPE}"))


def embedded_data(folder: Path, on_progress: Callable[[str, int, int], None] | None = None) -> Path:
    """The embedded data set in `folder`, rendered if it isn't there (some 15 s).

    Raises:
        InputError: the folder can't be written.
    """
    if not (folder / "manifest.json").is_file():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{folder.parent}: {error.strerror}; set CAMSWEEP_CACHE to a writable folder"
            ) from error
        with FileLock(folder.with_suffix(".lock")):
            if not (folder / "manifest.json").is_file():
                print(f"rendering the embedded data set into {folder}", file=sys.stderr)
                build(embedded_source(), folder, on_progress=on_progress)
    load_manifest(folder)
    return folder
