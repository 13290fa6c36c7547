"""The benchmarks: each measures something against its peer, by turns, in one run."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping

from camsweep.platform.bench.table import Result
from camsweep.shards.errors import InputError, nearest
from camsweep.shards.places import Place

BENCHMARKS: Mapping[str, str] = {
    "loader": "images a second of camsweep's loader, against bare decoding and DataLoader",
    "pair": "cost of a superpixel pair in training, against a grid pair and the released way",
    "open": "opening 100,000 samples by their index, against the headers of their tar files",
    "scheduling": "1,000 trials that do nothing, against Ray Tune's defaults and bare actors",
    "thresholds": "counting 100 background thresholds, against a pass over the files for each",
    "prototypes": "SIPE's prototypes and IS-CAMs, against the released broadcast form",
    "step": "a training step of CPN, against the same mathematics written plainly",
    "inference": "maps of four scales, mirrored too, against one image and view at a time",
    "crf": "the fully connected CRF, against pydensecrf (its recorded times if not installed)",
    "store": "writing, reading and reporting 10,000 trials, against JSON files and pandas",
    "suite": "epochs that planning saves in CPN's ablation suite",
    "suite-run": "the same suite run on the embedded data: seconds that sharing stages saves",
    "scaling": "trials an hour on 1 to 256 slots, and the driver's memory to 100,000 trials",
    "start": "import and `camsweep --help`, against a bare interpreter",
}

# A module named open would hide the builtin in this file.
_MODULES = {"open": "opening", "suite-run": "suite_run"}


def choose(names: Iterable[str]) -> tuple[str, ...]:
    """The names in the order given, or all of them where none is given.

    Raises:
        InputError: there is no such benchmark.
    """
    chosen = tuple(dict.fromkeys(names)) or tuple(BENCHMARKS)
    for name in chosen:
        if name not in BENCHMARKS:
            raise InputError(f"bench: no benchmark '{name}'{nearest(name, BENCHMARKS)}")
    return chosen


def measure(name: str, data: Place | None, seconds: float, repeat: int) -> Result:
    """Run one benchmark.

    Args:
        name: one of ``BENCHMARKS``.
        data: shards to measure on; None = a set of the benchmark's own.
        seconds: that each measurement lasts, about.
        repeat: rounds; in each, everything is measured once.
    """
    module = importlib.import_module(f"{__name__}.{_MODULES.get(name, name)}")
    run: Callable[[Place | None, float, int], Result] = module.run
    return run(data, seconds, repeat)
