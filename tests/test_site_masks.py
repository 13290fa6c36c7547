"""Pseudo masks and segmentations in the picture browser, in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import synthetic_store as synthetic
from browser import opened
from safetensors.numpy import load
from test_site_pictures import panels, pixels

from camsweep.reports.build import Request, build
from camsweep.reports.load import read_trials


class Chains(NamedTuple):
    """A page, and the pictures of CPN's chain with a CRF at the test."""

    page: Path
    arrays: dict[str, Any]


@pytest.fixture(scope="module")
def chains(tmp_path_factory: pytest.TempPathFactory) -> Chains:
    """A report of segmentations alone, whose pictures have maps on one split only."""
    store = synthetic.make(tmp_path_factory.mktemp("store"), sweeps=("cpn/table5",), images=4)
    out = tmp_path_factory.mktemp("report")
    build(Request(store.url, out, formats=("html",), resamples=30), say=lambda _: None)
    trial = next(
        t for t in read_trials(store) if ("cpn/table5", "cpn + crf") in t.memberships and not t.seed
    )
    return Chains(
        out / "index.html", load(store.read(f"artefacts/{trial.id}/pictures.safetensors"))
    )


def iou_words(mask: Any, said: Any) -> str:
    """What a panel says; pixels without a class miss what is there."""
    found = []
    for index in sorted(set(mask.ravel().tolist()) | set(said[said != 255].tolist())):
        both = ((mask == index) & (said == index)).sum()
        found.append((synthetic.CLASSES[index], both / ((mask == index) | (said == index)).sum()))
    mean = np.mean([iou for _, iou in found])
    return f"IoU {100 * mean:.1f} % ({', '.join(f'{n} {100 * v:.1f}' for n, v in found)})"


def shown(page: Any) -> str:
    return next(text for name, text in panels(page).items() if "segment_crf=seamv1" in name)


def test_masks_of_each_stage_are_shown_where_there_are_any(chromium: Any, chains: Chains) -> None:
    with opened(chromium, chains.page, "pictures") as page:
        keys = [b.get_attribute("title") for b in page.locator("#ui-shots button").all()]
        assert sum(key.startswith("seg_") for key in keys) == 12, keys
        of = chains.arrays
        first = keys[0]
        page.locator("#ui-shots button").first.click()
        assert first.startswith("seg_")
        expected = iou_words(of[f"{first}/mask"], of[f"{first}/segment"])
        assert shown(page) == f"segmentation: {expected}", "this image has nothing else"
        page.locator(f"#ui-shots button[data-shot='{keys.index('val_00000')}']").click()
        assert shown(page).startswith("threshold 0.30: IoU")
        page.locator("input[name=ui-kind][value=pseudo]").check()
        expected = iou_words(of["val_00000/mask"], of["val_00000/pseudo"])
        assert shown(page) == f"pseudo masks: {expected}"
        assert "labels already" in page.locator("#pictures .caption").inner_text()


def test_a_mask_has_the_colours_of_the_ground_truth(chromium: Any, chains: Chains) -> None:
    with opened(chromium, chains.page, "pictures") as page:
        panels(page)
        of = chains.arrays
        truth, found = (pixels(page, index).astype(int) for index in (1, 2))
        scale = truth.shape[0] // 96
        middle = slice(scale // 2, None, scale)
        truth, found = truth[middle, middle], found[middle, middle]
        same = of["seg_00000/mask"] == of["seg_00000/segment"]
        close = np.abs(truth - found).max(axis=2) == 0
        # But for outlines and names, which are drawn over both.
        assert close[same].mean() > 0.9
        differ = (of["seg_00000/mask"] != of["seg_00000/segment"]) & (
            of["seg_00000/segment"] != 255
        )
        assert close[differ].mean() < 0.5
