from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from PIL import Image

from camsweep.shards.embedded.kinds import BODIES, CLASSES, COLOURS, HEADS, partner
from camsweep.shards.embedded.pretrain_images import BODY_WAYS, HEAD_WAYS, pretrain_set
from camsweep.shards.embedded.render import IGNORE, mask_labels, render
from camsweep.shards.embedded.scene import SIZE, Blob, Scene, draw_scene, draw_single, scene_rng
from camsweep.shards.embedded.source import embedded_source, render_sample
from camsweep.shards.errors import InputError


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [draw_scene(scene_rng(0, "train", index)) for index in range(300)]


@pytest.fixture(scope="module")
def rendered(scenes: list[Scene]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [render(scene) for scene in scenes]


def test_a_sample_is_a_function_of_seed_split_and_index() -> None:
    first, again = render_sample(3, "train", 5), render_sample(3, "train", 5)
    assert first.image_bytes == again.image_bytes
    np.testing.assert_array_equal(first.mask, again.mask)
    others = [render_sample(*key) for key in ((4, "train", 5), (3, "val", 5), (3, "train", 6))]
    for one, two in itertools.combinations([first, *others], 2):
        assert one.image_bytes != two.image_bytes


def test_a_larger_source_begins_with_the_smaller_one() -> None:
    small, large = embedded_source(train=2, val=1), embedded_source(train=4, val=1)
    assert [draw().image_bytes for draw in small.splits["train"]] == [
        draw().image_bytes for draw in large.splits["train"][:2]
    ]


def test_jpeg_has_full_colour_resolution_and_stays_close_to_the_pixels() -> None:
    sample = render_sample(0, "val", 1)
    with Image.open(io.BytesIO(sample.image_bytes)) as picture:
        assert picture.format == "JPEG"
        assert picture.size == (SIZE, SIZE)
        assert {layer[1:3] for layer in picture.layer} == {(1, 1)}  # type: ignore[attr-defined]
        decoded = np.asarray(picture).astype(int)
    image, _ = render(draw_scene(scene_rng(0, "val", 1)))
    assert np.abs(decoded - image).mean() < 4


def test_source_describes_what_it_holds() -> None:
    source = embedded_source(seed=2, train=3, val=2)
    assert source.settings["seed"] == 2
    assert {name: len(split) for name, split in source.splits.items()} == {"train": 3, "val": 2}
    assert len(source.classes) == len(source.colours) == 7
    assert source.classes[0] == "background"
    assert len(set(source.classes)) == 7
    assert len(set(COLOURS)) == 7
    for split in source.splits.values():
        for draw in split:
            sample = draw()
            assert sample.mask is not None
            assert sample.mask.shape == sample.size == (SIZE, SIZE)
            assert sample.mask.dtype == np.uint8
            assert sample.labels == mask_labels(sample.mask)


@pytest.mark.parametrize(
    ("arguments", "named"), [({"seed": -1}, "seed"), ({"train": 0}, "train"), ({"val": 0}, "val")]
)
def test_wrong_arguments_are_refused_by_name(arguments: dict[str, int], named: str) -> None:
    with pytest.raises(InputError, match=named):
        embedded_source(**arguments)


def test_statistics_of_the_set(rendered: list[tuple[np.ndarray, np.ndarray]]) -> None:
    masks = np.stack([mask for _, mask in rendered])
    counted = masks != IGNORE
    foreground = ((masks > 0) & counted).sum() / counted.sum()
    assert 0.17 < foreground < 0.24
    labels = [mask_labels(mask) for mask in masks]
    assert min(map(len, labels)) >= 1
    assert 1.35 < np.mean([len(found) for found in labels]) < 1.7
    frequency = np.bincount(np.concatenate(labels), minlength=7)[1:] / len(labels)
    assert frequency.min() > 0.15
    assert 0.005 < (masks == IGNORE).mean() < 0.06


def test_images_use_the_range_without_clipping_much(
    rendered: list[tuple[np.ndarray, np.ndarray]],
) -> None:
    images = np.stack([image for image, _ in rendered])
    assert images.dtype == np.uint8
    assert 70 < images.mean() < 160
    assert (images == 255).mean() < 0.02
    assert (images == 0).mean() < 0.02


def test_heads_are_inside_and_objects_one_to_three(scenes: list[Scene]) -> None:
    counts = []
    for scene in scenes:
        heads = [thing.head for thing in scene.things if thing.head is not None]
        counts.append(len(heads))
        for head in heads:
            assert head.radius <= head.x <= SIZE - 1 - head.radius
            assert head.radius <= head.y <= SIZE - 1 - head.radius
    shares = np.bincount(counts, minlength=4)[1:] / len(counts)
    np.testing.assert_allclose(shares, [0.5, 0.38, 0.12], atol=0.08)


def test_the_head_tells_the_class_and_the_body_nearly_does(scenes: list[Scene]) -> None:
    objects = [thing for scene in scenes for thing in scene.things if thing.head is not None]
    agrees = []
    for thing in objects:
        assert thing.head is not None
        assert thing.head.kind == thing.label - 1
        assert thing.body.kind in (thing.label - 1, partner(thing.label - 1))
        agrees.append(thing.body.kind == thing.label - 1)
    assert 0.84 < np.mean(agrees) < 0.96


def test_pairs_share_the_texture_and_differ_in_the_head() -> None:
    for kind in range(6):
        assert BODIES[kind].texture == BODIES[partner(kind)].texture
        assert partner(partner(kind)) == kind
    assert len({head.shape for head in HEADS}) == len({head.hue for head in HEADS}) == 6
    assert len(set(CLASSES)) == 7


def test_headless_bodies_and_occluders_are_background() -> None:
    scene = draw_single(scene_rng(0, "x", 1), HEAD_WAYS - 1, 2)
    assert not render(scene)[1].any()
    with_object = draw_single(scene_rng(0, "x", 2), 3, 0)
    assert mask_labels(render(with_object)[1]) == (4,)
    wall = Blob(48.0, 48.0, 200.0, 200.0, 0.0, 0.5)
    covered = Scene(**{**vars(with_object), "occluder": wall})
    assert not render(covered)[1].any()


def test_contour_surrounds_every_object(rendered: list[tuple[np.ndarray, np.ndarray]]) -> None:
    for _, mask in rendered[:50]:
        inside = (mask > 0) & (mask != IGNORE)
        for axis in (0, 1):
            ahead, behind = np.roll(inside, -1, axis), mask == 0
            touching = np.delete(ahead & behind, -1, axis)
            assert not touching.any()


def test_pretraining_images_draw_head_and_body_independently() -> None:
    images, heads, bodies = pretrain_set(400, seed=1)
    assert images.shape == (400, SIZE, SIZE, 3)
    assert images.dtype == np.uint8
    assert set(heads) == set(range(HEAD_WAYS))
    assert set(bodies) == set(range(BODY_WAYS))
    table = np.zeros((HEAD_WAYS, BODY_WAYS))
    np.add.at(table, (heads, bodies), 1)
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
    chi_squared = ((table - expected) ** 2 / expected).sum()
    assert chi_squared < 60  # 30 degrees of freedom: p < 0.001 above 59.7
    again, *_ = pretrain_set(3, seed=1)
    np.testing.assert_array_equal(again, images[:3])
    assert (pretrain_set(3, seed=2)[0] != images[:3]).any()
