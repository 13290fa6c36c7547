"""What the specs of artefacts are made of: rows, columns, points, sides."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from camsweep.reports.published import Frozen
from camsweep.shards.errors import nearest

METRICS = (
    "miou",
    "miou_raw",
    "miou_refined",
    "miou_is_cam",
    "miou_estimated",
    "miou_maps",
    "miou_pseudo",
    "miou_segment",
    "background_iou",
    "foreground_iou",
    "precision_pseudo",
    "recall_pseudo",
)
#: What a picture grid shows of a trial: its maps, and masks drawn as the ground truth is.
MASKS = ("pseudo", "segment")
RESULTS = ("map", "raw", *MASKS)


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


class Column(Frozen):
    """A column; ``published`` is its name in the paper's file (default: ``name``).

    Without ``metric`` it is published only, and ``hole`` says why none of it can be measured.
    ``optional`` marks a column that some rows cannot have: it is then blank, not a hole.
    """

    name: str
    metric: MetricName | None = None
    published: str | None = None
    optional: bool = False
    hole: str | None = None

    @model_validator(mode="after")
    def _measured_or_published(self) -> Column:
        if (self.metric is None) == (self.hole is None):
            raise ValueError("a column needs either metric or hole")
        return self


class Row(Frozen):
    """A row: the sweep's ``label``, or a published row (``hole`` says why it is not measured).

    ``facts`` are its words in the table's ``facts`` columns. ``labels`` are by the name of a column
    that another cell of the sweep measures than ``label``.
    """

    name: str
    label: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    published: str | None = None
    hole: str | None = None
    ours: bool = False
    facts: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _measured_or_published(self) -> Row:
        if self.label is None and (self.published is None or self.hole is None):
            raise ValueError("a row without label needs published and hole")
        if self.label is not None and self.hole:
            raise ValueError("a row with label is measured: it has no hole")
        if self.label is None and self.labels:
            raise ValueError("labels: only beside label")
        return self

    def label_of(self, column: str) -> str | None:
        """The sweep's cell that a column of the row is measured by; None where it is not."""
        return self.labels.get(column, self.label)


class Point(Frozen):
    """A point of a curve; ``x`` is left out on an axis of names."""

    name: str
    label: str
    x: float | None = None
    published: str | None = None


class Shown(Frozen):
    """A column of a picture grid: ``map`` is a label's final map, ``raw`` its classifier's CAM.

    ``pseudo`` are its pseudo masks and ``segment`` its segmentations, in the classes' colours.
    ``show: hole`` draws nothing but a named gap, and ``hole`` says why. Images and masks are those
    of ``label`` where it is given, else of the first label that has pictures.
    """

    name: str
    show: Literal["image", "mask", "map", "raw", "pseudo", "segment", "hole"]
    label: str | None = None
    hole: str | None = None

    @model_validator(mode="after")
    def _shown_or_hole(self) -> Shown:
        if (self.show == "hole") != (self.hole is not None):
            raise ValueError("hole (why there is nothing) goes with show: hole, and only with it")
        if self.show in RESULTS and self.label is None:
            raise ValueError(f"show: {self.show} needs a label")
        return self


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
