"""A store -> a folder with the page, the tables and the images of a report."""

from __future__ import annotations

import errno
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from camsweep.reports import images
from camsweep.reports.choosing import Say
from camsweep.reports.exhibit import Exhibit
from camsweep.reports.report import RESAMPLES, Report, assemble, of_papers
from camsweep.reports.site.page import page
from camsweep.reports.site.provenance import Facts
from camsweep.reports.writing import write, write_images, write_tables
from camsweep.shards.errors import InputError, nearest

FORMATS = ("html", "png", "svg", "pdf", "tex", "md", "csv")


@dataclass(frozen=True)
class Request:
    """What to report.

    Attributes:
        store: path or URL.
        out: the folder written to.
        artefacts: ids and papers; empty for every artefact that has a trial.
        formats: of `FORMATS`, or None for html, and png and svg if a Chromium is found.
        profile: a profile's name, or None for the one with most trials.
        data: the beginning of a data digest, or None.
        command: what the user typed, for the footer.
        seed: of the bootstrap.
        resamples: of the bootstrap.
    """

    store: str
    out: Path
    artefacts: tuple[str, ...] = ()
    formats: tuple[str, ...] | None = None
    profile: str | None = None
    data: str | None = None
    command: str = "camsweep report"
    seed: int = 0
    resamples: int = RESAMPLES


def parse_formats(text: str | None, known: tuple[str, ...] = FORMATS) -> tuple[str, ...] | None:
    """``"html,png"`` as a tuple; None stays None.

    Raises:
        InputError: an unknown format, with the nearest known one.
    """
    if text is None:
        return None
    names = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    for name in names:
        if name not in known:
            raise InputError(f"--format {name}: not a format{nearest(name, known)}")
    if not names:
        raise InputError(f"--format: empty; one of: {', '.join(known)}")
    return names


def check(request: Request) -> None:
    """Find what is wrong with a request before anything is computed.

    Raises:
        InputError: no such artefact, or the folder is a file or can't be written to.
    """
    of_papers(request.artefacts)
    out = request.out
    # The folder itself is made with its first file: wrong input leaves nothing behind.
    there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    probe = there / f".probe-{uuid.uuid4().hex}"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.EEXIST, errno.ENOTDIR):
            reason = "a file is in the way"
        line = f"--out {out}: {reason}; name a folder you may write to"
        raise InputError(line) from error


def build(request: Request, say: Say = print) -> list[Path]:
    """Make a report.

    Args:
        request: what of which store, and where to.
        say: gets one line for each thing the user should know (no Chromium, other profiles).

    Returns:
        The files written, the page first where there is one. Other files that the folder holds
        stay as they are.

    Raises:
        InputError: no such store, profile, data set or artefact, or no folder to write to.
    """
    check(request)
    return publish(gather(request, say), request, say)


def gather(request: Request, say: Say) -> Report:
    """All that a request's report shows.

    Raises:
        InputError: no such store, profile, data set or artefact.
    """
    return assemble(
        request.store,
        request.artefacts,
        request.profile,
        request.data,
        resamples=request.resamples,
        seed=request.seed,
        say=say,
    )


def publish(report: Report, request: Request, say: Say, refresh: int | None = None) -> list[Path]:
    """Write a report's files.

    Args:
        report: what is shown.
        request: where to and in which formats.
        say: gets a line where images can't be drawn.
        refresh: after how many seconds a browser reads the page again; None for never.
    """
    written: list[Path] = []
    formats = request.formats or ("html",)
    wanted = tuple(f for f in images.FORMATS if f in formats)
    if wanted and "html" not in formats and not images.has_browser():
        formats = ("html", *formats)  # so that what was asked for can be seen at all
    if "html" in formats:
        written.append(write_page(report, request, refresh))
    shown = everything(report)
    drawn = write_images(request.out, shown, wanted if request.formats else ("png", "svg"), say)
    # Tables come last: Markdown shows the images that there are.
    return [*written, *write_tables(request.out, shown, formats, drawn), *drawn]


def write_page(report: Report, request: Request, refresh: int | None = None) -> Path:
    """Write the page alone; ``refresh`` as for `publish`."""
    path = request.out / "index.html"
    facts = Facts(request.command, metadata.version("camsweep"), refresh)
    write(path, page(report, facts))
    return path


def everything(report: Report) -> Sequence[Exhibit]:
    """All exhibits of a report, the selection's leaderboards first."""
    return [*report.ranked[: len(report.own_boards)], *report.exhibits]
