"""PASCAL VOC 2012, alone or with SBD, as a source of shards."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from pydantic import JsonValue

from camsweep.shards.colours import colour_map
from camsweep.shards.errors import InputError, nearest
from camsweep.shards.sources.layout import (
    BACKGROUND,
    LISTS,
    Labels,
    LoadFiles,
    find_image,
    find_images,
    find_labels,
    read_class_names,
    read_list,
)
from camsweep.shards.sources.sbd import find_sbd
from camsweep.shards.writing.members import Loader, Source

__all__ = ["BACKGROUND", "VOC_CLASSES", "Labels", "Masks", "voc_source"]

Masks = Literal["auto", "SegmentationClass", "SegmentationClassAug"]

SPLITS = ("train", "val", "train_aug")
VOC_CLASSES = (
    BACKGROUND,
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)

_SBD = "cls"
# Where a mask is looked for, in this order. The augmented folder has no masks of the val list.
_MASK_FOLDERS: dict[str, tuple[str, ...]] = {
    "auto": ("SegmentationClass", "SegmentationClassAug", _SBD),
    "SegmentationClass": ("SegmentationClass",),
    "SegmentationClassAug": ("SegmentationClassAug", _SBD, "SegmentationClass"),
}


def voc_source(
    root: Path,
    *,
    masks: Masks = "auto",
    labels: Labels = "masks",
    classes: Path | None = None,
    sbd: Path | None = None,
    name: str | None = None,
) -> Source:
    """Describe a folder in VOC layout for ``writer.build``.

    Splits are the lists ``train``, ``val`` and ``train_aug`` of ``ImageSets/Segmentation`` that
    exist. Images come from ``JPEGImages/ID.jpg``. Without ``train_aug.txt``, SBD's own lists make
    that split: VOC's train and SBD's train and val, less VOC's val, in ascending order (10,582
    images of VOC 2012).

    Args:
        root: the folder (``VOCdevkit/VOC2012``).
        masks: ``auto`` takes the original mask where there is one and the augmented (SBD) one
            otherwise, which is what the 1,464 evaluation images of the CAM literature need;
            ``SegmentationClassAug`` prefers the augmented one; ``SegmentationClass`` takes
            original ones only.
        labels: image-level labels from the ``masks``, from ``xml`` (the objects of
            ``Annotations/ID.xml``, difficult ones included, as the released code) or from
            ``npy`` (``cls_labels.npy`` in the root).
        classes: a text file with one class a line, background left out or first; default
            ``classes.txt`` in the root, else the 20 VOC classes.
        sbd: SBD's ``benchmark_RELEASE/dataset``: its ``cls/ID.mat`` are augmented masks, too,
            where ``SegmentationClassAug`` has none. Never used for ``val``, whose masks are VOC's.
        name: the data set's name; default the folder's.

    Raises:
        InputError: the folder is not in this layout, a list names what is missing, or an option
            is misspelt. Wrong images and masks show when a sample is loaded.
    """
    root = Path(root)
    for option, value, right in (
        ("masks", masks, get_args(Masks)),
        ("labels", labels, get_args(Labels)),
    ):
        if value not in right:
            raise InputError(f"{option}: '{value}'{nearest(value, right)}")
    if not root.is_dir():
        raise InputError(f"--root {root}: no such folder; name one in VOC layout")
    dataset = None if sbd is None else find_sbd(Path(sbd))
    lists = _read_lists(root, dataset)
    names = _class_names(root, classes)
    images = find_images(root)
    told = find_labels(root, labels, names, [name for _, ids in lists.values() for name in ids])
    splits: dict[str, list[Loader]] = {}
    for split, (listed, ids) in lists.items():
        augmented = None if split == "val" else dataset
        splits[split] = [
            LoadFiles(
                root=root,
                image_id=image_id,
                image=find_image(images, root, listed, image_id),
                mask=_find_mask(root, augmented, listed, image_id, masks),
                names=names,
                labels=told[image_id],
            )
            for image_id in ids
        ]
    settings: dict[str, JsonValue] = {"source": "voc", "masks": masks, "labels": labels}
    if dataset is not None:
        settings["sbd"] = True  # only where it is used: other data keep their digest
    return Source(
        name=name or root.resolve().name,
        source="folder in PASCAL VOC layout",
        classes=names,
        colours=colour_map(len(names)),
        settings=settings,
        splits=splits,
    )


def _read_lists(root: Path, sbd: Path | None) -> dict[str, tuple[Path, list[str]]]:
    """By split, the file that lists it (for error lines) and the ids."""
    folder = root / LISTS
    paths = {split: folder / f"{split}.txt" for split in SPLITS}
    found = {split: (path, read_list(path)) for split, path in paths.items() if path.is_file()}
    if not found:
        raise InputError(f"{folder}: none of train.txt, val.txt, train_aug.txt; not a VOC folder")
    if sbd is not None and "train_aug" not in found:
        for split in ("train", "val"):
            if split not in found:
                raise InputError(f"{paths[split]}: is missing; with SBD, train_aug is made of it")
        more = {image_id for name in ("train.txt", "val.txt") for image_id in read_list(sbd / name)}
        ids = sorted({*found["train"][1], *more} - set(found["val"][1]))
        found["train_aug"] = (sbd / "train.txt", ids)
    return found


def _class_names(root: Path, classes: Path | None) -> tuple[str, ...]:
    if classes is not None:
        return read_class_names(Path(classes))
    own = root / "classes.txt"
    return read_class_names(own) if own.is_file() else VOC_CLASSES


def _find_mask(root: Path, sbd: Path | None, listed: Path, image_id: str, masks: str) -> Path:
    folders = [folder for folder in _MASK_FOLDERS[masks] if folder != _SBD or sbd is not None]
    for folder in folders:
        if folder == _SBD and sbd is not None:
            path = sbd / _SBD / f"{image_id}.mat"
        else:
            path = root / folder / f"{image_id}.png"
        if path.is_file():
            return path
    hint = "" if masks == "auto" else "; masks 'auto' looks in both folders"
    raise InputError(
        f"{listed}: names {image_id}, but {' and '.join(folders)} have no mask of it{hint}"
    )
