"""A store -> a folder with the page, the tables and the images of a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from camsweep.reports import export, images, site
from camsweep.reports.board.showing import board_exhibit
from camsweep.reports.exhibit import Exhibit
from camsweep.reports.report import RESAMPLES, Report, Say, assemble
from camsweep.shards.errors import InputError, nearest
from camsweep.shards.places.files import write_whole

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


def write(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all."""
    write_whole(path, content.encode("utf-8") if isinstance(content, str) else content)


def _write_tables(out: Path, shown: Sequence[Exhibit], formats: Sequence[str]) -> list[Path]:
    written = []
    for exhibit in shown:
        files = {}
        for part, content in exhibit.grids:
            name = exhibit.file_name(part)
            files[f"{name}.md"] = export.markdown(content)
            files[f"{name}.tex"] = export.latex(content, name)
        for part, numbers in exhibit.records:
            files[f"{exhibit.file_name(part)}.csv"] = export.csv_text(numbers)
        for name, text in files.items():
            if name.rpartition(".")[2] in formats:
                write(out / name, text)
                written.append(out / name)
    return written


def _write_images(
    out: Path, shown: Sequence[Exhibit], forms: Sequence[str], say: Say
) -> list[Path]:
    written: list[Path] = []
    drawn = [(e.file_name(d.name), d.figure) for e in shown for d in e.figures]
    if not drawn or not forms:
        return written
    try:
        with images.renderer() as render:
            for name, figure in drawn:
                for form in forms:
                    path = out / f"{name}.{form}"
                    write(path, render(figure, form))
                    written.append(path)
    except images.BrowserMissingError as error:
        say(f"images: {error}")
    return written


def build(request: Request, say: Say = print) -> list[Path]:
    """Make a report.

    Args:
        request: what of which store, and where to.
        say: gets one line for each thing the user should know (no Chromium, other profiles).

    Returns:
        The files written, the page first where there is one.

    Raises:
        InputError: no such store, profile, data set or artefact.
    """
    report = assemble(
        request.store,
        request.artefacts,
        request.profile,
        request.data,
        resamples=request.resamples,
        seed=request.seed,
        say=say,
    )
    written = []
    formats = request.formats or ("html",)
    wanted = tuple(f for f in images.FORMATS if f in formats)
    if wanted and "html" not in formats and not images.has_browser():
        formats = ("html", *formats)  # so that what was asked for can be seen at all
    if "html" in formats:
        path = request.out / "index.html"
        write(path, _page(report, request.command))
        written.append(path)
    shown = [board_exhibit(report.board), *report.exhibits]
    written += _write_tables(request.out, shown, formats)
    forms = wanted if request.formats is not None else ("png", "svg")
    return written + _write_images(request.out, shown, forms, say)


def _page(report: Report, command: str) -> str:
    return site.page(report, site.Facts(command, metadata.version("camsweep")))
