"""Exhibits -> the files of their tables and figures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from camsweep.reports import images
from camsweep.reports.choosing import Say
from camsweep.reports.exhibit import Exhibit, Grid
from camsweep.reports.formats.latex import document, latex
from camsweep.reports.formats.markdown import markdown
from camsweep.reports.formats.tables import csv_text
from camsweep.shards.places.files import write_whole


def write(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all."""
    if isinstance(content, str):
        # Words of a command line need not be UTF-8; what is not is shown by its code.
        content = content.encode("utf-8", errors="backslashreplace")
    write_whole(path, content)


def file_name(exhibit: Exhibit, part: str) -> str:
    """The name of an exhibit's file without its ending: letters, digits, dots, dashes alone."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", exhibit.file_name(part)).lstrip(".") or "table"


def write_tables(
    out: Path, shown: Sequence[Exhibit], formats: Sequence[str], drawn: Sequence[Path]
) -> list[Path]:
    """Write the tables of exhibits.

    Args:
        out: the folder.
        shown: the exhibits.
        formats: any names; tex, md and csv are written here.
        drawn: the images in the folder, for Markdown.

    Returns:
        The files; with tex among them ``tables.tex``, which shows all tables.
    """
    files: dict[str, str] = {}
    for exhibit in shown:
        if "md" in formats:
            files |= _markdown(exhibit, {path.name for path in drawn})
        if "tex" in formats:
            for part, grid in exhibit.grids:
                name = file_name(exhibit, part)
                files[f"{name}.tex"] = latex(grid, name)
        if "csv" in formats:
            for part, numbers in exhibit.records:
                files[f"{file_name(exhibit, part)}.csv"] = csv_text(numbers)
    if "tex" in formats:
        files["tables.tex"] = document([name for name in files if name.endswith(".tex")])
    for name, text in files.items():
        write(out / name, text)
    return [out / name for name in files]


def _markdown(exhibit: Exhibit, drawn: set[str]) -> dict[str, str]:
    """The Markdown files of an exhibit; its images stand in the first."""
    pictures = []
    for figure in exhibit.figures:
        # One that scales, where both were drawn.
        names = [f"{file_name(exhibit, figure.name)}.{form}" for form in ("svg", "png")]
        pictures += [(name, figure.alt) for name in names if name in drawn][:1]
    grids = list(exhibit.grids)
    if not grids and pictures:
        title = f"{exhibit.number}: {exhibit.title}" if exhibit.number else exhibit.title
        grids = [("", Grid(title, exhibit.caption, (), ()))]
    return {
        f"{file_name(exhibit, part)}.md": markdown(grid, () if index else pictures)
        for index, (part, grid) in enumerate(grids)
    }


def _jobs(shown: Sequence[Exhibit], forms: Sequence[str]) -> Iterator[images.Job]:
    for exhibit in shown:
        for drawn in exhibit.figures:
            for form in forms:
                yield images.Job(f"{file_name(exhibit, drawn.name)}.{form}", drawn.figure, form)


def write_images(out: Path, shown: Sequence[Exhibit], forms: Sequence[str], say: Say) -> list[Path]:
    """Draw the figures of exhibits; where no browser draws, `say` gets a line.

    Args:
        out: the folder.
        shown: the exhibits.
        forms: of `images.FORMATS`.
        say: see above.

    Returns:
        The files that were written.
    """
    written: list[Path] = []
    jobs = list(_jobs(shown, forms))
    try:
        for job, content in images.drawn(jobs) if jobs else ():
            write(out / job.name, content)
            written.append(out / job.name)
    except images.BrowserMissingError as error:
        say(f"images: {error}")
    return written
