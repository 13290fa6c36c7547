"""Whether a fixed seed gave the same numbers again: what the audit of `run --repeat` found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from camsweep.reports.load import Trial
from camsweep.sweeps.repeats import Repeat, spread

if TYPE_CHECKING:
    from camsweep.reports.filled import Filled

#: Behind the name of a variant whose fixed seed did not give the same numbers again.
MARK = " ‡"
Repeats = Mapping[str, Sequence[Repeat]]


@dataclass(frozen=True)
class Repeated:
    """The repeats of several trials.

    Attributes:
        trials: how many of them were repeated.
        differing: how many of those have a repeat that is not identical.
        spread: the largest difference in mIoU between a trial and its repeats, a fraction.
        elsewhere: whether every repeat that differs was run on another device, with other versions
            or another number of workers than its original.
    """

    trials: int
    differing: int
    spread: float
    elsewhere: bool

    @property
    def reproducible(self) -> bool:
        """Whether all repeats are identical."""
        return not self.differing

    def text(self) -> str:
        """`3 trials, identical`; `1 of 3 trials differs by up to 0.31`."""
        noun = "trial" if self.trials == 1 else "trials"
        if self.reproducible:
            return f"{self.trials} {noun}, identical"
        verb = "differs" if self.differing == 1 else "differ"
        where = " (other device or versions)" if self.elsewhere else ""
        counted = f"{self.differing} of {self.trials} {noun} {verb}"
        return f"{counted} by up to {points(self.spread)}{where}"


def points(fraction: float) -> str:
    """A difference in mIoU points; a small one is not called nothing."""
    value = 100 * fraction
    return f"{value:.2f}" if value >= 0.005 or value == 0 else f"{value:.1g}"


def repeated(trials: Iterable[Trial], repeats: Repeats) -> Repeated | None:
    """What is known of these trials; None where none of them was repeated."""
    found = [repeats[trial.id] for trial in trials if repeats.get(trial.id)]
    if not found:
        return None
    bad = [r for some in found for r in some if not r.identical]
    return Repeated(
        trials=len(found),
        differing=sum(not all(r.identical for r in some) for some in found),
        spread=max(map(spread, found)),
        elsewhere=bool(bad) and not any(r.same_setup for r in bad),
    )


def with_repeats(filled: Filled, repeats: Repeats) -> Filled:
    """An artefact with a note on those of its trials that were repeated."""
    cells = set(filled.spec.cells())
    mine = [t for t in filled.selection.trials if t.done and cells.intersection(t.memberships)]
    whole = repeated(mine, repeats)
    if whole is None:
        return filled
    if whole.reproducible:
        note = f"Repeated with the same seed: {whole.text()} to the last bit."
        return replace(filled, notes=(*filled.notes, note))
    notes = []
    for trial in mine:
        one = repeated([trial], repeats)
        if one is not None and not one.reproducible:
            label = next(label for sweep, label in trial.memberships if (sweep, label) in cells)
            where = ", on another device or with other versions" if one.elsewhere else ""
            notes.append(f"{label} seed {trial.seed} ({points(one.spread)} mIoU points{where})")
    listed = "; ".join(notes)
    return replace(
        filled,
        notes=(*filled.notes, f"Not the same again with the same seed: {listed}."),
    )
