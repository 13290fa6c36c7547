"""What sources in VOC layout share: lists of ids, class names, labels, and loading one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from camsweep.shards.errors import InputError, nearest
from camsweep.shards.sources.cls_labels import read_cls_labels
from camsweep.shards.sources.images import mask_labels, read_jpeg, read_png_mask
from camsweep.shards.sources.sbd import read_sbd_mask
from camsweep.shards.writing.members import IGNORE, SourceSample, check_key, file_stamp, values_of

Labels = Literal["masks", "xml", "npy"]

BACKGROUND = "background"
LISTS = Path("ImageSets") / "Segmentation"
_JPEG = (".jpg", ".jpeg")


@dataclass(frozen=True, slots=True)
class LoadFiles:
    """Loads one image from its files; a ``members.Loader``.

    Attributes:
        root: the folder of the source; its files are told apart by their names in it.
        image_id: becomes the key.
        image: the JPEG.
        mask: a palette PNG, SBD's ``.mat``, or None where there is none.
        names: the class names, background first.
        labels: the labels themselves, an XML file that holds them, or None = the mask's classes.
    """

    root: Path
    image_id: str
    image: Path
    mask: Path | None
    names: tuple[str, ...]
    labels: tuple[int, ...] | Path | None

    def __call__(self) -> SourceSample:
        """The sample; InputError naming the file where one is wrong."""
        content, size = read_jpeg(self.image)
        mask = None
        if self.mask is not None:
            read = read_sbd_mask if self.mask.suffix == ".mat" else read_png_mask
            mask = read(self.mask)
            if mask.shape != size:
                raise InputError(
                    f"{self.mask}: mask is {mask.shape[1]} x {mask.shape[0]}, "
                    f"its image {self.image.name} {size[1]} x {size[0]}"
                )
            last = len(self.names) - 1
            outside = [value for value in values_of(mask) if last < value != IGNORE]
            if outside:
                raise InputError(
                    f"{self.mask}: holds class {outside[0]}, "
                    f"the list has 0..{last} (and {IGNORE} = ignore)"
                )
        if isinstance(self.labels, Path):
            labels = _xml_labels(self.labels, self.names)
        elif self.labels is not None:
            labels = self.labels
        else:
            assert mask is not None  # the sources see to it
            labels = mask_labels(mask)
        return SourceSample(
            key=self.image_id,
            image_bytes=content,
            mask=mask,
            labels=labels,
            size=size,
            source_id=self.image_id,
            where=str(self.image),
        )

    def stamp(self) -> str:
        """Changes with the files, the labels and the class names."""
        files = [self.image, *([self.mask] if self.mask else [])]
        if isinstance(self.labels, Path):
            files.append(self.labels)
        told = "" if isinstance(self.labels, Path) else repr(self.labels)
        stamps = [file_stamp(path, self.root) for path in files]
        return ":".join([*stamps, told, *self.names])


def find_images(root: Path) -> dict[str, Path]:
    """The JPEG files of ``JPEGImages`` by name without ending; InputError if it can't be read."""
    folder = root / "JPEGImages"
    try:
        files = sorted(folder.iterdir(), reverse=True)  # ID.jpg comes after ID.jpeg, so it stays
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror})") from None
    return {path.stem: path for path in files if path.suffix.lower() in _JPEG}


def find_image(images: dict[str, Path], root: Path, listed: Path, image_id: str) -> Path:
    """The image that a list names, or an InputError that names the list."""
    if image_id not in images:
        missing = root / "JPEGImages" / f"{image_id}.jpg"
        raise InputError(f"{listed}: names {image_id}, but {missing} is missing")
    return images[image_id]


def read_list(path: Path) -> list[str]:
    """The ids of a list: one a line; of the repositories' ``/JPEGImages/ID.jpg ...`` the stem.

    Raises:
        InputError: not to be read, empty, an id that no key can be, or one that comes twice.
    """
    ids = [_image_id(line) for line in _lines(path)]
    if not ids:
        raise InputError(f"{path}: is empty; one image id a line is expected")
    seen: set[str] = set()
    for image_id in ids:
        check_key(image_id, str(path))
        if image_id in seen:
            raise InputError(f"{path}: names {image_id} twice")
        seen.add(image_id)
    return ids


def read_class_names(path: Path) -> tuple[str, ...]:
    """The names of a class list, one a line, background first (added where it is left out).

    Raises:
        InputError: not to be read, a name twice, or too many for masks of 8 bits.
    """
    names = _lines(path)
    if names[:1] != [BACKGROUND]:
        names = [BACKGROUND, *names]
    if len(set(names)) != len(names) or not 2 <= len(names) <= IGNORE:
        raise InputError(f"{path}: 1 to {IGNORE - 1} different classes are needed, one a line")
    return tuple(names)


def find_labels(
    root: Path, labels: str, names: Sequence[str], image_ids: Sequence[str]
) -> dict[str, tuple[int, ...] | Path | None]:
    """Where each image's labels come from, as ``LoadFiles.labels``.

    Args:
        root: the folder in VOC layout.
        labels: ``masks``, ``xml`` (``Annotations/ID.xml``) or ``npy`` (``cls_labels.npy``).
        names: the class names, background first.
        image_ids: the images in question.

    Raises:
        InputError: ``cls_labels.npy`` can't be read or lacks an image.
    """
    if labels == "xml":
        return {image_id: root / "Annotations" / f"{image_id}.xml" for image_id in image_ids}
    if labels == "npy":
        path = root / "cls_labels.npy"
        table = read_cls_labels(path, len(names) - 1)
        missing = [image_id for image_id in image_ids if image_id not in table]
        if missing:
            raise InputError(f"{path}: has no labels of {missing[0]}")
        return {image_id: table[image_id] for image_id in image_ids}
    return dict.fromkeys(image_ids)


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read ({reason})") from None
    return [line.strip() for line in lines if line.strip()]


def _image_id(line: str) -> str:
    if line.startswith("/"):
        return Path(line.split()[0]).stem
    for suffix in (".jpg", ".jpeg", ".png"):
        line = line.removesuffix(suffix)
    return line


def _xml_labels(path: Path, names: tuple[str, ...]) -> tuple[int, ...]:
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
