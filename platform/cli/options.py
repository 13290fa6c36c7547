"""Options that several commands take, and how their values are read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from camsweep.shards.errors import InputError, nearest

if TYPE_CHECKING:
    from camsweep.platform.prepare import Request

DEFAULT_STORE = "camsweep-store"

Names = Annotated[
    list[str],
    typer.Argument(
        help="Shipped sweeps (cpn/fig6), a paper (cpn), or sweep files (.yaml).", show_default=False
    ),
]
ProfileName = Annotated[
    str,
    typer.Option(
        "--profile", "-p", help="embedded, smoke, voc12, coco14, or a profile file (.yaml)."
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="Folder or URL of shards. The embedded profile renders its own.",
        show_default=False,
    ),
]
StoreUrl = Annotated[
    str, typer.Option("--store", "-s", help="Folder or s3:// or gs:// URL of the results.")
]
Seeds = Annotated[
    int | None,
    typer.Option("--seeds", min=1, help="Seeds a cell, instead of the sweep's own number."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="key=value of any setting; repeat for more.", show_default=False),
]
FirstSeed = Annotated[
    int, typer.Option("--first-seed", min=0, help="The first seed; others follow it.")
]
Weights = Annotated[
    list[str] | None,
    typer.Option(
        "--weights",
        help="FILE, BACKBONE=FILE or affinity|segment=FILE of pretrained weights (.pth, .params, "
        ".safetensors); repeat.",
        show_default=False,
    ),
]
SkipDamaged = Annotated[
    bool,
    typer.Option(
        "--skip-damaged", help="Leave out samples that can't be read; the report names them."
    ),
]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_settings(words: list[str] | None) -> dict[str, Any]:
    """`["p_h=0.3", "scales=[1.0]"]` as a dictionary; values are read as YAML.

    Raises:
        InputError: a word is not key=value.
    """
    import yaml

    settings: dict[str, Any] = {}
    for word in words or []:
        key, equals, value = word.partition("=")
        if not equals or not key.strip():
            raise InputError(f"--set {word}: must be key=value, such as --set p_h=0.3")
        if key.strip() == "seed":
            raise InputError("--set seed: seeds are 0, 1, …; give their number with --seeds")
        try:
            settings[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InputError(f"--set {word}: the value is not YAML, e.g. [1, 2] or 0.3") from error
    return settings


def parse_weights(words: list[str] | None) -> dict[str, str]:
    """`["resnet38=a.pth", "b.pth"]` as files by backbone; "" for the file of all others.

    `affinity=` and `segment=` name the file of that stage's network alone.

    Raises:
        InputError: an unknown backbone, or two files for one.
    """
    from camsweep.methods.backbones import backbone_names
    from camsweep.sweeps.resolve import ROLES

    known = [*backbone_names(), *ROLES]
    files: dict[str, str] = {}
    for word in words or []:
        name, equals, path = word.partition("=")
        if not equals or "/" in name or "." in name:
            name, path = "", word
        elif name not in known:
            hint = nearest(name, known)
            raise InputError(f"--weights {word}: there is no backbone '{name}'{hint}")
        if not path:
            raise InputError(f"--weights {word}: names no file")
        if name in files:
            raise InputError(f"--weights {word}: a second file for {name or 'all backbones'}")
        files[name] = path
    return files


def make_request(
    names: list[str],
    profile: str,
    data: str | None,
    store: str,
    seeds: int | None,
    first_seed: int,
    settings: list[str] | None,
    weights: list[str] | None,
    skip_damaged: bool = False,
) -> Request:
    """What `plan` and `run` are asked for, from their options.

    Raises:
        InputError: a setting or a weights file can't be read as one.
    """
    from camsweep.platform.prepare import Request
    from camsweep.sweeps.store import Store

    return Request(
        names,
        profile,
        data,
        Store(store),
        seeds,
        parse_settings(settings),
        parse_weights(weights),
        first_seed,
        skip_damaged,
    )


def parse_duration(text: str | None, option: str = "--time-budget") -> float | None:
    """`90s`, `30m`, `2h`, `1.5d` or bare seconds, in seconds.

    Raises:
        InputError: anything else.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if match is None or float(match[1]) <= 0:
        raise InputError(f"{option} {text}: must be a time such as 90s, 30m, 2h or 1d")
    return float(match[1]) * _UNITS[match[2] or "s"]
