"""The figures of a study that its points allow, and sentences on all, also on those left out."""

from __future__ import annotations

from collections.abc import Sequence

from camsweep.reports.exhibit import Drawn
from camsweep.reports.searches.bars import importance_figure
from camsweep.reports.searches.contour import FEWEST, contour_figure, pairs_of
from camsweep.reports.searches.front import front_figure
from camsweep.reports.searches.history import history_figure
from camsweep.reports.searches.importance import Importance, sentences
from camsweep.reports.searches.parallel import parallel_figure
from camsweep.reports.searches.slices import slice_figure
from camsweep.reports.searches.studied import Point, Setting, Study
from camsweep.reports.searches.units import title_of, with_unit
from camsweep.reports.words import counted


def _in_order(study: Study, found: Importance) -> list[Setting]:
    """The settings that finished points have, the most important first."""
    there = {n for p in study.of("finished") for n in p.settings}
    rank = {share.name: i for i, share in enumerate(found.shares)}
    settings = [s for s in study.settings if s.name in there]
    return sorted(settings, key=lambda s: rank.get(s.name, len(rank)))


def drawings(
    study: Study, found: Sequence[Importance], front: Sequence[Point]
) -> tuple[list[Drawn], list[str]]:
    """The figures that the points allow, and sentences on all, also on those left out."""
    finished = study.of("finished")
    if not finished:
        return [], ["No point has finished with a value: there is nothing to draw."]
    best = study.ranked()[0]
    value = with_unit(study.metrics[0], best.values[0])
    figure, note = history_figure(study)
    alt = (
        f"{counted(len(finished), 'finished point')} by number and the best so far; best: {value} "
        f"at point {best.number}."
    )
    drawn, remarks = [Drawn("history", "History", alt, figure)], [note]
    if len(finished) < 2:
        return drawn, [*remarks, "One finished point: nothing to compare."]
    if len(study.metrics) > 1:
        figure, note = front_figure(study, front)
        alt = f"{len(front)} of {len(finished)} finished points are on the Pareto front."
        drawn.append(Drawn("front", "Pareto front", alt, figure))
        remarks.append(note)
    if any(one.shares for one in found):
        alt = " ".join(
            f"For {title_of(one.metric)} the largest share of the importance is "
            f"{one.shares[0].name}'s, {100 * one.shares[0].size:.0f} %."
            for one in found
            if one.shares
        )
        drawn.append(Drawn("importance", "What mattered", alt, importance_figure(found)))
    for one in found:
        about = f"{title_of(one.metric)}: " if len(found) > 1 else ""
        remarks += [about + line for line in sentences(one)]
    for metric, name in enumerate(study.metrics):
        more, notes = _of_metric(study, metric, _in_order(study, found[metric]))
        several = len(study.metrics) > 1
        drawn += [
            Drawn(
                f"{d.name}-{metric + 1}" if several else d.name,
                f"{d.title}: {title_of(name)}" if several else d.title,
                d.alt,
                d.figure,
            )
            for d in more
        ]
        remarks += notes
    return drawn, [line for line in dict.fromkeys(remarks) if line]


def _of_metric(
    study: Study, metric: int, settings: Sequence[Setting]
) -> tuple[list[Drawn], list[str]]:
    if not settings:
        return [], []
    title = title_of(study.metrics[metric])
    best = study.ranked(metric)[0]
    at = f"the best point is {best.number}, {with_unit(study.metrics[metric], best.values[metric])}"
    figure, note = slice_figure(study, metric, settings)
    names = ", ".join(s.name for s in settings)
    drawn = [Drawn("slice", "Each setting", f"{title} over {names}; {at}.", figure)]
    remarks = [note]
    pairs = pairs_of(study, settings)
    if pairs:
        figure, note = contour_figure(study, metric, pairs)
        listed = "; ".join(f"{x.name} and {y.name}" for x, y in pairs)
        drawn.append(Drawn("contour", "Pairs of settings", f"{title} over {listed}; {at}.", figure))
        remarks += [
            note,
            "Pairs of settings: the colour is an interpolation, the mean of the points near each "
            "place weighted by their distance, whatever their other settings; blank where none is "
            "near.",
        ]
    elif len([s for s in settings if s.numeric]) > 1:
        remarks.append(f"Pairs of settings: no two numbers have {FEWEST} finished points together.")
    figure, note = parallel_figure(study, metric, settings)
    alt = f"A line for each point across {names} to the metrics; {at}."
    drawn.append(Drawn("parallel", "All settings at once", alt, figure))
    return drawn, [*remarks, note]
