"""What an artefact spec and a paper's numbers look like, and where they are found."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from camsweep.shards.errors import InputError, nearest

METRICS = (
    "miou",
    "miou_raw",
    "miou_refined",
    "miou_is_cam",
    "miou_estimated",
    "background_iou",
    "foreground_iou",
)


def _metric(name: str) -> str:
    """A metric column that trials have: one of `METRICS`, or ``miou_scale_<scale>``."""
    scale = name.removeprefix("miou_scale_")
    if name in METRICS:
        return name
    try:
        written = f"{float(scale):g}"
    except ValueError:
        raise ValueError(f"no metric '{name}'{nearest(name, METRICS)}") from None
    if scale == name or scale != written:
        raise ValueError(f"no metric '{name}'; did you mean 'miou_scale_{written}'?")
    return name


MetricName = Annotated[str, AfterValidator(_metric)]


class Frozen(BaseModel):
    """Base of all spec models: no unknown keys, no change after reading."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Comparable(Frozen):
    """What trials must be like to be compared with a published number.

    The data set's name is no part of it: it is whatever its folder was called.

    Attributes:
        profile: the shipped profile with the paper's schedule.
        images: how many images the paper evaluates on.
        classes: names in the order of their indices, the background first.
    """

    profile: str
    images: int
    classes: tuple[str, ...]


class Paper(Frozen):
    """The published numbers of a paper, in percent: artefact -> row -> column -> number."""

    paper: str
    title: str
    measured_on: str
    comparable: Comparable
    artefacts: dict[str, dict[str, dict[str, float]]]


class Column(Frozen):
    """A measured column; ``published`` is its name in the paper's file (default: ``name``).

    ``optional`` marks a column that some rows cannot have: it is then blank, not a hole.
    """

    name: str
    metric: MetricName
    published: str | None = None
    optional: bool = False


class Row(Frozen):
    """A row: the sweep's ``label``, or a published row (``hole`` says why it is not measured)."""

    name: str
    label: str | None = None
    published: str | None = None
    hole: str | None = None
    ours: bool = False

    @model_validator(mode="after")
    def _measured_or_published(self) -> Row:
        if self.label is None and (self.published is None or self.hole is None):
            raise ValueError("a row without label needs published and hole")
        return self


class Point(Frozen):
    """A point of a curve; ``x`` is left out on an axis of names."""

    name: str
    label: str
    x: float | None = None
    published: str | None = None


class Shown(Frozen):
    """A column of a picture grid: ``map`` is a label's final map, ``raw`` its classifier's CAM."""

    name: str
    show: Literal["image", "mask", "map", "raw"]
    label: str | None = None


class Side(Frozen):
    """One side of a contrast: the mean over the labels of a sweep."""

    name: str
    sweep: str
    labels: tuple[str, ...] = Field(min_length=1)


class Contrast(Frozen):
    """First minus second, paired by seed and image."""

    name: str
    first: Side
    second: Side
    published: str | None = None


class Artefact(Frozen):
    """What all artefacts have. ``name`` and ``paper`` come from the file's place."""

    paper: str
    name: str
    number: str
    title: str
    about: str = ""
    sweep: str

    @property
    def id(self) -> str:
        """``cpn/table4``."""
        return f"{self.paper}/{self.name}"

    def sweeps(self) -> frozenset[str]:
        """The sweeps whose trials fill the artefact."""
        return frozenset(sweep for sweep, _ in self.cells()) | {self.sweep}

    def cells(self) -> tuple[tuple[str, str], ...]:
        """The (sweep, label) pairs that stand in the artefact."""
        return ()


class TableSpec(Artefact):
    """Rows of labels against columns of metrics.

    ``reference`` is the row effects are taken from, ``headline`` the column whose order is compared
    with the paper's (default: the first), ``ordered`` says that the rows lie along an axis.
    """

    kind: Literal["table"]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    reference: str | None = None
    headline: str | None = None
    ordered: bool = False

    def cells(self) -> tuple[tuple[str, str], ...]:
        """Those of the rows that are measured."""
        return tuple((self.sweep, row.label) for row in self.rows if row.label is not None)


class CurveSpec(Artefact):
    """A metric along an axis."""

    kind: Literal["curve"]
    metric: MetricName
    axis: str
    log: bool = False
    points: tuple[Point, ...]

    def cells(self) -> tuple[tuple[str, str], ...]:
        """Those of the points."""
        return tuple((self.sweep, point.label) for point in self.points)


class PicturesSpec(Artefact):
    """Images beside their maps."""

    kind: Literal["pictures"]
    images: int
    columns: tuple[Shown, ...]

    def cells(self) -> tuple[tuple[str, str], ...]:
        """Those of the columns that show maps."""
        return tuple((self.sweep, c.label) for c in self.columns if c.label is not None)


class ContrastSpec(Artefact):
    """Paired differences between groups of trials."""

    kind: Literal["contrast"]
    metric: MetricName
    contrasts: tuple[Contrast, ...]

    def cells(self) -> tuple[tuple[str, str], ...]:
        """Those of both sides of every contrast."""
        sides = [side for one in self.contrasts for side in (one.first, one.second)]
        pairs = [(side.sweep, label) for side in sides for label in side.labels]
        return tuple(dict.fromkeys(pairs))


AnySpec = TableSpec | CurveSpec | PicturesSpec | ContrastSpec
_ADAPTER: TypeAdapter[AnySpec] = TypeAdapter(Annotated[AnySpec, Field(discriminator="kind")])


def _folder(package: str) -> Path:
    return Path(str(resources.files(f"camsweep.reports.{package}")))


def _first_error(path: Path, error: ValidationError) -> InputError:
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    return InputError(f"{path}: {key}: {first['msg']}")


def read_spec(path: Path, paper: str) -> AnySpec:
    """The artefact spec in a YAML file; its name is the file's stem.

    Raises:
        InputError: the file is not what a spec may be.
    """
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a mapping; start with `kind: table`")
    try:
        return _ADAPTER.validate_python({**content, "paper": paper, "name": path.stem})
    except ValidationError as error:
        raise _first_error(path, error) from None


@lru_cache(maxsize=1)
def shipped() -> dict[str, AnySpec]:
    """Every shipped artefact by id, tables before figures, in number order."""
    specs = [
        read_spec(path, folder.name)
        for folder in sorted(p for p in _folder("specs").iterdir() if p.is_dir())
        for path in sorted(folder.glob("*.yaml"))
    ]
    kinds = {"table": 0, "curve": 1, "contrast": 2, "pictures": 3}
    specs.sort(key=lambda spec: (spec.paper, kinds[spec.kind], spec.name))
    return {spec.id: spec for spec in specs}


@lru_cache(maxsize=8)
def paper(name: str) -> Paper:
    """The published numbers of a paper.

    Raises:
        InputError: no such paper, or its file is wrong.
    """
    path = _folder("papers") / f"{name}.yaml"
    if not path.is_file():
        known = [p.stem for p in _folder("papers").glob("*.yaml")]
        raise InputError(f"unknown paper '{name}'{nearest(name, known)}")
    try:
        return Paper.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise _first_error(path, error) from None


def select(names: list[str]) -> list[AnySpec]:
    """The artefacts asked for: ids (``cpn/table4``) and papers (``cpn``), in the shipped order.

    Raises:
        InputError: a name that is neither, with the nearest that is.
    """
    specs = shipped()
    papers = {spec.paper for spec in specs.values()}
    wanted: set[str] = set()
    for name in names:
        if name in specs:
            wanted.add(name)
        elif name in papers:
            wanted |= {spec.id for spec in specs.values() if spec.paper == name}
        else:
            hint = nearest(name, [*specs, *papers])
            raise InputError(f"unknown artefact '{name}'{hint}")
    return [spec for spec in specs.values() if spec.id in wanted]
