"""What is collected while an artefact is filled: trials, holes, failures, notes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from camsweep.reports.cells import Cell, Overrides, gather
from camsweep.reports.commands import run_command
from camsweep.reports.filled import Filled, Hole, Line, Value
from camsweep.reports.kinds import told
from camsweep.reports.load import Selection, Trial, settings_text
from camsweep.reports.measure import Estimate
from camsweep.reports.protocol import differences, sources
from camsweep.reports.published import Paper
from camsweep.reports.spec import AnySpec
from camsweep.reports.verdicts import Pair, judge


@dataclass
class Filling:
    """Collects what is missing or odd while an artefact is filled."""

    selection: Selection
    store: str
    published: Paper
    unlike: str
    overrides: Overrides
    origins: Sequence[Trial]
    holes: dict[str, list[str]] = field(default_factory=dict)
    failed: dict[str, Trial] = field(default_factory=dict)
    apart: set[str] = field(default_factory=set)
    seeds: set[int] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    images: int = 0
    shown: list[tuple[str, Trial]] = field(default_factory=list)

    def cell(self, sweep: str, label: str) -> Cell:
        """The trials of a cell; what it lacks is remembered."""
        found = gather(self.selection, sweep, label, self.overrides)
        self.failed |= {t.id: t for t in found.failed}
        self.apart |= {t.id for t in found.apart}
        self.seeds |= {t.seed for t in found.trials}
        self.shown += [(label, t) for t in found.trials]
        if not found.trials:
            self.miss(sweep, label)
        if found.left_out:
            plural = "s" if found.left_out > 1 else ""
            self.notes.append(
                f"{label}: {found.left_out} trial{plural} left out, of other settings, another "
                "version of the recipe or an older run; they are never averaged with these."
            )
        return found

    def miss(self, sweep: str, what: str) -> None:
        """Remember a hole that a run of the sweep fills."""
        self.holes.setdefault(sweep, [])
        if what not in self.holes[sweep]:
            self.holes[sweep].append(what)

    def command(self, sweep: str) -> str:
        """What fills the holes of a sweep."""
        profile = self.selection.profile
        return run_command(sweep, profile, self.store, self.origins, self.seeds, self.overrides)

    def value(
        self,
        estimate: Estimate | None,
        published: float | None,
        effect: Estimate | None = None,
        hole: bool = False,
    ) -> Value:
        """A cell; the difference is there where both numbers are and may be compared."""
        difference = None
        if estimate is not None and published is not None and not self.unlike:
            difference = 100 * estimate.mean - published
        if estimate is not None:
            self.images = max(self.images, estimate.images)
        return Value(estimate, published, difference, effect, hole, self.unlike)

    def finish(
        self,
        spec: AnySpec,
        holes: Sequence[Hole] = (),
        lines: Sequence[Line] = (),
        **content: Any,
    ) -> Filled:
        """The filled artefact, with verdicts and protocol.

        Args:
            spec: of the artefact.
            holes: what no command fills.
            lines: its rows, not judged yet.
            **content: other fields of `Filled`.
        """
        if self.apart:
            plural = "s" if len(self.apart) > 1 else ""
            self.notes.append(
                f"{len(self.apart)} trial{plural} of runs with other --set settings left out: all "
                "rows are of one set of settings, the one with most results."
            )
        missing = [Hole(", ".join(what), self.command(sweep)) for sweep, what in self.holes.items()]
        protocol = differences(self.published, spec.name, self.shown)
        return Filled(
            spec=spec,
            selection=self.selection,
            unlike=self.unlike,
            settings=settings_text(self.overrides),
            lines=judged(lines, self.unlike),
            holes=(*missing, *holes),
            failed=tuple(self.failed.values()),
            notes=tuple(dict.fromkeys(self.notes)),
            images=self.images,
            protocol=protocol,
            sources=sources(self.published, spec.name) if protocol else (),
            measures=told(trial for _, trial in self.shown),
            **content,
        )


def judged(lines: Sequence[Line], unlike: str) -> tuple[Line, ...]:
    """The lines with a verdict in every cell that has both numbers."""
    pairs = [Pair(value.estimate, value.published) for line in lines for value in line.values]
    found = iter(judge(pairs, unlike))
    return tuple(
        replace(line, values=tuple(replace(v, verdict=next(found)) for v in line.values))
        for line in lines
    )
