"""The leaderboard as a table of text, and the sentences under it."""

from __future__ import annotations

import math

from camsweep.reports import seeded
from camsweep.reports.board.entry import Leaderboard
from camsweep.reports.board.groups import LEVEL
from camsweep.reports.board.ranking import ESTIMATED, TESTED
from camsweep.reports.exhibit import Grid
from camsweep.reports.repeated import MARK, points
from camsweep.reports.words import (
    BLANK,
    METRIC_TITLES,
    counted,
    duration,
    measured,
    memory,
    percent,
    scaled,
)


def ranks(tied: tuple[int, ...]) -> str:
    """``1-4, 6`` of (1, 2, 3, 4, 6), with an en dash; blank where a place stands alone."""
    if not tied:
        return "not tested"
    if len(tied) < 2:
        return BLANK
    runs: list[list[int]] = []
    for rank in tied:
        if runs and rank == runs[-1][-1] + 1:
            runs[-1].append(rank)
        else:
            runs.append([rank])
    return ", ".join(f"{r[0]}" if len(r) == 1 else f"{r[0]}{BLANK}{r[-1]}" for r in runs)


def leaderboard_caption(board: Leaderboard) -> str:
    """On which data, and how the groups were made."""
    images = f", {board.images:,} images" if board.images else ""
    adjusted = f"Holm over {board.pairs} pairs" if board.pairs > 1 else "one pair at most"
    parts = [
        f"Measured on data set {board.selection.data}, profile {board.selection.profile}{images}. "
        "Mean over seeds and 95 % interval, in percent. Tied: the places that a paired t test over "
        f"seeds, with the images' noise, does not separate (level {LEVEL:g}, {adjusted}; the noise "
        "of a training is pooled over all variants with these seeds).",
        "Settings as the method has them are left out of the names.",
    ]
    if board.metric == "miou" and not math.isnan(board.floor):
        parts.insert(
            1,
            f"No-skill floor (uniform maps with the true image labels): {percent(board.floor)}.",
        )
    if any(ESTIMATED in e.name for e in board.entries):
        parts.append(
            "† labels estimated by the maps' own background; all others are taken at their best "
            "background threshold."
        )
    again = [e.repeated for e in board.entries if e.repeated is not None]
    unsteady = [found for found in again if not found.reproducible]
    if unsteady:
        parts.append(
            f"{MARK.strip()} not reproducible: run again with the same seed, "
            f"{sum(r.differing for r in unsteady)} of {sum(r.trials for r in unsteady)} repeated "
            "trials gave other numbers, by up to "
            f"{points(max(r.spread for r in unsteady))} mIoU points."
        )
    if again and len(again) > len(unsteady):
        steady = sum(r.trials for r in again if r.reproducible)
        others = " of other variants" if unsteady else ""
        parts.append(f"{counted(steady, 'trial')}{others} repeated with the same seed: identical.")
    parts += seeded.summary(board.selection)
    if len(board.entries) > TESTED:
        parts.insert(1, f"Places beyond {TESTED} are not tested.")
    damaged = [t for e in board.entries for t in e.trials if t.skipped]
    if damaged:
        samples = len({sample for trial in damaged for sample in trial.skipped})
        parts.append(
            f"{counted(samples, 'damaged sample')} left out in {counted(len(damaged), 'trial')}."
        )
    if board.left_out:
        plural = "s" if board.left_out > 1 else ""
        parts.append(
            f"{board.left_out} older trial{plural} left out: the newest of a variant and seed "
            "counts."
        )
    return " ".join(parts)


def leaderboard_grid(board: Leaderboard) -> Grid:
    """The leaderboard as a table of text."""
    title = METRIC_TITLES.get(board.metric, board.metric)
    headers: tuple[str, ...] = (
        "#", "variant", title, "tied", "background", "foreground", "seeds", "train", "images/s",
        "peak memory", "parameters", "in",
    )  # fmt: skip
    rows: list[tuple[str, ...]] = []
    for e in board.entries:
        more = f" +{len(e.labels) - 1}" if len(e.labels) > 1 else ""
        rows.append(
            (
                str(e.rank), e.name, measured(e.estimate), ranks(e.tied),
                BLANK if e.background is None else percent(e.background.mean),
                BLANK if e.foreground is None else percent(e.foreground.mean),
                str(len(e.trials)), duration(e.train_seconds), scaled(e.images_per_second),
                memory(e.peak_memory), scaled(e.parameters), (e.labels or (BLANK,))[0] + more,
            )
        )  # fmt: skip
    if any(e.repeated for e in board.entries):
        headers = (*headers, "repeated")
        told = (e.repeated.text() if e.repeated else BLANK for e in board.entries)
        rows = [(*row, text) for row, text in zip(rows, told, strict=True)]
    return Grid("Leaderboard", leaderboard_caption(board), headers, tuple(rows))
