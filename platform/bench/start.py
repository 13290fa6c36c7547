"""How soon the command line answers, `camsweep --help` and its import, against bare Python."""

from __future__ import annotations

import json
import time

from camsweep.platform.bench.fresh import said
from camsweep.platform.bench.rounds import alternate
from camsweep.platform.bench.table import Result, ratio
from camsweep.shards.places import Place

#: What nothing should import that only tells of itself.
HEAVY = (
    *("matplotlib", "numpy", "optuna", "pandas", "PIL", "plotly", "pyarrow", "pydantic", "ray"),
    *("scipy", "skimage", "torch", "torchvision", "webdataset", "yaml"),
)
MODULE = "camsweep.platform.cli.main"
#: As the installed script starts it.
SCRIPT = f"import sys; from {MODULE} import main; sys.exit(main(sys.argv[1:]))"

HELP, IMPORT, TYPER, BARE = "camsweep --help", "its import", "import typer", "bare interpreter"


def run(data: Place | None, seconds: float, repeat: int) -> Result:
    """Measure all by turns, a new process each; ``seconds`` does not matter."""
    commands = {
        HELP: (SCRIPT, "--help"),
        IMPORT: (f"import {MODULE}",),
        TYPER: ("import typer",),
        BARE: ("pass",),
    }
    for words in commands.values():
        _took(*words)  # compiles what is not compiled, and fills the file cache
    rounds = alternate(
        {name: lambda words=words: _took(*words) for name, words in commands.items()},  # type: ignore[misc]
        repeat,
    )
    heavy = ", ".join(imported(HEAVY)) or "none"
    return Result(
        name="start",
        unit="seconds, a new process each",
        rounds=rounds,
        ratios=(ratio(rounds, HELP, BARE), ratio(rounds, IMPORT, TYPER)),
        goals={HELP: "under 0.5", IMPORT: "under 0.5"},
        notes=(f"of {', '.join(HEAVY)} the import loads: {heavy}",),
    )


def _took(*words: str) -> float:
    begun = time.perf_counter()
    _output(*words)
    return time.perf_counter() - begun


def _output(*words: str) -> str:
    return said("-c", *words, what=f"start: {words[0]}")


def imported(names: tuple[str, ...], module: str = MODULE) -> list[str]:
    """Which of these packages a module's import loads."""
    code = f"import json, sys, {module}; print(json.dumps(sorted({set(names)} & set(sys.modules))))"
    found: list[str] = json.loads(_output(code))
    return found
