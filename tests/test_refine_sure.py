"""Stored labels of sure pixels, and their crops against a plain computation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from refine_world import Squares, config_of

from camsweep.methods.refine.densecrf import SETTINGS
from camsweep.methods.refine.labels import affinity_labels, alpha_scores, ir_labels
from camsweep.methods.refine.sure import MovedLabels, stored_labels
from camsweep.shards.augment import Augment, Drawn, draw, move_image, sample_rng
from camsweep.shards.errors import DamagedSample

IRN = config_of(refine="irn")
SIPE = config_of(refine="irn", irn_recipe="sipe", ipe=True, pseudo_labels="estimated")
SEAM = config_of(refine="affinity", affinity_recipe="seam")


def picture(height: int = 40, width: int = 52) -> tuple[NDArray[np.uint8], torch.Tensor]:
    """Three stripes of colour, and maps of two classes on the first two."""
    rng = np.random.default_rng(0)
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 3, 0], image[:, width // 3 : 2 * width // 3, 1] = 200, 200
    image += rng.integers(0, 4, image.shape, dtype=np.uint8)
    maps = 0.1 * torch.rand(2, height, width, generator=torch.Generator().manual_seed(0))
    maps[0, :, : width // 4] += 0.8
    maps[1, :, width // 3 : width // 2] += 0.8
    return image, maps


def test_irns_labels_compare_with_constants_or_the_maps_own_background() -> None:
    image, maps = picture()
    given = torch.from_numpy(image)
    careful, generous = (torch.cat([torch.full((1, 40, 52), t), maps]) for t in (0.30, 0.05))
    found = stored_labels(IRN, image, maps, False)
    assert found.shape == (1, 40, 52)
    assert found.dtype == np.uint8
    assert np.array_equal(found[0], ir_labels(given, careful, generous))
    assert set(np.unique(found)) >= {1, 2}

    own = torch.cat([1 - maps.amax(0, keepdim=True), maps])
    assert np.array_equal(stored_labels(IRN, image, own, True), found)
    half = torch.cat([own[:1] / 2, maps])
    found = stored_labels(SIPE, image, own, True)
    assert np.array_equal(found[0], ir_labels(given, own, half))
    with pytest.raises(ValueError, match="background of their own"):
        stored_labels(SIPE, image, maps, False)


def test_affinitynets_scores_give_the_same_labels_in_8_bits() -> None:
    image, maps = picture()
    given = torch.from_numpy(image)
    stack = stored_labels(SEAM, image, maps, False)
    assert stack.shape == (6, 40, 52)
    scores = [alpha_scores(given, maps, alpha, SETTINGS["seam"]) for alpha in (4, 24)]
    assert np.abs(stack / 255 - torch.cat(scores).numpy()).max() <= 0.5 / 255 + 1e-6
    for cell in (4, 8):
        wanted = affinity_labels(*scores, pool=cell)
        low, high = (torch.from_numpy(stack).float() / 255).chunk(2)
        assert torch.equal(affinity_labels(low, high, pool=cell), wanted)
        assert {1, 2} <= set(wanted.unique().tolist())
    own = torch.cat([torch.rand(1, 40, 52), maps])
    assert np.array_equal(stored_labels(SEAM, image, own, True), stack)


@pytest.mark.parametrize("seed", range(4))
def test_8_bits_change_labels_only_at_ties(seed: int) -> None:
    """Scores at random, far from the near certainty that a CRF gives."""
    drawn = torch.Generator().manual_seed(seed)
    low, high = torch.rand(2, 3, 160, 160, generator=drawn).log().mul(-1)
    low, high = (scores / scores.sum(0) for scores in (low, high))
    stack = (torch.cat([low, high]) * 255).round() / 255
    wanted, found = affinity_labels(low, high), affinity_labels(*stack.chunk(2))
    gaps = (
        torch.stack(
            [
                torch.nn.functional.avg_pool2d(scores[None], 8)[0].topk(2, 0).values.diff(dim=0)[0]
                for scores in (low, high)
            ]
        )
        .abs()
        .amin(0)
    )
    differ = found != wanted
    assert differ.float().mean() < 0.02
    assert (gaps[differ] < 2 * 0.5 / 255).all()


@pytest.mark.parametrize("config", [IRN, SIPE, SEAM], ids=["irn", "sipe", "seam"])
@pytest.mark.parametrize("size", [(40, 52), (1, 30), (30, 1), (1, 1)])
def test_images_without_a_class_are_background(config: Any, size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    for maps, own in ((torch.zeros(0, *size), False), (torch.zeros(1, *size), True)):
        stack = stored_labels(config, image, maps, own)
        crop = moved([stack], [], 4, plain_draw(size, 16))
        inside = crop[: -(-size[0] // 4), : -(-size[1] // 4)]
        assert crop.shape == (4, 4)
        assert (inside <= 1).all()
        if min(size) > 4:
            assert (inside == 1).all()


@pytest.mark.parametrize("config", [IRN, SIPE, SEAM], ids=["irn", "sipe", "seam"])
@pytest.mark.parametrize("size", [(1, 30), (30, 1), (1, 1)])
def test_maps_of_zero_and_thin_images(config: Any, size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    maps = torch.zeros(2, *size)
    stack = stored_labels(config, image, torch.cat([torch.ones(1, *size), maps]), True)
    crop = moved([stack], [5, 9], 1, plain_draw(size, 32))
    assert crop.sum() == (crop == 1).sum() == size[0] * size[1]


def plain_draw(size: tuple[int, int], crop: int) -> Drawn:
    """The image as it is, in the upper left corner."""
    settings = Augment(crop=crop, resize=None, flip=False)

    class Zeros:
        def random(self, number: int) -> NDArray[np.float64]:
            return np.zeros(number)

        def permutation(self, number: int) -> NDArray[np.int64]:
            return np.arange(number)

    return draw(*size, settings, Zeros())  # type: ignore[arg-type]


def moved(stacks: Any, classes: list[int], cell: int, drawn: Drawn) -> torch.Tensor:
    return MovedLabels(stacks, [classes], cell).moved(0, drawn)


def cropped(values: NDArray[Any], drawn: Drawn, fill: float) -> NDArray[Any]:
    """A resized picture [H, W] mirrored and pasted on a canvas of ``fill``."""
    if drawn.mirrored:
        values = values[:, ::-1]
    canvas = np.full((drawn.crop, drawn.crop), fill, values.dtype)
    part = values[drawn.rows.in_image, drawn.columns.in_image]
    canvas[drawn.rows.on_canvas, drawn.columns.on_canvas] = part
    return canvas


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("crop", "cell"), [(32, 4), (64, 4), (64, 2), (30, 4)])
def test_irns_labels_are_moved_as_released(seed: int, crop: int, cell: int) -> None:
    rows = np.random.default_rng(1).choice(np.array([0, 1, 2, 255], np.uint8), (41, 53))
    settings = Augment(crop=crop, resize=None, rescale=(0.5, 1.5))
    drawn = draw(41, 53, settings, sample_rng(0, 0, seed))
    found = moved([rows[None]], [3, 80], cell, drawn)
    size = (drawn.width, drawn.height)
    resized = np.asarray(Image.fromarray(rows).resize(size, Image.Resampling.NEAREST))
    whole = cropped(resized, drawn, 255)
    if crop % cell == 0:
        small = Image.fromarray(whole).resize((crop // cell,) * 2, Image.Resampling.NEAREST)
        wanted = np.asarray(small)
    else:
        places = np.minimum(np.arange(cell // 2, crop + cell // 2, cell), crop - 1)
        wanted = whole[places][:, places]
    numbers = np.array([0, 3, 80, *[255] * 253])[wanted]
    assert found.dtype == torch.int32
    assert np.array_equal(found, np.where(numbers == 255, 0, numbers + 1))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("crop", "cell"), [(32, 8), (64, 8), (64, 4), (30, 4)])
def test_affinitynets_scores_are_moved_as_released(seed: int, crop: int, cell: int) -> None:
    stack = np.random.default_rng(2).integers(0, 256, (6, 41, 53), dtype=np.uint8)
    stack[:, :, 20:] //= 8
    stack[[0, 3], :, 20:] *= 4  # background is sure there
    stack[[1, 4], :, :12] |= 192  # and a class here
    settings = Augment(crop=crop, resize=None)
    drawn = draw(41, 53, settings, sample_rng(0, 0, seed))
    found = moved([stack], [3, 80], cell, drawn)
    canvas = np.stack([cropped(scores / 255, drawn, 0.0) for scores in stack])
    wanted = np.zeros((-(-crop // cell),) * 2, np.int64)
    for y, x in np.ndindex(wanted.shape):
        block = canvas[:, y * cell : (y + 1) * cell, x * cell : (x + 1) * cell]
        low, high = np.split(block.mean((1, 2)), 2)
        sure = int(low.argmax())
        number = [0, 4, 81][sure]  # the class + 1
        if high.argmax() == 0:
            number = 1
        wanted[y, x] = 0 if max(low.max(), high.max()) < 1e-5 else number
    assert np.array_equal(found, wanted)
    assert len(np.unique(wanted)) > 1 or crop < 64


def test_labels_lie_where_their_image_lies() -> None:
    """The red square's cells in the moved image are those that the moved labels call red."""
    data = Squares(2)
    rows = data.masks[:1].copy()
    settings = Augment(crop=48, resize=None, rescale=(0.5, 1.5), jitter=(0, 0, 0, 0))
    for epoch in range(8):
        drawn = draw(64, 64, settings, sample_rng(1, epoch, 0))
        image = move_image(data.image(0), drawn, settings)
        found = moved([rows], [1, 2], 1, drawn)
        red = (image[0] - image[2] > 1.0) & drawn.valid()
        assert ((found == 2) != red).float().mean() < 0.02


def test_what_a_stack_raises_passes_through() -> None:
    class Stacks:
        def __getitem__(self, index: int) -> NDArray[np.uint8]:
            raise DamagedSample(f"labels of {index}")

    with pytest.raises(DamagedSample, match="labels of 0"):
        moved(Stacks(), [1], 4, plain_draw((8, 8), 8))
    with pytest.raises(ValueError, match="6 pictures are no labels of 1 classes"):
        moved([np.zeros((6, 8, 8), np.uint8)], [1], 4, plain_draw((8, 8), 8))


@pytest.mark.parametrize("config", [IRN, SEAM], ids=["irn", "seam"])
def test_81_classes(config: Any) -> None:
    image = np.zeros((16, 16, 3), np.uint8)
    image[:, 8:] = 255
    maps = torch.full((80, 16, 16), 0.02)
    maps[79, :, 8:] = 1
    stack = stored_labels(config, image, maps, False)
    found = moved([stack], list(range(1, 81)), 4, plain_draw((16, 16), 16))
    assert (found[:, 2:] == 81).all()
    assert (found[:, :2] <= 1).all()
