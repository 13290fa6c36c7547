"""The effects of a measured design: which there are, and what must be said of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from camsweep.reports.effects.combining import weighted
from camsweep.reports.effects.shapley import shapley
from camsweep.reports.effects.weights import (
    Coalition,
    Effect,
    factorial_effects,
    fraction_effects,
)
from camsweep.reports.measure import Estimate, Measurements
from camsweep.reports.own.filling import Sheet
from camsweep.sweeps.designs import Ablation
from camsweep.sweeps.fractions import confounded, spell


@dataclass(frozen=True)
class Told:
    """An effect with its number; ``estimate`` is None where no measured rows give it."""

    kind: str
    name: str
    estimate: Estimate | None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Effects:
    """Everything that a factorial or a fraction tells.

    Attributes:
        main: of each component, on minus off.
        interactions: of each two: how much more one brings where the other is on.
        shares: Shapley shares; empty where they can't be had.
        total: all on minus none on, what the shares sum to.
        remarks: what a reader must know.
    """

    main: tuple[Told, ...]
    interactions: tuple[Told, ...]
    shares: tuple[Told, ...]
    total: Estimate | None
    remarks: tuple[str, ...]


def coalition(on: Mapping[str, bool]) -> Coalition:
    """The components that are on."""
    return frozenset(name for name, state in on.items() if state)


def effects_of(sheet: Sheet, design: Ablation, measurements: Measurements) -> Effects:
    """The effects of a factorial or fractional design.

    Args:
        sheet: its rows.
        design: as the sweep file has it.
        measurements: of the report; effects are paired by seed and image draw.
    """
    components = list(design.components)
    on = {row.label: coalition(row.cell.on or {}) for row in sheet.rows}
    rows = {on[row.label]: row.estimate for row in sheet.rows if row.estimate is not None}
    possible = set(on.values())
    remarks = _reading(sheet)
    if design.design == "fractional":
        fraction = design.fraction()
        found = fraction_effects(components, fraction, rows)
        remarks += _fraction_remarks(design, components, len(rows), found is not None)
        shares: tuple[Told, ...] = ()
        total = None
        remarks.append(
            "No Shapley shares: they need every combination of the components, of which a fraction "
            "leaves some out; take design: factorial."
        )
    else:
        found = factorial_effects(components, rows, possible)
        remarks += _contexts(found)
        shares, total, why = _shares(components, possible, rows, sheet, measurements)
        remarks += why
    told = [
        Told(e.kind, e.name, weighted(measurements, e.weights, rows), e.aliases)
        for e in found or []
    ]
    main = tuple(t for t in told if t.kind == "main")
    between = tuple(t for t in told if t.kind == "interaction")
    if any(t.estimate is not None and t.estimate.one_seed for t in told):
        remarks.append("Effects over one seed: nothing is known of the noise between trainings.")
    return Effects(main, between, shares, total, tuple(remarks))


def _reading(sheet: Sheet) -> list[str]:
    seeds = [set(row.estimate.seeds) for row in sheet.measured if row.estimate is not None]
    found = [
        "Effect of a component: on minus off, averaged over what else is on; of two: how much more "
        "one brings where the other is on (difference of differences). Paired by seed and image; "
        "each interval is for itself, so of 20 effects that are nothing one may seem to be one."
    ]
    if seeds and set.intersection(*seeds) != set.union(*seeds):
        found.append("Rows have different seeds: an effect is over those that all its rows have.")
    return found


def _contexts(effects: list[Effect]) -> list[str]:
    """Effects that are averaged over less than the design would give, and those that can't be."""
    found = []
    never = [e.name for e in effects if not e.possible]
    if never:
        found.append(
            f"Not to be told from any rows that can be: {', '.join(never)}; the rules leave no "
            "comparison in which all else is equal."
        )
    for effect in effects:
        if 0 < effect.used < effect.possible:
            found.append(
                f"{effect.name}: averaged over {effect.used} of the {effect.possible} comparisons "
                "that the design has; rows are missing."
            )
        elif not effect.used and effect.possible:
            found.append(f"{effect.name}: rows are missing.")
    return found


def _fraction_remarks(
    design: Ablation, components: list[str], measured: int, solved: bool
) -> list[str]:
    fraction = design.fraction()
    words = ", ".join(spell(word) for word in fraction.words()[:8])
    aliases = confounded(fraction, components)
    found = [
        f"A fraction of {fraction.runs} of {2**fraction.factors} rows, resolution "
        f"{fraction.resolution}: {', '.join(fraction.texts())}; defining words {words}."
    ]
    found.append(
        f"Not to be told apart: {'; '.join(aliases)}."
        if aliases
        else "No effect of one or two components is aliased with another such; those of three and "
        "more are taken to be nothing."
    )
    if not solved:
        found.append(
            f"{measured} of {fraction.runs} rows are measured, which is too few to tell the "
            "effects apart."
        )
    elif measured < fraction.runs:
        found.append(
            f"{measured} of {fraction.runs} rows are measured: effects by least squares from "
            "those, no longer balanced."
        )
    return found


def _shares(
    components: list[str],
    possible: set[Coalition],
    rows: Mapping[Coalition, Estimate],
    sheet: Sheet,
    measurements: Measurements,
) -> tuple[tuple[Told, ...], Estimate | None, list[str]]:
    found = shapley(components, possible)
    if found is None:
        return (), None, ["No Shapley shares: no order leads from none to all by rows that can be."]
    needed = {key for weights in found.weights.values() for key in weights}
    labels = {coalition(row.cell.on or {}): row.label for row in sheet.rows}
    missing = [labels[key] for key in sorted(needed - set(rows), key=sorted)]
    if missing:
        return (), None, [f"No Shapley shares: not measured: {'; '.join(missing)}."]
    # All over the seeds that every row has, or they would not sum to the whole.
    keys = sorted(needed, key=lambda key: (len(key), sorted(key)))
    estimates = [rows[key] for key in keys]

    def over_all(weights: Mapping[Coalition, float]) -> Estimate | None:
        return measurements.combine([weights.get(key, 0.0) for key in keys], estimates)

    shares = tuple(Told("share", name, over_all(found.weights[name])) for name in components)
    if any(share.estimate is None for share in shares):
        return (), None, ["No Shapley shares: the rows share no seed."]
    total = over_all({frozenset(components): 1.0, frozenset(): -1.0})
    remarks = [
        "Shapley share: what a component brings, averaged over the orders in which the components "
        "may come in; shares sum to all minus none."
    ]
    if sheet.excluded:
        remarks.append(
            f"Rules keep rows out, so shares are over the {found.orders} orders in which every "
            "step can be (Shapley value under precedence constraints, Faigle and Kern 1992)."
        )
    return shares, total, remarks
