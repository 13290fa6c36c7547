"""The picture browser's markup and data; browser.js draws it."""

from __future__ import annotations

import math
from typing import Any

from camsweep.reports.figures import COLOURS
from camsweep.reports.markup import Html, join, script_json, tag
from camsweep.reports.pictures import data_uri
from camsweep.reports.site.gallery import KINDS, LABELS, Gallery, Layer

#: Variants that are shown before the reader chooses.
CHOSEN = 3
_HELP = (
    "Pixels whose score is above the threshold get the label of their strongest class, the others "
    "are background, as in the evaluation. IoU is this one image's, over the classes in its mask "
    "or in the labels, ignored pixels (white in the mask) left out. Scores are stored in 256 steps."
)


def _layer(layer: Layer | None) -> Any:
    if layer is None:
        return None
    pictures = (layer.score, layer.winner)
    return [None if picture is None else data_uri(picture) for picture in pictures]


def _data(gallery: Gallery) -> Html:
    return script_json(
        {
            "classes": gallery.classes,
            "colours": COLOURS,
            "kinds": KINDS,
            "labels": LABELS,
            "shots": [
                {"key": s.key, "label": s.label, "width": s.width, "height": s.height,
                 "mask": data_uri(s.mask)}
                for s in gallery.shots
            ],
            "variants": [
                {"name": f"{v.rank}. {v.name}",
                 "threshold": None if math.isnan(v.threshold) else v.threshold,
                 "maps": {k: [_layer(x) for x in layers] for k, layers in v.maps.items()}}
                for v in gallery.variants
            ],
        }
    )  # fmt: skip


def _radio(name: str, legend: str, options: dict[str, str], chosen: str) -> Html:
    inner = [
        tag("label", tag("input", type="radio", name=f"ui-{name}", value=value,
                         checked="checked" if value == chosen else None), text)
        for value, text in options.items()
    ]  # fmt: skip
    return tag("fieldset", tag("legend", legend), *inner)


def _controls(gallery: Gallery) -> Html:
    known = any(not math.isnan(v.threshold) for v in gallery.variants)
    kinds = {k: text for k, text in KINDS.items() if any(k in v.maps for v in gallery.variants)}
    legend = "Maps and masks" if any(kind in LABELS for kind in kinds) else "Map"
    slider = tag(
        "label", "Threshold ",
        tag("input", type="range", min="0", max="1", step="0.01", value="0.3", id="ui-threshold"),
        tag("output", id="ui-threshold-value", for_="ui-threshold"), class_="slider",
    )  # fmt: skip
    whose = {"own": "each variant its own", "common": "common"}
    boxes = [
        tag("label", tag("input", type="checkbox", name="ui-variant", value=index,
                         checked="checked" if index < CHOSEN else None),
            f"{v.rank}. {v.name}")
        for index, v in enumerate(gallery.variants)
    ]  # fmt: skip
    return tag(
        "form",
        slider,
        _radio("whose", "Threshold of", whose, "own") if known else None,
        _radio("mode", "Show", {"score": "scores and outline", "label": "labels"}, "score"),
        _radio("kind", legend, kinds, next(iter(kinds))) if len(kinds) > 1 else None,
        tag("label", tag("input", type="checkbox", id="ui-truth"), "outline of the ground truth"),
        tag("fieldset", tag("legend", "Variants"), *boxes, class_="stacked"),
        class_="controls", aria_label="What the pictures show",
    )  # fmt: skip


def browser_page(gallery: Gallery) -> Html:
    """Controls, the images to choose from, and the places that are drawn into."""
    shots = [
        tag("button", tag("img", src=data_uri(s.image), alt="", width=s.width, height=s.height),
            tag("span", s.label), type="button", data_shot=index,
            title=s.key, tabindex="0" if index == 0 else "-1")
        for index, s in enumerate(gallery.shots)
    ]  # fmt: skip
    step = max(s.step for s in gallery.shots)
    thinned = (
        f" Large images are thinned here (up to every {step}th pixel): their IoU is that of the "
        "pixels shown."
        if step > 1
        else ""
    )
    unclassed = (
        " This store keeps no class of a score for some maps: there it is foreground against "
        "background only."
        if any(x and x.winner is None for v in gallery.variants for m in v.maps.values() for x in m)
        else ""
    )
    labelled = (
        " Pseudo masks and segmentations are labels already: for them the threshold counts nothing."
        if any(kind in LABELS for v in gallery.variants for kind in v.maps)
        else ""
    )
    inner = join(
        tag("p", _HELP + labelled + thinned + unclassed, class_="caption"),
        tag("noscript", tag("p", "Maps and thresholds need JavaScript; the images are below.")),
        _controls(gallery),
        tag("p", "Images (arrow keys choose)", class_="label", id="ui-shots-label"),
        tag("div", *shots, class_="shots", id="ui-shots", role="group",
            aria_labelledby="ui-shots-label"),
        tag("p", id="ui-told", class_="hidden", role="status"),
        tag("div", class_="panels", id="ui-panels"),
        tag("script", _data(gallery), type="application/json", id="ui-gallery"),
    )  # fmt: skip
    return tag("section", inner, class_="card", aria_label="Qualitative browser")
