from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from test_voc_source import voc

from camsweep.shards.errors import InputError
from camsweep.shards.reader import open_split
from camsweep.shards.sources.voc import voc_source
from camsweep.shards.verify import verify
from camsweep.shards.writing.writer import build

__all__ = ["voc"]


def write_mat(path: Path, mask: object, name: str = "GTcls") -> None:
    """One of SBD's files: a MATLAB struct with a field Segmentation."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"Boundaries": np.zeros(3), "Segmentation": mask, "CategoriesPresent": [1]}
    savemat(path, {name: content}, do_compression=True)


@pytest.fixture
def sbd(voc: Path, tmp_path: Path) -> Path:
    """SBD beside the folder ``voc``: a (train), b (val of VOC) and d, an image of SBD alone."""
    dataset = tmp_path / "benchmark_RELEASE" / "dataset"
    Image.new("RGB", (30, 20)).save(voc / "JPEGImages" / "d.jpg")
    for name in "abd":
        write_mat(dataset / "cls" / f"{name}.mat", np.full((20, 30), 3, dtype=np.uint8))
    (dataset / "train.txt").write_text("d\nb\n")
    (dataset / "val.txt").write_text("a\n")
    return dataset


def test_sbd_makes_train_aug(voc: Path, sbd: Path, tmp_path: Path) -> None:
    (voc / "ImageSets" / "Segmentation" / "train_aug.txt").unlink()
    for given in (sbd, sbd.parent):
        source = voc_source(voc, sbd=given)
        samples = [load() for load in source.splits["train_aug"]]
        # VOC's train and all of SBD, less VOC's val; the original mask of a comes first.
        assert [sample.key for sample in samples] == ["a", "d"]
        assert [sample.labels for sample in samples] == [(15,), (3,)]
    assert source.settings["sbd"] is True
    assert "sbd" not in voc_source(voc).settings
    build(source, tmp_path / "d")
    assert verify(tmp_path / "d").problems == []
    mask = open_split(tmp_path / "d", "train_aug").mask(1)
    np.testing.assert_array_equal(mask, np.full((20, 30), 3))


def test_a_list_of_ones_own_is_kept_and_val_has_voc_masks(voc: Path, sbd: Path) -> None:
    source = voc_source(voc, sbd=sbd, masks="SegmentationClassAug")
    assert [load().key for load in source.splits["train_aug"]] == ["a", "c"]
    # b has a mask of SBD, but an evaluation on val is one on VOC's own masks.
    assert source.splits["val"][0]().labels == (15,)
    (voc / "SegmentationClassAug" / "a.png").unlink()
    assert voc_source(voc, sbd=sbd, masks="SegmentationClassAug").splits["train"][0]().labels == (
        3,
    )


def test_sbd_that_is_not_there_or_wrong(voc: Path, sbd: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no cls folder; name SBD's"):
        voc_source(voc, sbd=tmp_path)
    (voc / "ImageSets" / "Segmentation" / "train_aug.txt").unlink()
    load = voc_source(voc, sbd=sbd).splits["train_aug"][1]
    path = sbd / "cls" / "d.mat"
    write_mat(path, np.full((20, 30), 3, dtype=np.uint8), name="GTinst")
    with pytest.raises(InputError, match=r"d\.mat: refused; GTcls\.Segmentation"):
        load()
    for wrong in (np.zeros((20, 30)), np.full((20, 30), 300), "text"):
        write_mat(path, wrong)
        with pytest.raises(InputError, match=r"d\.mat: refused"):
            load()
    write_mat(path, np.full((20, 30), 21, dtype=np.uint8))
    with pytest.raises(InputError, match=r"d\.mat: holds class 21"):
        load()
    for content in (b"", b"no matlab file" * 20, path.read_bytes()[:-50]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"d\.mat: refused") as caught:
            load()
        assert "\n" not in str(caught.value)
    (voc / "ImageSets" / "Segmentation" / "val.txt").unlink()
    with pytest.raises(InputError, match=r"val\.txt: is missing; with SBD"):
        voc_source(voc, sbd=sbd)
