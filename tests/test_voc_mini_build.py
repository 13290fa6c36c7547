"""Real images of PASCAL VOC as shards: both mask folders, each source of labels."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_voc_source import write_list, write_xml

from camsweep.shards.reader import open_split
from camsweep.shards.sources.voc import VOC_CLASSES, Labels, Masks, voc_source
from camsweep.shards.verify import verify
from camsweep.shards.writing.writer import build

ORDERS = {
    "auto": ("SegmentationClass", "SegmentationClassAug"),
    "SegmentationClassAug": ("SegmentationClassAug", "SegmentationClass"),
}


def pil(root: Path, name: str, masks: str) -> np.ndarray:
    """The mask as PIL decodes the file that comes first."""
    paths = (root / folder / f"{name}.png" for folder in ORDERS[masks])
    with Image.open(next(path for path in paths if path.is_file())) as picture:
        return np.asarray(picture)


def ids(root: Path, split: str) -> list[str]:
    return (root / "ImageSets" / "Segmentation" / f"{split}.txt").read_text().split()


@pytest.fixture(scope="module")
def voc(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some images of voc-mini, those that only the augmented list has among them, and XML files."""
    whole, root = shared / "voc-mini", tmp_path_factory.mktemp("voc")
    for name in ("JPEGImages", "SegmentationClass", "SegmentationClassAug"):
        (root / name).symlink_to(whole / name)
    shutil.copy(whole / "cls_labels.npy", root)
    train, val = ids(whole, "train")[::20], ids(whole, "val")[::12]
    more = [name for name in ids(whole, "train_aug") if name not in ids(whole, "train")][::6]
    for split, names in (("train", train), ("val", val), ("train_aug", train + more)):
        write_list(root, split, names)
        for name in names:
            present = np.unique(pil(whole, name, "auto"))
            write_xml(root, name, [VOC_CLASSES[c] for c in present if c not in (0, 255)])
    return root


@pytest.mark.parametrize("masks", ["auto", "SegmentationClassAug"])
@pytest.mark.parametrize("labels", ["masks", "xml", "npy"])
def test_shards_hold_the_images_and_pils_masks(
    voc: Path, tmp_path: Path, masks: Masks, labels: Labels
) -> None:
    manifest = build(voc_source(voc, masks=masks, labels=labels), tmp_path / "d", shard_samples=8)
    report = verify(tmp_path / "d")
    assert report.problems == []
    assert report.samples == sum(split.count for split in manifest.splits.values()) == 30
    for split in ("train", "val", "train_aug"):
        reader = open_split(tmp_path / "d", split)
        assert reader.keys == ids(voc, split)
        for index, name in enumerate(reader.keys):
            mask = pil(voc, name, masks)
            np.testing.assert_array_equal(reader.mask(index), mask)
            assert reader.read(index, "jpg") == (voc / "JPEGImages" / f"{name}.jpg").read_bytes()
            told = pil(voc, name, "auto") if labels == "xml" else mask
            if labels != "npy":
                present = tuple(int(c) for c in np.unique(told) if c not in (0, 255))
                assert reader[index].labels == present
