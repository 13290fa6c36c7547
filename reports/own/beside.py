"""The published numbers beside a user's own sweep, where it names a shipped artefact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from camsweep.reports.artefacts import unlike_paper
from camsweep.reports.own.filling import METRIC, Sheet
from camsweep.reports.spec import CurveSpec, TableSpec, paper, shipped
from camsweep.reports.verdicts import Pair, judge


@dataclass(frozen=True)
class Beside:
    """What a row has of a paper.

    Attributes:
        published: in percent.
        difference: measured minus published in points; None where they can't be compared.
        verdict: in words; empty where nothing is measured.
    """

    published: float
    difference: float | None
    verdict: str


@dataclass(frozen=True)
class Paper:
    """Published numbers by the sweep's labels.

    Attributes:
        rows: those that have one.
        measured_on: what the numbers were measured on.
        unlike: why measured ones can't be compared with them; empty where they can.
        remark: what must be said where there is nothing to lay beside.
    """

    rows: Mapping[str, Beside]
    measured_on: str = ""
    unlike: str = ""
    remark: str = ""


def beside(sheet: Sheet) -> Paper:
    """The mIoU that the artefact named by ``reference:`` publishes for labels of the sweep."""
    name = sheet.form.reference
    if not name:
        return Paper({})
    spec = shipped().get(name)
    if spec is None:
        return Paper({}, remark=f"reference: {name} is no artefact, so nothing stands beside.")
    about = paper(spec.paper)
    given = about.artefacts.get(spec.name, {})
    found: dict[str, float] = {}
    if isinstance(spec, CurveSpec):
        for point in spec.points:
            number = next(iter(given.get(point.published or "", {}).values()), None)
            if number is not None and spec.metric == METRIC:
                found[point.label] = number
    elif isinstance(spec, TableSpec):
        columns = [column for column in spec.columns if column.metric == METRIC]
        for row in spec.rows:
            for column in columns:
                label = row.label_of(column.name)
                number = given.get(row.published or "", {}).get(column.published or column.name)
                # Of two columns that the same cell measures the first counts.
                if label is not None and number is not None:
                    found.setdefault(label, number)
    rows = [row for row in sheet.rows if row.label in found]
    if not rows:
        return Paper(
            {}, remark=f"No row has a label of {name}, so no published number stands here."
        )
    unlike = unlike_paper(about, spec.name, sheet.selection, sheet.trials)
    judged = judge([Pair(row.estimate, found[row.label]) for row in rows], unlike)
    laid = {
        row.label: Beside(
            found[row.label],
            None if unlike or row.estimate is None else 100 * row.estimate.mean - found[row.label],
            verdict.text if verdict is not None else "",
        )
        for row, verdict in zip(rows, judged, strict=True)
    }
    return Paper(laid, spec.measured_on or about.measured_on, unlike)
