"""A search's study as the store keeps it: `studies/<id>.journal`, in Optuna's journal format.

Here is what reading one takes: its name, opening it, and the notes beside its trials.
`platform.searching` writes it.
"""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from camsweep.shards.errors import InputError
from camsweep.shards.places.cache import cache_folder
from camsweep.shards.places.files import write_whole
from camsweep.sweeps.store import Store

if TYPE_CHECKING:
    from optuna.storages import JournalStorage

FOLDER, SUFFIX = "studies", ".journal"
#: Notes on the study's trials (user attributes), which optuna-dashboard shows beside them.
TRIAL, LABEL, DRIVER, ORIGIN, CAUSE = "trial", "label", "driver", "origin", "cause"
#: Origins: known to the store before, drawn again, given up by a driver that died.
WARM, DUPLICATE, LOST = "warm start", "duplicate", "lost"
#: Origins that are no sample of this search.
UNCOUNTED = (WARM, DUPLICATE, LOST)
#: The note of a warm start: over how many seeds its value is the mean.
SEEDS = "seeds"


def journal_name(study_id: str) -> str:
    """The journal's relative file in a store."""
    return f"{FOLDER}/{study_id}{SUFFIX}"


def study_ids(store: Store) -> list[str]:
    """Ids of all studies in a store, sorted."""
    return [name.removesuffix(SUFFIX) for name in store.names(FOLDER, SUFFIX)]


def load(store: Store, study_id: str) -> JournalStorage | None:
    """The study's storage for reading, or None where it was never begun.

    Raises:
        InputError: the journal is damaged or can't be read.
    """
    name = journal_name(study_id)
    if not store.exists(name):
        return None
    if store.local is not None:
        return open_journal(store.local / name)
    path = cached(store, study_id).with_suffix(".read")
    try:
        write_whole(path, store.read(name))
    except OSError as error:
        raise InputError(f"{store}: {name}: {error.strerror or error}") from error
    return open_journal(path)


def cached(store: Store, study_id: str) -> Path:
    """The copy, on this machine, of a journal in object storage, which has no appending."""
    where = hashlib.sha256(store.url.encode()).hexdigest()[:16]
    return cache_folder() / FOLDER / f"{where}-{study_id}{SUFFIX}"


def open_journal(path: Path) -> JournalStorage:
    """Open a journal and play it back; nothing is written.

    Raises:
        InputError: it is damaged or can't be read.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        try:
            return JournalStorage(JournalFileBackend(str(path)))
        except OSError as error:
            raise InputError(
                f"{path}: {error.strerror or error}; the study can't be read"
            ) from error
        except Exception as error:
            # Playing back what was damaged in the middle may fail anywhere in Optuna.
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(
                f"{path}: no journal of Optuna's ({reason}); move it away and the study begins "
                "anew with what the store knows"
            ) from error
