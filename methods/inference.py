"""Test-time maps: several scales, mirrored too, summed at the image's size, label-masked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from camsweep.methods.backbones import freeze_batch_norm
from camsweep.methods.base import Method
from camsweep.methods.compose import joint_maps, view_maps, views
from camsweep.methods.config import TrialConfig
from camsweep.methods.correlation import resize
from camsweep.methods.normalize import normalise_test
from camsweep.shards.epochs import counted
from camsweep.shards.errors import DamagedSample
from camsweep.shards.node.loading import load
from camsweep.shards.normalisation import IMAGENET_MEAN, IMAGENET_STD

# Consecutive images of one size are run together up to this many pixels (16 of 96 x 96, or one
# of 375 x 500). Constant, so that it cannot change a result between two runs.
PIXELS_A_BATCH = 150_000


class ClassMaps(NamedTuple):
    """The maps of one image, of the classes in its image label alone: of 81 classes few are there.

    Attributes:
        classes: class indices of the maps, ascending; 0 is a background of the maps' own.
        values: float32 [P, H, W] in 0..1, a map a class; those of all other classes are 0.
    """

    classes: tuple[int, ...]
    values: Tensor

    def foreground(self) -> ClassMaps:
        """The same without the maps' own background."""
        start = int(self.has_background)
        return ClassMaps(self.classes[start:], self.values[start:])

    @property
    def has_background(self) -> bool:
        """Whether the first map is the maps' own background."""
        return self.classes[:1] == (0,)

    def dense(self, classes: int) -> Tensor:
        """All ``classes`` maps, background first: float32 [classes, H, W]."""
        full = torch.zeros(classes, *self.values.shape[1:])
        full[list(self.classes)] = self.values
        return full


Maps = dict[str, dict[str, ClassMaps]]


def scale_name(scale: float) -> str:
    """The key of a scale: ``0.5``, ``1``, ``1.5``."""
    return f"{scale:g}"


def to_input(image: npt.NDArray[np.uint8]) -> Tensor:
    """uint8 [H, W, 3] -> normalised float32 [3, H, W]."""
    values = torch.from_numpy(image.astype(np.float32)).div_(255)
    values = (values - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    return values.permute(2, 0, 1).contiguous()


def rescale(image: npt.NDArray[np.uint8], scale: float) -> npt.NDArray[np.uint8]:
    """Bicubic resize of the uint8 picture (PIL), sides rounded half to even as in the releases."""
    height, width = image.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if size == (width, height):
        return image
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def shrink(
    image: npt.NDArray[np.uint8], mask: npt.NDArray[np.uint8] | None, max_side: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8] | None]:
    """Picture and mask with a long side of at most ``max_side`` (0 = as they are)."""
    long_side = max(image.shape[:2])
    if max_side == 0 or long_side <= max_side:
        return image, mask
    small = rescale(image, max_side / long_side)
    if mask is not None:
        size = (small.shape[1], small.shape[0])
        mask = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    return small, mask


def groups_of(sizes: npt.NDArray[np.int64], max_side: int) -> list[list[int]]:
    """The images that ``localize`` runs together, all of them readable.

    A network's results depend on how many images it sees at once, in the last bits. So a team deals
    out these groups, and every map is that of one process alone.

    Args:
        sizes: int64 [N, 2], (H, W) of every image.
        max_side: see ``shrink``.
    """
    groups: list[list[int]] = []
    before = None
    for index, (height, width) in enumerate(sizes.tolist()):
        shrunk = max(height, width) > max_side > 0
        side = max_side / max(height, width) if shrunk else 1.0
        size = (max(1, round(height * side)), max(1, round(width * side)))
        room = groups and (len(groups[-1]) + 1) * size[0] * size[1] <= PIXELS_A_BATCH
        if size == before and room:
            groups[-1].append(index)
        else:
            groups.append([index])
        before = size
    return groups


@torch.inference_mode()
def localize(
    method: Method,
    net: nn.Module,
    reader: Any,
    config: TrialConfig,
    device: torch.device | str = "cpu",
    on_image: Callable[[int], None] | None = None,
    on_damaged: Callable[[int], None] | None = None,
    workers: int = 0,
    groups: Sequence[Sequence[int]] | None = None,
) -> Iterator[tuple[int, Maps, npt.NDArray[np.uint8] | None]]:
    """Maps of every image of a split, in order.

    Args:
        method: whose maps are made.
        net: the trained network; it is put in eval mode.
        reader: ``camsweep.shards.reader.SplitReader``.
        config: scales, flip, normalisation, ``max_side``.
        device: where the network runs.
        on_image: called with the index after each image.
        on_damaged: called with the index of an image that can't be read, which is left out; None:
            the first one ends the pass.
        workers: threads that read ahead; 0 reads each image when its turn comes. Does not change
            the result.
        groups: indices of the images to run, some of ``groups_of``; None for the whole split.

    Yields:
        ``(index, {map name: {"all" or scale: ClassMaps}}, mask)``; a scale's own maps and their sum
        are each normalised. Maps of ``compose.joint_maps`` may have a background of their own.
    """
    net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    freeze_batch_norm(net).eval()
    labels = torch.as_tensor(np.asarray(reader.labels))
    group: list[tuple[int, npt.NDArray[np.uint8], npt.NDArray[np.uint8] | None]] = []
    read = partial(_read, reader, on_damaged is not None)
    asked = range(len(reader)) if groups is None else [i for own in groups for i in own]
    begins = {own[0] for own in groups or ()}
    loaded = load(read, asked, workers=workers)
    samples = counted(loaded, len(asked), "images")
    for index, sample in chain(samples, [(len(reader), None)]):
        if sample is None and index < len(reader):
            assert on_damaged is not None
            on_damaged(index)
            continue
        if sample is not None:
            image, mask = shrink(sample.image, sample.mask, config.max_side)
            same = bool(group) and group[0][1].shape == image.shape and index not in begins
            room = (len(group) + 1) * image.shape[0] * image.shape[1] <= PIXELS_A_BATCH
        if group and (sample is None or not (same and room)):
            chosen = labels[[entry[0] for entry in group]]
            found = _localize_group(method, net, [e[1] for e in group], chosen, config, device)
            for entry, maps in zip(group, found, strict=True):
                yield entry[0], maps, entry[2]
                if on_image is not None:
                    on_image(entry[0])
            group = []
        if sample is not None:
            group.append((index, image, mask))


def _read(reader: Any, skip_damaged: bool, index: int) -> tuple[int, Any]:
    """A sample and its index; None in its place where it is damaged and to be skipped."""
    try:
        return index, reader[index]
    except DamagedSample:
        if not skip_damaged:
            raise
        return index, None


def _localize_group(
    method: Method,
    net: nn.Module,
    images: list[npt.NDArray[np.uint8]],
    labels: Tensor,
    config: Any,
    device: torch.device | str,
) -> list[Maps]:
    """Maps of images of one size. Only the classes of the labels are resized and kept."""
    size = (images[0].shape[0], images[0].shape[1])
    summed: dict[str, dict[str, Tensor]] = {}
    backed: dict[str, Tensor] = {}
    for scale in config.scales:
        inputs = torch.stack([to_input(rescale(image, scale)) for image in images])
        inputs = inputs.to(device, memory_format=torch.channels_last)
        for name, maps, present in _scale_maps(method, net, inputs, labels, size, config):
            scales = summed.setdefault(name, {})
            key = scale_name(scale)
            scales[key] = scales[key] + maps if key in scales else maps
            backed[name] = present
    for scales in summed.values():
        scales["all"] = torch.stack(list(scales.values())).sum(0)

    results: list[Maps] = [{name: {} for name in summed} for _ in images]
    for name, scales in summed.items():
        # A background is compared with the others as it is: min-max would move it (SIPE).
        own_background = backed[name].shape != labels.shape
        how = "max" if own_background else config.normalise
        first = 0 if own_background else 1
        classes = [tuple((row.nonzero()[:, 0] + first).tolist()) for row in backed[name]]
        for key, maps in scales.items():
            # One transfer a group and map, not one an image.
            parts = normalise_test(maps, how).cpu().split([len(own) for own in classes])
            for result, own, values in zip(results, classes, parts, strict=True):
                result[name][key] = ClassMaps(own, values)
    return results


def _scale_maps(
    method: Method,
    net: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    size: tuple[int, int],
    config: Any,
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Every map of one scale and view.

    Yields:
        Its name, the maps [P, H, W] of the classes that are present, and which those are, bool
        [N, C-1], or [N, C] where the method gives a background of its own.
    """
    present = labels > 0
    seen = present.to(inputs.device)
    output = net(views(inputs, config))
    for name, maps in view_maps(output).items():
        for mirrored, part in enumerate(maps.split(len(inputs))):
            own = part[seen][:, None].float()
            own = own.flip(-1) if mirrored else own
            if config.upsample == "aligned":
                # Two steps: to the network's input as inside of it, then to the picture's size.
                own = _to_size(resize(own, (inputs.shape[-2], inputs.shape[-1])), size)
            else:
                # At once, to the next multiple of the stride, of which the picture is cut.
                whole = (-(-size[0] // 16) * 16, -(-size[1] // 16) * 16)
                own = _to_size(own, whole)[..., : size[0], : size[1]]
            yield name, own, present
    joint = joint_maps(method, net, inputs, output, labels.to(inputs.device), config)
    for name, maps in joint.items():
        ground = torch.ones_like(present[:, :1])
        own_present = (
            present if maps.shape[1] == present.shape[1] else torch.cat([ground, present], 1)
        )
        chosen = maps[own_present.to(maps.device)][:, None].float()
        yield name, _to_size(chosen, size), own_present


def _to_size(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """[P, 1, h, w] -> [P, H, W], bilinear, corners not aligned."""
    if maps.shape[-2:] != size:
        maps = F.interpolate(maps, size, mode="bilinear", align_corners=False)
    return maps[:, 0]
