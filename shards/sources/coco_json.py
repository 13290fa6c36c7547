"""Reading a COCO instances JSON into compact, checked records."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camsweep.shards.errors import InputError
from camsweep.shards.sources.coco_shapes import Polygons, Runs, read_shape


@dataclass(frozen=True, slots=True)
class Annotation:
    """One object, or one crowd, of an image.

    Attributes:
        id: its ``id``.
        image: ``image_id``.
        category: ``category_id``.
        area: square pixels; decides what lies on top.
        crowd: whether it outlines a crowd rather than one object.
        shape: where it lies.
    """

    id: int
    image: int
    category: int
    area: float
    crowd: bool
    shape: Polygons | Runs


@dataclass(frozen=True, slots=True)
class Picture:
    """One entry of ``images``: id, file name, (H, W) in pixels."""

    id: int
    file: str
    size: tuple[int, int]


@dataclass(frozen=True)
class Instances:
    """What one JSON holds.

    Attributes:
        pictures: in ascending order of id.
        annotations: by image id, ascending by their own id; images without any are left out.
        categories: id -> name, ascending.
    """

    pictures: list[Picture]
    annotations: dict[int, list[Annotation]]
    categories: dict[int, str]


def read_instances(path: Path) -> Instances:
    """Read and check an instances JSON.

    Every annotation is packed as soon as the parser has read it, so memory holds the file's text
    and the packed numbers, not some 50 million Python floats.

    Raises:
        InputError: no such file, not JSON, or an entry is wrong; the line names the file, the
            entry and the key.
    """
    try:
        with path.open(encoding="utf-8") as stream:
            content = json.load(stream, object_hook=_Packer(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not JSON ({str(error)[:100]})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: a COCO instances file is expected")
    categories = _categories(path, _entries(path, content, "categories", dict))
    pictures = [_picture(path, entry) for entry in _entries(path, content, "images", dict)]
    _refuse_twice(path, "images", [picture.id for picture in pictures])
    pictures.sort(key=lambda picture: picture.id)
    annotations = _entries(path, content, "annotations", Annotation)
    _refuse_twice(path, "annotations", [annotation.id for annotation in annotations])
    grouped: dict[int, list[Annotation]] = {}
    for annotation in sorted(annotations, key=lambda annotation: annotation.id):
        grouped.setdefault(annotation.image, []).append(annotation)
        if annotation.category not in categories:
            raise InputError(
                f"{path}: annotation {annotation.id}: category_id {annotation.category} "
                "is not in 'categories'"
            )
    unknown = sorted(grouped.keys() - {picture.id for picture in pictures})
    if unknown:
        raise InputError(
            f"{path}: annotation {grouped[unknown[0]][0].id}: image_id {unknown[0]} "
            "is not in 'images'"
        )
    return Instances(pictures, grouped, categories)


def _entries(path: Path, content: dict[str, Any], key: str, kind: type) -> list[Any]:
    entries = content.get(key)
    if not isinstance(entries, list) or (key != "annotations" and not entries):
        raise InputError(f"{path}: '{key}' is missing; a COCO instances file has a list of them")
    for entry in entries:
        if not isinstance(entry, kind):
            # The packer takes an object for an annotation by its key 'segmentation'.
            name = entry.get("id") if isinstance(entry, dict) else str(entry)[:40]
            lacks = "no 'segmentation'" if key == "annotations" else "not an object"
            raise InputError(f"{path}: {key}: {name}: {lacks}")
    return entries


def _refuse_twice(path: Path, what: str, ids: list[int]) -> None:
    if len(set(ids)) != len(ids):
        seen: set[int] = set()
        twice = next(number for number in ids if number in seen or seen.add(number))  # type: ignore[func-returns-value]
        raise InputError(f"{path}: {what}: id {twice} comes twice")


def _categories(path: Path, entries: list[dict[str, Any]]) -> dict[int, str]:
    found: dict[int, str] = {}
    for entry in entries:
        number = _whole(entry, "id", f"{path}: categories")
        name = entry.get("name")
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"{path}: categories: id {number}: 'name' is missing")
        if number in found or name in found.values():
            raise InputError(f"{path}: categories: id {number}, name '{name}' comes twice")
        found[number] = name
    return dict(sorted(found.items()))


def _picture(path: Path, entry: dict[str, Any]) -> Picture:
    number = _whole(entry, "id", f"{path}: images")
    where = f"{path}: image {number}"
    name = entry.get("file_name")
    # No folders: a JSON from elsewhere must not name a file outside the images' folder.
    if not isinstance(name, str) or name in ("", ".", "..") or Path(name).name != name:
        raise InputError(f"{where}: 'file_name' must be the name of a file, without folders")
    size = _whole(entry, "height", where), _whole(entry, "width", where)
    if min(size) < 1:
        raise InputError(f"{where}: height and width are {size[0]}, {size[1]}; 1 or more is right")
    return Picture(number, name, size)


class _Packer:
    """The hook that ``json`` calls with every object it has read, innermost first."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, entry: dict[str, Any]) -> Any:
        if "segmentation" in entry:
            return self._annotation(entry)
        if "file_name" in entry:
            # Addresses and dates of 80,000 images are not needed.
            return {
                key: entry[key] for key in ("id", "file_name", "height", "width") if key in entry
            }
        return entry

    def _annotation(self, entry: dict[str, Any]) -> Annotation:
        number = _whole(entry, "id", f"{self.path}: annotations")
        where = f"{self.path}: annotation {number}"
        area = entry.get("area")
        if isinstance(area, bool) or not isinstance(area, int | float) or not math.isfinite(area):
            raise InputError(f"{where}: 'area' must be a number of square pixels")
        crowd = entry.get("iscrowd", 0)
        if crowd not in (0, 1):
            raise InputError(f"{where}: 'iscrowd' is {crowd!r}; 0 or 1 is right")
        return Annotation(
            id=number,
            image=_whole(entry, "image_id", where),
            category=_whole(entry, "category_id", where),
            area=float(area),
            crowd=bool(crowd),
            shape=read_shape(entry["segmentation"], where),
        )


def _whole(entry: dict[str, Any], key: str, where: str) -> int:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        shown = "is missing" if value is None else f"is {value!r}; a whole number is right"
        raise InputError(f"{where}: '{key}' {shown}")
    return value
