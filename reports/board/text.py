"""The sentences under a leaderboard."""

from __future__ import annotations

import math

from camsweep.reports import seeded
from camsweep.reports.board.entry import Leaderboard
from camsweep.reports.board.groups import LEVEL
from camsweep.reports.board.ranking import DETAILED, ESTIMATED, TESTED
from camsweep.reports.kinds import SEGMENTATION
from camsweep.reports.repeated import MARK, points
from camsweep.reports.words import BLANK, counted, percent

# Fewer resamples than this are told.
FEW = 1000


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


def interval(low: int, high: int) -> str:
    """``1–4``, ``2``; blank where the rank's interval was not computed."""
    if not low:
        return BLANK
    return f"{low}" if low == high else f"{low}{BLANK}{high}"


def _about(board: Leaderboard) -> list[str]:
    """What was ranked, and how each column came about."""
    images = f", {board.images:,} images" if board.images else ""
    adjusted = f"Holm over {board.pairs:,} pairs" if board.pairs > 1 else "one pair at most"
    parts = [
        f"Measured on data set {board.selection.data}, profile {board.selection.profile}{images}. "
        "Mean over seeds and 95 % interval, in percent."
    ]
    if board.kind:
        parts.append(
            f"Of {board.kind}: nothing that was measured on something else is among these."
        )
    if board.asked:
        parts.append(f"Only {board.asked}: ranks and tests are among these.")
    if board.variants > len(board.entries):
        parts.append(f"The best {len(board.entries):,} of {board.variants:,} variants.")
    if 0 < board.resamples < FEW:
        parts.append(f"Intervals from {board.resamples:,} resamples.")
    parts += [
        "Variants that share a group's letter (tied) are not separated by a paired t test over "
        f"seeds, with the images' noise (level {LEVEL:g}, {adjusted}; the noise of a training is "
        "pooled over all variants with these seeds).",
        "Ranks: the 95 % interval of the place over resamples of images and seeds. "
        "P(better than next): how often a training of a variant beats one of the next place.",
    ]
    if board.variants > TESTED:
        parts.append(f"Places beyond {TESTED} are not tested.")
    if board.variants > DETAILED:
        parts.append(
            f"Images were resampled for the best {DETAILED} places alone; later ones have the "
            "numbers of their rows, with Student's interval over seeds, and rank intervals are "
            "without them."
        )
    if board.unknown:
        parts.append(
            f"{counted(board.unknown, 'variant')} left out, for which the metric is not known."
        )
    parts.append("Settings as the method has them are left out of the names.")
    return parts


def _floor(board: Leaderboard) -> str:
    """What has no skill: what a chain's end is measured against knows no image labels."""
    segmented = any(e.stage == SEGMENTATION for e in board.entries)
    return "background alone" if segmented else "uniform maps with the true image labels"


def leaderboard_caption(board: Leaderboard) -> str:
    """On which data, and how the groups were made; where nothing is done, that."""
    if not board.variants:
        failed = sum(not trial.done for trial in board.selection.trials)
        return f"No trial is done yet{f', {failed:,} failed' if failed else ''}."
    parts = _about(board)
    if board.metric == "miou" and not math.isnan(board.floor):
        parts.insert(1, f"No-skill floor ({_floor(board)}): {percent(board.floor)}.")
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
