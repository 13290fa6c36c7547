"""Where the numbers come from: commits, data, versions, hardware, seeds, commands, damaged data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from camsweep.reports.load import Trial
from camsweep.reports.markup import Html, join, tag
from camsweep.reports.report import Report
from camsweep.reports.words import counted


@dataclass(frozen=True)
class Facts:
    """How the report was made, for its provenance; nothing that differs between two runs alike.

    Attributes:
        command: what the user typed.
        version: of camsweep.
        refresh: seconds after which the page loads itself again, None for never.
    """

    command: str
    version: str
    refresh: int | None = None


def _list(values: Iterable[str]) -> str:
    return ", ".join(sorted({v for v in values if v})) or "not recorded"


def _seeds(trials: Sequence[Trial]) -> str:
    seeds = sorted({t.seed for t in trials})
    if len(seeds) > 2 and seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds)) or "none"


def _commits(trials: Sequence[Trial]) -> str:
    return _list(f"{t.commit[:12]}{' (with local changes)' if t.dirty else ''}" for t in trials)


def _versions(trials: Sequence[Trial]) -> str:
    return _list(f"{name} {number}" for t in trials for name, number in t.versions.items())


def _newest(trials: Sequence[Trial]) -> str:
    """When the newest trial ended: the time of the page itself would differ from run to run."""
    newest = max((t.finished for t in trials if t.finished), default=None)
    return newest.strftime("%Y-%m-%d %H:%M UTC") if newest else "not recorded"


def _damage(trials: Sequence[Trial]) -> list[tuple[str, object]]:
    """The row of the damaged samples that trials left out; none where all read all."""
    having = [t for t in trials if t.skipped]
    if not having:
        return []
    samples = sorted({sample for t in having for sample in t.skipped})
    shown = ", ".join(samples[:20]) + (f" and {len(samples) - 20} more" if samples[20:] else "")
    words = (
        f"{counted(len(samples), 'sample')} left out in {len(having)} of "
        f"{counted(len(trials), 'trial')}: {shown}"
    )
    return [("damaged data", words)]


def _terms(rows: Sequence[tuple[str, object]]) -> Html:
    return tag("dl", *(join(tag("dt", name), tag("dd", value)) for name, value in rows))


def _made(facts: Facts) -> Html:
    return join(tag("code", facts.command), f" (camsweep {facts.version})")


def provenance(report: Report, facts: Facts) -> Html:
    """Everything on where the numbers come from."""
    selection = report.selection
    trials = selection.trials
    rows: list[tuple[str, object]] = [
        ("store", report.store),
        ("data set", f"{selection.data_name}, digest {selection.data_digest}"),
        ("profile", selection.profile),
        ("commit of the trials", _commits(trials)),
        ("versions", _versions(trials)),
        ("devices", _list(t.device for t in trials)),
        ("seeds", _seeds(trials)),
        ("trials started with", _list(t.command for t in trials)),
        ("report made with", _made(facts)),
        *_damage(trials),
        *(("not read", line) for line in selection.unread),
        ("newest result", _newest(trials)),
        (
            "intervals",
            "95 % two-level bootstrap over seeds and images "
            f"({report.resamples} resamples, BCa) of IoU from summed pixel counts, widened by "
            "Student's t for the small number of seeds; background thresholds as chosen by each "
            "trial.",
        ),
    ]
    return tag("section", _terms(rows), class_="card terms", aria_label="Where this comes from")


def footer(report: Report, facts: Facts) -> Html:
    """The short form, under every page."""
    selection = report.selection
    trials = selection.trials
    rows: list[tuple[str, object]] = [
        ("data", f"{selection.data}, profile {selection.profile}"),
        ("commit", _commits(trials)),
        ("versions", _versions(trials)),
        ("devices", _list(t.device for t in trials)),
        ("seeds", _seeds(trials)),
        *_damage(trials),
    ]
    rows = [*(rows if trials else []), ("made with", _made(facts))]
    more = tag("a", "All of where this comes from", href="#provenance")
    return tag("footer", tag("div", _terms(rows), tag("p", more), class_="inner terms"))
