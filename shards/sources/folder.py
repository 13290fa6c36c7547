"""Any folder in VOC layout with a class list of its own as a source of shards."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from pydantic import JsonValue

from camsweep.shards.colours import colour_map
from camsweep.shards.errors import InputError, nearest
from camsweep.shards.sources.layout import (
    LISTS,
    Labels,
    LoadFiles,
    find_image,
    find_images,
    find_labels,
    read_class_names,
    read_list,
)
from camsweep.shards.writing.members import Loader, Source, check_key


def folder_source(
    root: Path,
    *,
    classes: Path | None = None,
    masks: str = "SegmentationClass",
    labels: Labels = "masks",
    name: str | None = None,
) -> Source:
    """Describe any folder in VOC layout for ``writer.build``.

    Every list ``ImageSets/Segmentation/NAME.txt`` is a split. Images are ``JPEGImages/ID.jpg`` or
    ``.jpeg``, masks palette or grey PNGs of class indices with 255 = ignore.

    Args:
        root: the folder.
        classes: a text file with one class a line, background left out or first; default
            ``classes.txt`` in the root. There is no other default.
        masks: the folder of the masks, ``ID.png``. Where labels do not come from the masks an
            image may have none (it can be trained on, not evaluated); ``settings`` counts them.
        labels: as of ``voc_source``.
        name: the data set's name; default the folder's.

    Raises:
        InputError: the folder is not in this layout, has no class list, a list names what is
            missing, or an option is misspelt. Wrong files show when a sample is loaded.
    """
    root = Path(root)
    if labels not in get_args(Labels):
        raise InputError(f"labels: '{labels}'{nearest(labels, get_args(Labels))}")
    if not root.is_dir():
        raise InputError(f"--root {root}: no such folder; name one in VOC layout")
    if classes is None:
        classes = root / "classes.txt"
        if not classes.is_file():
            raise InputError(f"{classes}: is missing; --classes FILE names one class a line")
    names = read_class_names(Path(classes))
    if not (root / masks).is_dir() and labels == "masks":
        folders = [path.name for path in root.iterdir() if path.is_dir()]
        raise InputError(f"{root / masks}: no such folder{nearest(masks, folders)}")
    lists = _read_lists(root)
    images = find_images(root)
    told = find_labels(root, labels, names, [name for ids in lists.values() for name in ids])
    splits: dict[str, list[Loader]] = {}
    without: dict[str, JsonValue] = {}
    for path, ids in lists.items():
        found = {image_id: root / masks / f"{image_id}.png" for image_id in ids}
        missing = [image_id for image_id in ids if not found[image_id].is_file()]
        if missing and labels == "masks":
            raise InputError(f"{path}: names {missing[0]}, but {found[missing[0]]} is missing")
        for image_id in missing:
            del found[image_id]
        without[path.stem] = len(missing)
        splits[path.stem] = [
            LoadFiles(
                root=root,
                image_id=image_id,
                image=find_image(images, root, path, image_id),
                mask=found.get(image_id),
                names=names,
                labels=told[image_id],
            )
            for image_id in ids
        ]
    return Source(
        name=name or root.resolve().name,
        source="folder in PASCAL VOC layout",
        classes=names,
        colours=colour_map(len(names)),
        settings={"source": "folder", "masks": masks, "labels": labels, "without_mask": without},
        splits=splits,
    )


def _read_lists(root: Path) -> dict[Path, list[str]]:
    """The ids of every list, by its file."""
    paths = sorted((root / LISTS).glob("*.txt"))
    if not paths:
        raise InputError(f"{root / LISTS}: no list; one NAME.txt a split is expected")
    for path in paths:
        check_key(path.stem, f"{path}: a split's name")
    return {path: read_list(path) for path in paths}
