"""The columns of the leaderboard on the page: what is shown and what is sorted by."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from camsweep.reports.board.entry import Entry
from camsweep.reports.board.text import ranks
from camsweep.reports.markup import Html, join, tag
from camsweep.reports.measure import Estimate
from camsweep.reports.words import BLANK, bounds, duration, memory, percent, scaled

#: The sets that the page shows one at a time; a column of no set is always there.
SETS = {"quality": "Quality", "places": "Places", "objects": "Object sizes", "cost": "Cost"}


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        key: its name in the markup.
        title: its heading; a dash is where it may break.
        about: what it is, as its heading's tooltip and for those who hear the page.
        value: what is sorted by: a number (NaN comes last) or text.
        cell: what is shown.
        set: of `SETS`, or empty.
        high: whether high is good, so that the first click sorts the highest up.
        left: whether its text begins at the left.
    """

    key: str
    title: str
    about: str
    value: Callable[[Entry], float | str]
    cell: Callable[[Entry], object]
    set: str = ""
    high: bool = False
    left: bool = False


def estimate_cell(estimate: Estimate | None) -> Html:
    """A mean with its interval."""
    if estimate is None or math.isnan(estimate.mean):
        return join(BLANK)
    return join(tag("b", percent(estimate.mean)), tag("small", bounds(estimate)))


def mean(estimate: Estimate | None) -> float:
    """What an estimate is sorted by."""
    return math.nan if estimate is None else estimate.mean


def variant_cell(entry: Entry) -> Html:
    """The name, what the trials stand for in sweeps, and what repeats of them gave."""
    more = f" +{len(entry.labels) - 2}" if len(entry.labels) > 2 else ""
    again = tag("small", f"repeated: {entry.repeated.text()}") if entry.repeated else None
    kind = " · ".join(part for part in (entry.backbone, entry.stage) if part)
    return join(
        entry.name,
        tag("small", ", ".join(entry.labels[:2]) + more) if entry.labels else None,
        tag("small", kind) if kind else None,
        again,
    )


def bar(estimate: Estimate, low: float, high: float) -> Html:
    """The interval as a line with a dot, on a scale common to all rows; numbers stand beside it."""
    width, height = 84, 18

    def x(value: float) -> str:
        return f"{4 + (width - 8) * (value - low) / max(high - low, 1e-9):.1f}"

    middle = height / 2
    parts = [tag("path", d=f"M4 {middle}H{width - 4}")]
    if not math.isnan(estimate.low):
        ends = {"x1": x(estimate.low), "x2": x(estimate.high)}
        parts.append(tag("line", **ends, y1=middle, y2=middle))
    if not math.isnan(estimate.mean):
        parts.append(tag("circle", cx=x(estimate.mean), cy=middle, r=4))
    return tag("svg", *parts, class_="bar", width=width, height=height, aria_hidden="true")


def hours(value: float) -> str:
    """``0.25 h`` with three digits; blank where nothing was measured."""
    return BLANK if math.isnan(value) else f"{value:.3g} h"


def _ranks(entry: Entry) -> str:
    if not entry.rank_low:
        return BLANK
    if entry.rank_low == entry.rank_high:
        return str(entry.rank_low)
    return f"{entry.rank_low}{BLANK}{entry.rank_high}"


def _quality(key: str, title: str, about: str, of: Callable[[Entry], Estimate | None]) -> Column:
    return Column(
        key, title, about, lambda e: mean(of(e)), lambda e: estimate_cell(of(e)),
        set="quality", high=True,
    )  # fmt: skip


def _objects(key: str, title: str, about: str, of: Callable[[Entry], Estimate | None]) -> Column:
    return Column(
        key, title, about, lambda e: mean(of(e)), lambda e: estimate_cell(of(e)),
        set="objects", high=True,
    )  # fmt: skip


def _cost(
    key: str, title: str, about: str, value: Callable[[Entry], float], show: Callable[[float], str]
) -> Column:
    return Column(key, title, about, value, lambda e: show(value(e)), set="cost")


def columns(metric_title: str, low: float, high: float) -> tuple[Column, ...]:
    """All columns in order.

    Args:
        metric_title: of the metric ranked by.
        low: left end of the interval bars' scale.
        high: its right end.
    """
    return (
        Column("rank", "#", "Place", lambda e: e.rank, lambda e: e.rank),
        Column("variant", "variant", "Method and what sets it apart", lambda e: e.name.lower(),
               variant_cell, left=True),
        Column("metric", metric_title, f"{metric_title}, mean over seeds with its 95 % interval",
               lambda e: mean(e.estimate), lambda e: estimate_cell(e.estimate), high=True),
        Column("bar", "95 % interval", "The interval on a scale common to all rows",
               lambda e: e.estimate.low, lambda e: bar(e.estimate, low, high), high=True,
               left=True),
        Column("group", "group", "Variants that share a letter are not separated by the test",
               lambda e: e.group, lambda e: e.group or BLANK, left=True),
        Column("seeds", "seeds", "Number of seeds", lambda e: len(e.trials),
               lambda e: len(e.trials), high=True),
        Column("ranks", "rank interval", "95 % interval of the place",
               lambda e: e.rank_low or math.nan, _ranks, set="places"),
        Column("better", "P(better than next)",
               "How often another training of it beats one of the next place",
               lambda e: e.better, lambda e: percent(e.better), set="places", high=True),
        Column("tied", "tied with", "Places that the test does not separate from it",
               lambda e: len(e.tied) or math.nan, lambda e: ranks(e.tied), set="places"),
        _quality("background", "back-ground", "IoU of the background", lambda e: e.background),
        _quality("foreground", "fore-ground", "Mean IoU of the foreground classes",
                 lambda e: e.foreground),
        _quality("precision", "pre-cision", "Mean precision of the foreground classes",
                 lambda e: e.precision),
        _quality("recall", "recall", "Mean recall of the foreground classes", lambda e: e.recall),
        _objects("small", "small", "Foreground IoU, regions below 5 % of an image",
                 lambda e: e.small),
        _objects("medium", "medium", "Foreground IoU, regions of 5 to 20 % of an image",
                 lambda e: e.medium),
        _objects("large", "large", "Foreground IoU, regions above 20 % of an image",
                 lambda e: e.large),
        _cost("train", "train", "Mean training time of a trial", lambda e: e.train_seconds,
              duration),
        Column("speed", "im-ages/s", "Mean training throughput", lambda e: e.images_per_second,
               lambda e: scaled(e.images_per_second), set="cost", high=True),
        _cost("memory", "peak memory", "Largest peak of a trial", lambda e: e.peak_memory, memory),
        _cost("parameters", "para-meters", "Of the network", lambda e: e.parameters, scaled),
        _cost("gpu", "GPU hours", "Sum over the seeds, all stages", lambda e: e.gpu_hours, hours),
        _cost("cpu", "CPU hours", "Sum over the seeds, all stages", lambda e: e.cpu_hours, hours),
    )  # fmt: skip
