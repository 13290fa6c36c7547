"""What an artefact spec and a paper's numbers look like, and where they are found."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from camsweep.reports.published import Frozen, Paper
from camsweep.reports.specparts import Column, Contrast, MetricName, Point, Row, Shown
from camsweep.shards.errors import InputError, nearest


class Artefact(Frozen):
    """What all artefacts have. ``name`` and ``paper`` come from the file's place.

    ``measured_on`` says what the published numbers were measured on where that is not what the
    paper's others were.
    """

    paper: str
    name: str
    number: str
    title: str
    about: str = ""
    sweep: str = ""
    measured_on: str | None = None

    @property
    def id(self) -> str:
        """``cpn/table4``."""
        return f"{self.paper}/{self.name}"

    def sweeps(self) -> frozenset[str]:
        """The sweeps whose trials fill the artefact."""
        named = {self.sweep} if self.sweep else set()
        return frozenset(sweep for sweep, _ in self.cells()) | named

    def cells(self) -> tuple[tuple[str, str], ...]:
        """The (sweep, label) pairs that stand in the artefact."""
        return ()

    @model_validator(mode="after")
    def _has_sweep(self) -> Artefact:
        if self.cells() and not self.sweep:
            raise ValueError("sweep: missing, and some of it has a label")
        return self


class TableSpec(Artefact):
    """Rows of labels against columns of metrics.

    ``facts`` are columns of words before the numbers. ``reference`` is the row effects are taken
    from, ``headline`` the column whose order is compared with the paper's (default: the first),
    ``ordered`` says that the rows lie along an axis, ``cumulative`` names the rows of which each
    adds a part to the one before it: of them a waterfall is drawn.
    """

    kind: Literal["table"]
    columns: tuple[Column, ...] = Field(min_length=1)
    rows: tuple[Row, ...] = Field(min_length=1)
    facts: tuple[str, ...] = ()
    reference: str | None = None
    headline: str | None = None
    ordered: bool = False
    cumulative: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _names_are_known(self) -> TableSpec:
        rows = [row.name for row in self.rows]
        columns = [column.name for column in self.columns]
        if self.reference is not None and self.reference not in rows:
            raise ValueError(f"reference: no row '{self.reference}'{nearest(self.reference, rows)}")
        for name in self.cumulative:
            if name not in rows:
                raise ValueError(f"cumulative: no row '{name}'{nearest(name, rows)}")
        if self.headline is not None and self.headline not in columns:
            hint = nearest(self.headline, columns)
            raise ValueError(f"headline: no column '{self.headline}'{hint}")
        for row in self.rows:
            for name in row.facts:
                if name not in self.facts:
                    hint = nearest(name, self.facts)
                    raise ValueError(f"rows: {row.name}: no facts column '{name}'{hint}")
            for name in row.labels:
                if name not in columns:
                    raise ValueError(
                        f"rows: {row.name}: no column '{name}'{nearest(name, columns)}"
                    )
        return self

    def cells(self) -> tuple[tuple[str, str], ...]:
        """Those of the rows that are measured, in any of their columns."""
        measured = [column.name for column in self.columns if column.metric is not None]
        labels = [row.label_of(name) for row in self.rows for name in measured]
        return tuple(dict.fromkeys((self.sweep, label) for label in labels if label is not None))


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
    """Every shipped artefact by id, paper by paper, in the order of its numbers."""
    specs = [
        read_spec(path, folder.name)
        for folder in sorted(p for p in _folder("specs").iterdir() if p.is_dir())
        for path in sorted(folder.glob("*.yaml"))
    ]
    words = ("Components", "Table", "Figure", "Section")
    # As in the paper: its tables, its figures, then what has no number of that kind.
    specs.sort(
        key=lambda spec: (
            spec.paper,
            words.index(word) if (word := spec.number.split()[0]) in words else len(words),
            spec.number,
        )
    )
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
