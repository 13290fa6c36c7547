"""The qualitative grid: image, mask and maps side by side, as PNG tiles and as one figure."""

from __future__ import annotations

import base64
import html
import io
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from PIL import Image
from plotly.colors import sample_colorscale, unlabel_rgb

from camsweep.reports.cells import gather, one_overrides
from camsweep.reports.figures import COLOURS, FONT, TEXT, WIDTH
from camsweep.reports.load import Selection, Trial, read_pictures
from camsweep.reports.spec import PicturesSpec
from camsweep.reports.specparts import MASKS, RESULTS
from camsweep.sweeps.store import Store

Pixels = NDArray[np.uint8]
IGNORE = 255


@dataclass(frozen=True)
class Pictures:
    """Tiles as PNG bytes: ``rows`` are (caption, one tile a column, None where there is none)."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[bytes | None, ...]], ...]


def _heat() -> Pixels:
    """Inferno as a [256, 3] table: even in lightness, so that it survives greyscale printing."""
    colours = sample_colorscale("Inferno", list(np.linspace(0, 1, 256)))
    return np.array([unlabel_rgb(c) for c in colours]).round().astype(np.uint8)


def overlay(image: Pixels, maps: Pixels) -> Pixels:
    """The strongest foreground score of each pixel over the grey image.

    Args:
        image: uint8 [H, W, 3].
        maps: uint8 [C-1, H, W], 0..255 for 0..1; resized to the image where their sizes differ.
    """
    best = maps.max(axis=0) if len(maps) else np.zeros(image.shape[:2], np.uint8)
    if best.shape != image.shape[:2]:
        size = (image.shape[1], image.shape[0])
        best = np.asarray(Image.fromarray(best).resize(size, Image.Resampling.BILINEAR))
    grey = image.mean(axis=2, keepdims=True)
    return (0.35 * grey + 0.65 * _heat()[best]).round().astype(np.uint8)


def colour_mask(mask: Pixels) -> Pixels:
    """Class indices [H, W] in the palette's colours: background dark, ignored pixels white."""
    table = np.zeros((256, 3), np.uint8)
    for index in range(256):
        colour = COLOURS[(index - 1) % len(COLOURS)]
        table[index] = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    table[0] = 38
    table[IGNORE] = 255
    return np.asarray(table[mask])


def png(pixels: Pixels) -> bytes:
    """Pixels [H, W, 3] as PNG bytes."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def data_uri(content: bytes) -> str:
    """PNG bytes as a data URI: nothing is fetched."""
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")


def _caption(mask: Pixels | None, key: str, classes: tuple[str, ...]) -> str:
    if mask is None:
        return key
    present = [int(i) for i in np.unique(mask) if 0 < i < len(classes)]
    return ", ".join(classes[i] for i in present) or key


def _tile(show: str, key: str, arrays: dict[str, Pixels]) -> bytes | None:
    image = arrays.get(f"{key}/image")
    if show == "image" and image is not None:
        return png(image)
    if show in ("mask", *MASKS) and f"{key}/{show}" in arrays:
        return png(colour_mask(arrays[f"{key}/{show}"]))
    if show in ("map", "raw") and image is not None and f"{key}/{show}" in arrays:
        return png(overlay(image, arrays[f"{key}/{show}"]))
    return None


def pictures(spec: PicturesSpec, selection: Selection, store: Store) -> Pictures | None:
    """The grid's tiles from the stored pictures; None where no trial has any."""
    arrays: dict[str, dict[str, Pixels]] = {}
    classes: tuple[str, ...] = ()
    overrides = one_overrides(selection, spec.cells())
    for column in spec.columns:
        if column.label is not None:
            trials = gather(selection, spec.sweep, column.label, overrides).trials
            arrays[column.label] = _first(trials, store)
            classes = trials[0].classes if trials else classes
    whole = next((a for a in arrays.values() if a), None)
    if whole is None:
        return None
    rows = []
    for key in _keys(spec, arrays, whole)[: spec.images]:
        tiles = tuple(
            _tile(c.show, key, arrays[c.label] if c.label is not None else whole)
            for c in spec.columns
        )
        rows.append((_caption(whole.get(f"{key}/mask"), key, classes), tiles))
    return Pictures(tuple(c.name for c in spec.columns), tuple(rows))


def _keys(
    spec: PicturesSpec, arrays: dict[str, dict[str, Pixels]], whole: dict[str, Pixels]
) -> list[str]:
    """The images that a column has a result of: those of its stage may be of another split."""
    keys = sorted({name.rsplit("/", 1)[0] for name in whole if name.endswith("/image")})
    results = [(arrays[c.label], c.show) for c in spec.columns if c.label and c.show in RESULTS]
    shown = [k for k in keys if any(f"{k}/{show}" in of for of, show in results)]
    return shown if results else keys


def _first(trials: tuple[Trial, ...], store: Store) -> dict[str, Pixels]:
    for trial in trials:
        found = read_pictures(store, trial)
        if found:
            return found
    return {}


def figure(grid: Pictures) -> go.Figure:
    """The grid as one figure, for PNG, SVG and PDF files."""
    tile, gap, left, top = 200, 8, 90, 34
    width = left + len(grid.columns) * (tile + gap)
    height = top + len(grid.rows) * (tile + gap)
    drawn = go.Figure()
    for column, name in enumerate(grid.columns):
        drawn.add_annotation(
            x=left + column * (tile + gap) + tile / 2, y=top / 2, text=html.escape(name),
            showarrow=False, font={"size": 15},
        )  # fmt: skip
    for row, (caption, tiles) in enumerate(grid.rows):
        y = top + row * (tile + gap)
        drawn.add_annotation(
            x=left - 8, y=y + tile / 2, xanchor="right", showarrow=False,
            text="<br>".join(html.escape(part) for part in caption.split(", ")),
        )  # fmt: skip
        for column, content in enumerate(tiles):
            if content is not None:
                drawn.add_layout_image(
                    source=data_uri(content), xref="x", yref="y", xanchor="left", yanchor="top",
                    x=left + column * (tile + gap), y=y, sizex=tile, sizey=tile,
                )  # fmt: skip
    drawn.update_xaxes(visible=False, range=[0, width])
    drawn.update_yaxes(visible=False, range=[height, 0])
    drawn.update_layout(
        template="none", width=max(width, WIDTH // 2), height=height, paper_bgcolor="white",
        margin={"l": 0, "r": 0, "t": 0, "b": 0}, font={"family": FONT, "color": TEXT, "size": 13},
    )  # fmt: skip
    return drawn
