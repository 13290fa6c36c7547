"""PASCAL VOC 2012, or any folder in its layout, as a source of shards."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from camsweep.shards.colours import colour_map
from camsweep.shards.errors import InputError, nearest
from camsweep.shards.sources.cls_labels import read_cls_labels
from camsweep.shards.writer import IGNORE, Source, SourceSample, check_key

Masks = Literal["auto", "SegmentationClass", "SegmentationClassAug"]
Labels = Literal["masks", "xml", "npy"]

SPLITS = ("train", "val", "train_aug")
BACKGROUND = "background"
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

# Where a mask is looked for, in this order. The augmented folder has no masks of the val list.
_MASK_FOLDERS: dict[str, tuple[str, ...]] = {
    "auto": ("SegmentationClass", "SegmentationClassAug"),
    "SegmentationClass": ("SegmentationClass",),
    "SegmentationClassAug": ("SegmentationClassAug", "SegmentationClass"),
}

LabelReader = Callable[[str, NDArray[np.uint8]], tuple[int, ...]]


def voc_source(
    root: Path,
    *,
    masks: Masks = "auto",
    labels: Labels = "masks",
    classes: Path | None = None,
    name: str | None = None,
) -> Source:
    """Describe a folder in VOC layout for ``writer.build``.

    Splits are the lists ``train``, ``val`` and ``train_aug`` of ``ImageSets/Segmentation`` that
    exist. Images come from ``JPEGImages/ID.jpg``.

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
    folder = root / "ImageSets" / "Segmentation"
    lists = {split: folder / f"{split}.txt" for split in SPLITS}
    present = {split: path for split, path in lists.items() if path.is_file()}
    if not present:
        raise InputError(f"{folder}: none of train.txt, val.txt, train_aug.txt; not a VOC folder")
    names = _class_names(root, classes)
    label_reader = _label_reader(root, labels, names)
    splits = {
        split: [
            partial(_load, _locate(root, path, image_id, masks), label_reader, names)
            for image_id in _read_list(path)
        ]
        for split, path in present.items()
    }
    return Source(
        name=name or root.resolve().name,
        source="folder in PASCAL VOC layout",
        classes=names,
        colours=colour_map(len(names)),
        settings={"source": "voc", "masks": masks, "labels": labels},
        splits=splits,
    )


@dataclass(frozen=True)
class _Files:
    image_id: str
    image: Path
    mask: Path


def _locate(root: Path, listed: Path, image_id: str, masks: str) -> _Files:
    image = root / "JPEGImages" / f"{image_id}.jpg"
    if not image.is_file():
        raise InputError(f"{listed}: names {image_id}, but {image} is missing")
    folders = _MASK_FOLDERS[masks]
    for folder in folders:
        mask = root / folder / f"{image_id}.png"
        if mask.is_file():
            return _Files(image_id, image, mask)
    hint = "" if masks == "auto" else "; masks 'auto' looks in both folders"
    raise InputError(
        f"{listed}: names {image_id}, but {' and '.join(folders)} have no {image_id}.png{hint}"
    )


def _read_list(path: Path) -> list[str]:
    """The ids of a list: one a line; of the repositories' ``/JPEGImages/ID.jpg ...`` the stem."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    ids = [_image_id(line.strip()) for line in lines if line.strip()]
    if not ids:
        raise InputError(f"{path}: is empty; one image id a line is expected")
    for image_id in ids:
        check_key(image_id, str(path))
    return ids


def _image_id(line: str) -> str:
    if line.startswith("/"):
        return Path(line.split()[0]).stem
    for suffix in (".jpg", ".jpeg", ".png"):
        line = line.removesuffix(suffix)
    return line


def _class_names(root: Path, classes: Path | None) -> tuple[str, ...]:
    path = Path(classes) if classes is not None else root / "classes.txt"
    if classes is None and not path.is_file():
        return VOC_CLASSES
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    names = [line.strip() for line in lines if line.strip()]
    if names[:1] != [BACKGROUND]:
        names = [BACKGROUND, *names]
    if len(set(names)) != len(names) or not 2 <= len(names) <= IGNORE:
        raise InputError(f"{path}: 1 to {IGNORE - 1} different classes are needed, one a line")
    return tuple(names)


def _label_reader(root: Path, labels: str, names: tuple[str, ...]) -> LabelReader:
    if labels == "xml":
        return partial(_xml_labels, root / "Annotations", names)
    if labels == "npy":
        path = root / "cls_labels.npy"
        return partial(_listed_labels, path, read_cls_labels(path, len(names) - 1))
    return _mask_labels


def _mask_labels(image_id: str, mask: NDArray[np.uint8]) -> tuple[int, ...]:
    return tuple(int(value) for value in np.unique(mask) if value not in (0, IGNORE))


def _listed_labels(
    path: Path,
    table: Mapping[str, tuple[int, ...]],
    image_id: str,
    mask: NDArray[np.uint8],
) -> tuple[int, ...]:
    if image_id not in table:
        raise InputError(f"{path}: has no labels of {image_id}")
    return table[image_id]


def _xml_labels(
    folder: Path, names: tuple[str, ...], image_id: str, mask: NDArray[np.uint8]
) -> tuple[int, ...]:
    path = folder / f"{image_id}.xml"
    try:
        objects = ElementTree.parse(path).getroot().findall("object")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except ElementTree.ParseError as error:
        raise InputError(f"{path}: is not XML ({error})") from None
    found = {(item.findtext("name") or "").strip() for item in objects}
    for wrong in sorted(found - set(names[1:])):
        raise InputError(f"{path}: class '{wrong}' is not in the list{nearest(wrong, names[1:])}")
    return tuple(sorted(names.index(item) for item in found))


def _load(files: _Files, labels: LabelReader, names: tuple[str, ...]) -> SourceSample:
    try:
        content = files.image.read_bytes()
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as picture:
            width, height = picture.size
    except (OSError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or "not a JPEG"
        raise InputError(f"{files.image}: does not decode ({reason})") from None
    mask = _read_mask(files.mask)
    if mask.shape != (height, width):
        raise InputError(
            f"{files.mask}: mask is {mask.shape[1]} x {mask.shape[0]}, "
            f"its image {files.image.name} {width} x {height}"
        )
    outside = [value for value in np.unique(mask) if value >= len(names) and value != IGNORE]
    if outside:
        raise InputError(
            f"{files.mask}: holds class {outside[0]}, "
            f"the list has 0..{len(names) - 1} (and {IGNORE} = ignore)"
        )
    return SourceSample(
        key=files.image_id,
        image_bytes=content,
        mask=mask,
        labels=labels(files.image_id, mask),
        size=(height, width),
        source_id=files.image_id,
        where=str(files.image),
    )


def _read_mask(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            mode, mask = picture.mode, np.asarray(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: the mask does not decode ({str(error)[:80]})") from None
    if mode not in ("P", "L"):
        raise InputError(f"{path}: is a {mode} image; a palette PNG of class indices is expected")
    return mask
