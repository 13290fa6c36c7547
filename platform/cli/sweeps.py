"""`camsweep sweeps`: list the shipped sweeps, or show one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from camsweep.methods.config import TrialConfig
    from camsweep.sweeps.dimension import Dimension
    from camsweep.sweeps.search import SearchSpec
    from camsweep.sweeps.spec import Sweep


def sweeps(
    name: Annotated[
        str | None,
        typer.Argument(help="A sweep to show, such as cpn/fig6.", show_default=False),
    ] = None,
) -> None:
    """List the shipped sweeps, or show one with the settings it can vary.

    Examples:
      camsweep sweeps

      camsweep sweeps cpn/table4
    """
    from rich.console import Console

    console = Console()
    if name is None:
        _list(console)
    else:
        _show(console, name)


def _list(console: Console) -> None:
    from rich.table import Table

    from camsweep.sweeps.profile import load_profile, profile_names
    from camsweep.sweeps.spec import load_sweep, shipped_names

    table = Table("sweep", "title", "cells", "seeds", box=None, pad_edge=False)
    for shipped in shipped_names():
        sweep = load_sweep(shipped)
        spec = sweep.spec
        cells = f"{spec.search.samples} samples" if spec.search else str(len(sweep.cells()))
        table.add_row(shipped, spec.title, cells, str(spec.seeds))
    console.print(table, markup=False)
    console.print()
    profiles = Table("profile", "title", box=None, pad_edge=False)
    for profile in profile_names():
        profiles.add_row(profile, load_profile(profile).title)
    console.print(profiles, markup=False)


def _show(console: Console, name: str) -> None:
    from rich.table import Table
    from rich.text import Text

    from camsweep.methods.base import load_method
    from camsweep.sweeps.spec import load_sweep

    sweep = load_sweep(name)
    # As `Text`: brackets in what a user wrote would be read as markup.
    console.print(Text.assemble((sweep.name, "bold"), f"  {sweep.spec.title}"))
    noun = "seed" if sweep.spec.seeds == 1 else "seeds"
    console.print(f"{sweep.path}, {sweep.spec.seeds} {noun}", markup=False)
    if sweep.spec.notes:
        console.print(sweep.spec.notes, markup=False)
    console.print()
    if sweep.spec.search is not None:
        _show_search(console, sweep, sweep.spec.search)
        names = [sweep.spec.base["method"]]
    else:
        cells = Table("cell", "settings", box=None, pad_edge=False)
        for label, cell in sweep.cells():
            cells.add_row(label, _settings(cell))
        console.print(cells, markup=False)
        names = [cell["method"] for _, cell in sweep.cells()]
    if sweep.spec.ablate is not None:
        _show_design(console, sweep)
    _show_settings(console, {name: load_method(name).config for name in names})


def _settings(overrides: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in overrides.items())


def _show_search(console: Console, sweep: Sweep, search: SearchSpec) -> None:
    """Algorithm, scheduler with what the file sets of it, and the space, a line a setting."""
    from rich.table import Table

    scheduler = search.scheduler
    given = sorted(scheduler.model_fields_set - {"name"})
    words = [scheduler.name, *(f"{key} {getattr(scheduler, key):g}" for key in given)]
    lines = [
        f"{search.samples} samples by {search.algorithm} (seed {search.seed}), "
        f"for {' and '.join(search.metric)}",
        f"scheduler: {', '.join(words)}",
        f"every trial: {_settings(sweep.spec.base)}",
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False)
    console.print()
    table = Table("setting", "values", "only where", box=None, pad_edge=False)
    for name, dimension in search.space.items():
        where = (f"{k}={' or '.join(map(str, v))}" for k, v in dimension.when.items())
        table.add_row(name, _values(dimension), ", ".join(where))
    console.print(table, markup=False)


def _values(dimension: Dimension) -> str:
    if dimension.choice is not None:
        return ", ".join(str(value) for value in dimension.choice)
    low, high = dimension.bounds
    words = [f"{low:g} to {high:g}"]
    words += ["whole"] if dimension.whole is not None else []
    words += ["on a logarithmic scale"] if dimension.logarithmic else []
    words += [f"in steps of {dimension.step:g}"] if dimension.step is not None else []
    return ", ".join(words)


def _show_design(console: Console, sweep: Sweep) -> None:
    """What the rows are of, and those that the file's rules leave out."""
    from camsweep.platform.cli.plan import rows_text
    from camsweep.sweeps.designs import describe

    assert sweep.spec.ablate is not None
    design = describe(sweep.spec.ablate)
    text = f"{design['design']} design of {', '.join(design['components'])}: {rows_text(design)}"
    console.print()
    console.print(text, markup=False, highlight=False)
    for cell in sweep.rows():
        if (rule := sweep.broken_rule(cell)) is not None:
            console.print(f"  left out: {cell.label} ({rule})", markup=False, highlight=False)


def _show_settings(console: Console, methods: Mapping[str, type[TrialConfig]]) -> None:
    """The settings of each method, then those that all have."""
    from rich.table import Table

    from camsweep.methods.compose import ComposedConfig

    shared = ComposedConfig.model_fields
    every: dict[str, type[TrialConfig]] = {**methods, "every method": ComposedConfig}
    for method, config in every.items():
        console.print()
        table = Table(f"setting of {method}", "default", "stage", "meaning", box=None)
        for key, stage in config.stages().items():
            info = config.model_fields[key]
            # What a method shares with all others and leaves as it is stands there once.
            own = key not in shared or info.default != shared[key].default
            if own if config is not ComposedConfig else not info.is_required():
                table.add_row(key, str(info.default), stage, info.description or "")
        console.print(table, markup=False)
