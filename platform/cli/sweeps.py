"""`camsweep sweeps`: list the shipped sweeps, or show one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from camsweep.methods.config import TrialConfig


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
        spec = load_sweep(shipped).spec
        cells = str(len(load_sweep(shipped).cells()))
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
    from camsweep.methods.compose import ComposedConfig
    from camsweep.sweeps.spec import load_sweep

    sweep = load_sweep(name)
    # As `Text`: brackets in what a user wrote would be read as markup.
    console.print(Text.assemble((sweep.name, "bold"), f"  {sweep.spec.title}"))
    console.print(f"{sweep.path}, {sweep.spec.seeds} seeds", markup=False)
    if sweep.spec.notes:
        console.print(sweep.spec.notes, markup=False)
    console.print()
    cells = Table("cell", "settings", box=None, pad_edge=False)
    methods: dict[str, type[TrialConfig]] = {}
    for label, cell in sweep.cells():
        cells.add_row(label, ", ".join(f"{k}={v}" for k, v in cell.items()))
        methods[cell["method"]] = load_method(cell["method"]).config
    console.print(cells, markup=False)
    shared = ComposedConfig.model_fields
    methods["every method"] = ComposedConfig
    for method, config in methods.items():
        console.print()
        table = Table(f"setting of {method}", "default", "stage", "meaning", box=None)
        for key, stage in config.stages().items():
            info = config.model_fields[key]
            # What a method shares with all others and leaves as it is stands there once.
            own = key not in shared or info.default != shared[key].default
            if own if config is not ComposedConfig else not info.is_required():
                table.add_row(key, str(info.default), stage, info.description or "")
        console.print(table, markup=False)
