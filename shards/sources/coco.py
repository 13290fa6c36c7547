"""COCO 2014, or any data set with COCO instances JSON, as a source of shards."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from camsweep.shards.colours import colour_map
from camsweep.shards.errors import InputError, nearest
from camsweep.shards.sources.coco_json import (
    Annotation,
    Instances,
    Picture,
    read_instances,
)
from camsweep.shards.sources.coco_shapes import Polygons, rasterise
from camsweep.shards.sources.images import mask_labels, read_jpeg
from camsweep.shards.writing.members import (
    IGNORE,
    Loader,
    Source,
    SourceSample,
    check_key,
    file_stamp,
)

Labels = Literal["masks", "instances"]

BACKGROUND = "background"
SPLITS = ("train", "val")


def coco_source(
    root: Path,
    *,
    labels: Labels = "masks",
    instances: Mapping[str, Path] | None = None,
    images: Mapping[str, Path] | None = None,
    name: str | None = None,
) -> Source:
    """Describe COCO 2014 for ``writer.build``.

    Splits are ``train`` and ``val``, of which one may be absent. Images without any annotation
    are left out, as the literature does: 82,081 of 82,783 and 40,137 of 40,504 stay. They come in
    ascending order of their id; a sample's key is its file's name without the ending. Categories
    become classes 1, 2, ... by ascending id; 0 is the background.

    The mask: crowds first, as 255 = ignore; then the objects, largest ``area`` first (of equal
    areas the smaller id first), so that small objects and every object in a crowd stay visible.
    Outlines of fewer than three corners cover nothing; ``settings`` counts them and the images
    left out.

    Args:
        root: the folder with ``annotations/``, ``train2014/`` and ``val2014/``.
        labels: image-level labels from the classes visible in the ``masks`` or from all
            ``instances`` that are no crowds, covered ones included.
        instances: split -> JSON, below ``root`` unless absolute; default
            ``annotations/instances_SPLIT2014.json``, those that exist.
        images: split -> folder of its images; default ``SPLIT2014``.
        name: the data set's name; default the folder's.

    Raises:
        InputError: a JSON or an image is missing, an entry is wrong (the line names file, entry
            and key), or the splits have different categories. Images of another size than the
            JSON says, and run lengths that fit no image, show when a sample is loaded.
    """
    root = Path(root)
    if labels not in get_args(Labels):
        raise InputError(f"labels: '{labels}'{nearest(labels, get_args(Labels))}")
    if not root.is_dir():
        raise InputError(f"--root {root}: no such folder; name the one with annotations/")
    found = _find_instances(root, instances)
    categories: dict[int, str] = {}
    splits: dict[str, list[Loader]] = {}
    left_out: dict[str, JsonValue] = {}
    for split, path in found.items():
        content = read_instances(path)
        if categories and content.categories != categories:
            raise InputError(f"{path}: 'categories' differ from those of the other split")
        categories = content.categories
        folder = root / (images or {}).get(split, f"{split}2014")
        splits[split] = _loaders(root, path, folder, content, labels)
        left_out[split] = {
            "images_without_annotations": len(content.pictures) - len(splits[split]),
            "outlines_without_area": sum(
                annotation.shape.degenerate
                for group in content.annotations.values()
                for annotation in group
                if isinstance(annotation.shape, Polygons)
            ),
        }
    classes = (BACKGROUND, *categories.values())
    if len(set(classes)) != len(classes) or len(classes) > IGNORE:
        raise InputError(
            f"{root}: 1 to {IGNORE - 1} different categories are needed, "
            f"none of them '{BACKGROUND}'"
        )
    return Source(
        name=name or root.resolve().name,
        source="COCO instances",
        classes=classes,
        colours=colour_map(len(classes)),
        settings={"source": "coco", "labels": labels, "left_out": left_out},
        splits=splits,
    )


def _find_instances(root: Path, instances: Mapping[str, Path] | None) -> dict[str, Path]:
    if instances is not None:
        if not instances:
            raise InputError("instances: is empty; split -> JSON is expected")
        for split in instances:
            check_key(split, "instances")
        return {split: root / path for split, path in instances.items()}
    paths = {split: root / "annotations" / f"instances_{split}2014.json" for split in SPLITS}
    found = {split: path for split, path in paths.items() if path.is_file()}
    if not found:
        raise InputError(
            f"{root / 'annotations'}: neither instances_train2014.json nor "
            "instances_val2014.json; not a COCO 2014 folder"
        )
    return found


def _loaders(root: Path, path: Path, folder: Path, content: Instances, labels: str) -> list[Loader]:
    try:
        present = {item.name for item in folder.iterdir()}
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}); {path} needs it") from None
    classes = {category: number + 1 for number, category in enumerate(content.categories)}
    loaders: list[Loader] = []
    for picture in content.pictures:
        annotations = content.annotations.get(picture.id)
        if annotations is None:
            continue
        if picture.file not in present:
            raise InputError(f"{path}: image {picture.id}: {folder / picture.file} is missing")
        check_key(Path(picture.file).stem, f"{path}: image {picture.id}")
        classed = tuple((classes[item.category], item) for item in annotations)
        loaders.append(_Load(root, path.name, folder / picture.file, picture, classed, labels))
    if not loaders:
        raise InputError(f"{path}: 'annotations' is empty, so no image is left")
    return loaders


@dataclass(frozen=True, slots=True)
class _Load:
    """Loads one image; carries nothing but its own annotations, as other processes get it."""

    root: Path
    listed: str
    image: Path
    picture: Picture
    annotations: tuple[tuple[int, Annotation], ...]
    labels: str

    def __call__(self) -> SourceSample:
        content, size = read_jpeg(self.image)
        if size != self.picture.size:
            raise InputError(
                f"{self.image}: is {size[1]} x {size[0]}, {self.listed} says width "
                f"{self.picture.size[1]}, height {self.picture.size[0]} (image {self.picture.id})"
            )
        mask = paint(self.annotations, size, f"{self.listed}: image {self.picture.id}")
        labels = mask_labels(mask)
        if self.labels == "instances":
            labels = tuple(sorted({label for label, item in self.annotations if not item.crowd}))
        return SourceSample(
            key=self.image.stem,
            image_bytes=content,
            mask=mask,
            labels=labels,
            size=size,
            source_id=self.picture.file,
            where=str(self.image),
        )

    def stamp(self) -> str:
        """Changes with the image file and with what the JSON says about it."""
        told = hashlib.sha256(repr((self.picture, self.labels)).encode())
        for label, item in self.annotations:
            told.update(repr((label, item.id, item.area, item.crowd)).encode())
            shape = item.shape
            for part in shape.outlines if isinstance(shape, Polygons) else (shape.counts,):
                told.update(len(part).to_bytes(8, "big") + part)
        return f"{file_stamp(self.image, self.root)}:{told.hexdigest()}"


def paint(
    annotations: tuple[tuple[int, Annotation], ...], size: tuple[int, int], where: str
) -> NDArray[np.uint8]:
    """The mask of an image: crowds as 255, over them the objects, the largest first.

    Args:
        annotations: of one image, each with its class (1..254).
        size: (H, W) of the image in pixels.
        where: begins error lines.

    Returns:
        uint8 [H, W] class indices.

    Raises:
        InputError: run lengths that do not fit the image.
    """
    mask = np.zeros(size, dtype=np.uint8, order="F")  # as pycocotools' masks lie
    order = sorted(annotations, key=lambda pair: (not pair[1].crowd, -pair[1].area, pair[1].id))
    for label, annotation in order:
        inside = rasterise(annotation.shape, size, f"{where}, annotation {annotation.id}")
        np.copyto(mask, IGNORE if annotation.crowd else label, where=inside)
    return np.ascontiguousarray(mask)
