"""The picture browser in a real browser: every IoU it says against numpy."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import numpy as np
import pytest
from browser import Site, drawn_pictures, opened, until
from PIL import Image

FIELDS = "#ui-panels figure"


def expected(arrays: dict[str, Any], key: str, threshold: float, kind: str = "map") -> str:
    """The line that a panel should have."""
    mask, score = arrays[f"{key}/mask"], arrays[f"{key}/{kind}"][0]
    names = ["background", "duck", "kite", "lamp", "mug", "pear", "tent"]
    keep = mask != 255
    if f"{key}/{kind}_class" in arrays:
        truth, said = mask, arrays[f"{key}/{kind}_class"][0]
    else:
        names, truth, said = ["background", "foreground"], (mask > 0).astype(int), 1
    said = np.where(score > 255 * threshold + 1e-9, said, 0)
    found = []
    for index in sorted(set(truth[keep].tolist()) | set(said[keep].tolist())):
        both = ((truth == index) & (said == index) & keep).sum()
        found.append((names[index], both / (((truth == index) | (said == index)) & keep).sum()))
    mean = np.mean([iou for _, iou in found])
    parts = ", ".join(f"{name} {100 * iou:.1f}" for name, iou in found)
    return f"threshold {threshold:.2f}: IoU {100 * mean:.1f} % ({parts})"


def panels(page: Any) -> dict[str, str]:
    """What stands under each variant, once the last change is drawn."""
    # No function of the page's own: its policy refuses to evaluate text, once one must wait.
    page.locator("#ui-panels figure.variant").first.wait_for()
    page.wait_for_timeout(150)
    found = {}
    for figure in page.locator(FIELDS).all():
        found[figure.locator("b").inner_text()] = figure.locator("figcaption span").inner_text()
    return found


def line(page: Any, method: str) -> str:
    return next(text for name, text in panels(page).items() if f". {method}" in name)


def set_slider(page: Any, value: float) -> None:
    page.locator("#ui-threshold").evaluate(
        "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})); }",
        str(value),
    )


def test_iou_at_each_threshold_is_numpys(chromium: Any, site: Site) -> None:
    with opened(chromium, site.page, "pictures") as page:
        arrays = site.pictures
        assert page.locator("#ui-threshold-value").inner_text() == "0.30", "the trials' own"
        assert line(page, "CPN") == expected(arrays["cpn"], "val_00000", 0.3)
        assert line(page, "CAM") == expected(arrays["cam"], "val_00000", 0.3), "no classes stored"
        for threshold in (0.0, 0.5, 0.77, 1.0):
            set_slider(page, threshold)
            assert page.locator("input[value=common]").is_checked()
            assert page.locator("#ui-threshold-value").inner_text() == f"{threshold:.2f}"
            assert line(page, "CPN") == expected(arrays["cpn"], "val_00000", threshold)
            assert line(page, "CAM") == expected(arrays["cam"], "val_00000", threshold)
        page.locator("input[name=ui-whose][value=own]").check()
        assert line(page, "CPN") == expected(arrays["cpn"], "val_00000", 0.3)
        page.locator("input[name=ui-kind][value=raw]").check()
        assert line(page, "CPN") == expected(arrays["cpn"], "val_00000", 0.3, "raw")
        assert "foreground against background" in page.locator("#pictures .caption").inner_text()


def test_the_keyboard_chooses_images_and_moves_the_slider(chromium: Any, site: Site) -> None:
    with opened(chromium, site.page, "pictures") as page:
        panels(page)
        page.locator("#ui-shots button").first.focus()
        page.keyboard.press("ArrowRight")
        assert line(page, "CPN") == expected(site.pictures["cpn"], "val_00001", 0.3)
        assert page.locator("#ui-shots [aria-current=true]").get_attribute("data-shot") == "1"
        assert page.evaluate("document.activeElement.dataset.shot") == "1"
        page.keyboard.press("End")
        assert line(page, "CPN") == expected(site.pictures["cpn"], "val_00002", 0.3)
        page.locator("#ui-threshold").focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        assert line(page, "CPN") == expected(site.pictures["cpn"], "val_00002", 0.32)


def test_variants_are_chosen_and_shown_side_by_side(chromium: Any, site: Site) -> None:
    with opened(chromium, site.page, "pictures") as page:
        names = [name for name in panels(page) if re.match(r"\d+\.", name)]
        assert len(names) == page.locator("input[name=ui-variant]").count() == 2
        page.locator("input[name=ui-variant]").first.uncheck()
        until(page, "document.querySelectorAll('#ui-panels figure.variant').length === 1")
        assert list(panels(page)) == ["Image", "Ground truth", names[1]]
        places = [figure.bounding_box() for figure in page.locator(FIELDS).all()]
        assert len({round(box["y"]) for box in places}) == 1, "one row"


def pixels(page: Any, index: int) -> Any:
    script = "(i) => document.querySelectorAll('#ui-panels canvas')[i].toDataURL('image/png')"
    content = base64.b64decode(page.evaluate(script, index).partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def test_pixels_drawn(chromium: Any, site: Site) -> None:
    with opened(chromium, site.page, "pictures") as page:
        panels(page)
        arrays = site.pictures["cpn"]
        image = arrays["val_00000/image"]
        shown = pixels(page, 0)
        scale = shown.shape[0] // image.shape[0]
        assert scale > 1
        np.testing.assert_array_equal(shown[scale // 2 :: scale, scale // 2 :: scale], image)
        set_slider(page, 1.0)
        panels(page)
        nothing = pixels(page, 2)
        set_slider(page, 0.4)
        panels(page)
        assert (pixels(page, 2) != nothing).any(), "the outline moves with the slider"
        page.locator("input[name=ui-mode][value=label]").check()
        panels(page)
        labels = pixels(page, 2)[scale // 2 :: scale, scale // 2 :: scale].astype(int)
        said = arrays["val_00000/map"][0] > 102
        spread = np.ptp(labels, axis=2)
        assert np.median(spread[said]) > 60 > np.median(spread[~said]), "labels are coloured"


def test_made_pictures_have_what_the_tests_need() -> None:
    arrays = drawn_pictures(classed=True)
    assert {255, 4} <= set(np.unique(arrays["val_00000/mask"]).tolist())
    with pytest.raises(KeyError):
        drawn_pictures(classed=False)["val_00000/map_class"]
