"""Studies with a planted optimum in a store's journals, written as a search writes them.

Run it to add some to a store of `synthetic_store`: ``python tests/synthetic_studies.py FOLDER``.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

#: lr decides, p_h matters a little, the kind of patches a little, the weights not at all.
SPACE = {
    "patches": CategoricalDistribution(["superpixel", "grid"]),
    "s_n": IntDistribution(10, 2000, log=True),
    "grid_sizes": CategoricalDistribution(["[56]", "[112]", "[56,112]"]),
    "p_h": FloatDistribution(0.1, 0.9),
    "w_tcp": FloatDistribution(0.1, 10.0, log=True),
    "lr": FloatDistribution(0.001, 0.1, log=True),
}
Params = Mapping[str, Any]


class Quick(JournalFileBackend):
    """Appends without a lock and without waiting for the disk: one test writes it."""

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with Path(self._file_path).open("a") as file:
            file.writelines(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)


def worth(params: Params) -> float:
    """0.47 at best: lr 0.01, p_h 0.5, superpixels."""
    value = 0.47 - 0.12 * math.log10(params["lr"] / 0.01) ** 2
    value -= 0.15 * (params["p_h"] - 0.5) ** 2
    if params["patches"] == "grid":
        return value - 0.015
    return value - 0.002 * math.log(params["s_n"] / 200) ** 2


def seconds(params: Params) -> float:
    """How long a training takes: superpixels by their number."""
    return 40.0 + (0.05 * params["s_n"] if params["patches"] == "superpixel" else 10.0)


def draw(rng: np.random.Generator) -> dict[str, Any]:
    """A random point of `SPACE`, in the order in which a search draws."""
    point: dict[str, Any] = {"patches": ["superpixel", "grid"][rng.integers(2)]}
    if point["patches"] == "superpixel":
        point["s_n"] = int(10 ** rng.uniform(1, math.log10(2000)))
    else:
        point["grid_sizes"] = ["[56]", "[112]", "[56,112]"][rng.integers(3)]
    point["p_h"] = rng.uniform(0.1, 0.9)
    point["w_tcp"] = 10 ** rng.uniform(-1, 1)
    point["lr"] = 10 ** rng.uniform(-3, -1)
    return point


def trial(
    params: Params,
    values: list[float] | None = None,
    state: TrialState = TrialState.COMPLETE,
    space: Mapping[str, Any] = SPACE,
    **notes: Any,
) -> FrozenTrial:
    """One trial of a study with its notes."""
    return create_trial(
        state=state,
        values=values,
        params=dict(params),
        distributions={name: space[name] for name in params},
        user_attrs={"origin": "drawn", **notes},
    )


def write_study(
    folder: Path,
    trials: list[FrozenTrial],
    *,
    sweep: str = "mine",
    metrics: tuple[str, ...] = ("miou",),
    directions: tuple[str, ...] | None = None,
    profile: str = "embedded",
    data: str = "ab12cd34ef",
    scheduler: str = "none",
    title: str = "Settings, searched",
    study_id: str | None = None,
) -> str:
    """Write a journal into a store's folder; returns the study's id."""
    study_id = study_id or hashlib.sha256(f"{sweep} {metrics} {len(trials)}".encode()).hexdigest()
    path = folder / "studies" / f"{study_id}.journal"
    path.parent.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(
            storage=JournalStorage(Quick(str(path))),
            study_name=f"{sweep} {study_id[:12]}",
            directions=directions
            or ["maximize" if m.startswith("miou") else "minimize" for m in metrics],
        )
        study.set_metric_names(list(metrics))
        about = {
            "sweep": sweep, "title": title, "algorithm": "tpe", "scheduler": scheduler,
            "profile": profile, "data": data,
        }  # fmt: skip
        for key, value in about.items():
            study.set_user_attr(key, value)
        study.add_trials(trials)
    return study_id


def planted(
    count: int,
    *,
    seed: int = 0,
    noise: float = 0.004,
    measures: tuple[Callable[[Params], float], ...] = (worth,),
    stopped: int = 0,
    failed: int = 0,
) -> list[FrozenTrial]:
    """Trials of random points; every so many of them stopped early or failed."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        params = draw(rng)
        if stopped and number % stopped == 3:
            found.append(trial(params, state=TrialState.PRUNED, cause="behind the others"))
        elif failed and number % failed == 7:
            found.append(trial(params, state=TrialState.FAIL, cause="out of memory"))
        else:
            values = [m(params) + noise * rng.standard_normal() for m in measures]
            found.append(trial(params, values, trial=f"{number:064x}"))
    return found


if __name__ == "__main__":
    target = Path(sys.argv[1])
    write_study(target, planted(120, stopped=4, failed=20), sweep="searches/cpn", scheduler="asha",
                title="CPN's settings, searched")  # fmt: skip
    write_study(target, planted(80, measures=(worth, seconds)), metrics=("miou", "train_seconds"),
                sweep="front", title="Quality against time")  # fmt: skip
    write_study(target, planted(9), sweep="few", title="A search just begun")
    write_study(target, [], sweep="none yet")
    (target / "studies" / f"{'d' * 64}.journal").write_text('{"op_code": 0}\nnonsense\n{}\n')
