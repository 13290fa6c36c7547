"""The loader against bare decoding and against ``torch.utils.data.DataLoader``."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Generator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from camsweep.platform.bench.bare import BareDecoding
from camsweep.platform.bench.photos import SPLIT, Photos, cache_in, photos
from camsweep.platform.bench.rounds import Image, alternate, rate
from camsweep.platform.bench.table import Result, ratio
from camsweep.shards.epochs import epoch_order
from camsweep.shards.node.loading import load
from camsweep.shards.places import Place
from camsweep.shards.reader import SplitReader, open_split

WORKERS = 2
BATCH = 8

BARE = "bare decoding"
BEST = "bare decoding, memory kept"
LOADER = "camsweep"
FILL = "camsweep, filling the cache"
KEPT = "camsweep, cached"
FRESH = "camsweep, cached, first epoch"
TORCH = "DataLoader over files"


def run(data: Place | None, seconds: float, repeat: int) -> Result:
    """Measure all of them by turns; see ``camsweep.platform.bench.measure``."""
    with (
        photos(data) as made,
        BareDecoding(made.files, WORKERS) as bare,
        BareDecoding(made.files, WORKERS, kept=True) as best,
    ):
        decoding = open_split(made.data, SPLIT, decoded=False)
        kept = open_split(made.data, SPLIT)
        for index in range(len(kept)):
            kept.image(index)
        rounds = alternate(
            {
                BARE: lambda: bare.rate(seconds),
                BEST: lambda: best.rate(seconds),
                LOADER: lambda: rate(epochs(decoding), seconds),
                FILL: lambda: rate(filling(made), seconds),
                KEPT: lambda: rate(epochs(kept), seconds),
                FRESH: lambda: rate(first_epochs(kept), seconds),
                TORCH: lambda: rate(plain_files(made), seconds),
            },
            repeat,
        )
    return Result(
        name="loader",
        unit="images a second",
        rounds=rounds,
        ratios=(
            ratio(rounds, LOADER, BARE, "at least 0.85"),
            ratio(rounds, LOADER, BEST, "at least 0.85"),
            ratio(rounds, FILL, BARE),
            ratio(rounds, KEPT, BARE, "at least 5"),
            ratio(rounds, KEPT, BEST, "at least 5"),
            ratio(rounds, FRESH, BEST),
            ratio(rounds, LOADER, TORCH, "above 1"),
        ),
        notes=(
            f"{made.what}; warm disk; whoever gets an image reads every byte of it",
            f"bare decoding: {WORKERS} processes read the files and decode them with Pillow, and "
            "nothing leaves them; 'memory kept': with the allocator set as in camsweep's loader",
            f"camsweep: {WORKERS} threads, {BATCH} images, labels and keys at a time; 'cached': "
            "from the node's decoded cache, its checksums compared in the 'first epoch' only",
            f"DataLoader: {WORKERS} workers, lists of {BATCH} images decoded with Pillow",
        ),
    )


def epochs(reader: SplitReader, count: int | None = None) -> Generator[Image]:
    """The images of ``count`` epochs (None = no end), each in an order of its own."""

    def fetch(batch: list[int]) -> list[tuple[str, Image, np.ndarray]]:
        return [(reader.keys[index], reader.image(index), reader.labels[index]) for index in batch]

    # Two batches a thread: more would only leave the processor's caches.
    made = load(fetch, _batches(len(reader), count), workers=WORKERS, ahead=2 * WORKERS)
    try:
        for batch in made:
            for _, image, _ in batch:
                yield image
    finally:
        made.close()


def _batches(images: int, count: int | None) -> Iterator[list[int]]:
    """Batches of image numbers, epoch after epoch; the last of an epoch may be short."""
    for epoch in itertools.count() if count is None else range(count):
        order = epoch_order(images, 0, epoch).tolist()
        yield from (order[start : start + BATCH] for start in range(0, images, BATCH))


def filling(made: Photos) -> Generator[Image]:
    """The same, where each epoch is the first one ever: what it decodes goes into a new cache."""
    while True:
        with TemporaryDirectory(dir=made.data.parent) as cache, cache_in(Path(cache)):
            yield from epochs(open_split(made.data, SPLIT), 1)


def first_epochs(reader: SplitReader) -> Generator[Image]:
    """The same, where the cache is full and each epoch is a reader's first one."""
    packed = pickle.dumps(reader)
    while True:
        yield from epochs(pickle.loads(packed), 1)


class PlainFiles:
    """A data set for DataLoader over a folder of JPEG files, as it is usually written."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.iterdir())

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """The image, uint8 [H, W, 3], and its number."""
        import torch
        from PIL import Image as Pictures

        with Pictures.open(self.files[index]) as picture:
            return torch.from_numpy(np.array(picture.convert("RGB"))), index


def plain_files(made: Photos) -> Generator[Image]:
    """The images from DataLoader, shuffled anew every epoch."""
    from torch.utils.data import DataLoader

    files = PlainFiles(made.files)
    loader: Any = DataLoader(
        files,  # type: ignore[arg-type]
        batch_sampler=_batches(len(files), None),
        num_workers=WORKERS,
        collate_fn=list,
    )
    for batch in loader:
        for image, _ in batch:
            yield image.numpy()
