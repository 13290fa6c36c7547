from __future__ import annotations

import io
import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from typer.testing import CliRunner

from camsweep.platform.cli.shards import app
from camsweep.shards.errors import InputError
from camsweep.shards.manifest import load_manifest
from camsweep.shards.reader import open_split
from camsweep.shards.sources.coco import coco_source
from camsweep.shards.verify import verify
from camsweep.shards.writing.writer import build

HEIGHT, WIDTH = 40, 60


def box(x: int, y: int, width: int, height: int) -> list[float]:
    """A rectangle's polygon; on whole coordinates it covers exactly width x height pixels."""
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def runs(inside: NDArray[np.bool_]) -> list[int]:
    """Run lengths of a mask down its columns, outside first: an encoder of our own."""
    flat = inside.ravel(order="F").astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat])))
    return [int(n) for n in np.diff(np.concatenate([[0], edges, [flat.size]]))]


def packed(lengths: list[int]) -> str:
    """The packed text of run lengths, written after the format's description."""
    text = ""
    for place, length in enumerate(lengths):
        number = length - lengths[place - 2] if place > 2 else length
        while True:
            digit = number & 31
            number >>= 5
            last = number == (-1 if digit & 16 else 0)
            text += chr(48 + digit + (0 if last else 32))
            if last:
                break
    return text


def blob(seed: int, level: float = 0.2) -> NDArray[np.bool_]:
    """A ragged random region."""
    noise = np.random.default_rng(seed).normal(size=(HEIGHT, WIDTH))
    smooth = sum(np.roll(noise, (dy, dx), (0, 1)) for dy in range(5) for dx in range(5))
    return np.asarray(smooth / 5 > level)


def rle(inside: NDArray[np.bool_], pack: bool) -> dict[str, Any]:
    lengths = runs(inside)
    return {"size": [HEIGHT, WIDTH], "counts": packed(lengths) if pack else lengths}


def annotation(number: int, image: int, category: int, shape: Any, area: float, **more: Any) -> Any:
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "segmentation": shape,
        "area": area,
        "iscrowd": 0,
        "bbox": [0, 0, 1, 1],
    } | more


CATEGORIES = [
    {"id": 90, "name": "toothbrush"},
    {"id": 1, "name": "person"},
    {"id": 18, "name": "dog"},
]
PERSON, DOG, BRUSH = 1, 2, 3
ANNOTATIONS = [
    # Image 9: a small dog inside a person (listed first: the order is the areas', not the file's),
    # a packed crowd behind both, a brush of two pieces.
    annotation(11, 9, 18, [box(10, 10, 5, 4)], 20.0),
    annotation(12, 9, 1, [box(5, 5, 20, 25)], 500.0),
    annotation(13, 9, 1, rle(blob(1), True), 900.0, iscrowd=1),
    annotation(14, 9, 90, [box(40, 2, 6, 3), box(50, 20, 4, 4)], 34.0),
    # Image 12: run lengths as a list and packed, a degenerate polygon beside a good one.
    annotation(21, 12, 18, rle(blob(2), False), 700.0),
    annotation(22, 12, 1, rle(blob(3, 0.6), True), 300.0),
    annotation(23, 12, 90, [[3.0, 3.0, 9.0, 9.0], box(0, 0, 4, 4)], 16.0),
    # Image 30: equal areas (the larger id is on top), and one that is covered whole.
    annotation(32, 30, 18, [box(10, 10, 10, 10)], 100.0),
    annotation(31, 30, 1, [box(5, 10, 10, 10)], 100.0),
    annotation(33, 30, 90, [box(6, 11, 2, 2)], 400.0),
    # Image 31: nothing but a crowd.
    annotation(41, 31, 1, rle(blob(4), False), 400.0, iscrowd=1),
]


def content() -> dict[str, Any]:
    images = [
        {
            "id": number,
            "file_name": f"COCO_train2014_{number:012d}.jpg",
            "height": HEIGHT,
            "width": WIDTH,
        }
        for number in (12, 9, 31, 5, 30)
    ]
    return {
        "info": {"description": "made for a test"},
        "licenses": [{"id": 1, "name": "none", "url": ""}],
        "images": images,
        "annotations": deepcopy(ANNOTATIONS),
        "categories": deepcopy(CATEGORIES),
    }


def write(root: Path, told: dict[str, Any], split: str = "train") -> None:
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / "annotations" / f"instances_{split}2014.json").write_text(json.dumps(told))


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Five images, of which one has no annotations and one is grey."""
    root = tmp_path / "coco"
    (root / "train2014").mkdir(parents=True)
    for entry in content()["images"]:
        rng = np.random.default_rng(entry["id"])
        shape = (HEIGHT, WIDTH) if entry["id"] == 30 else (HEIGHT, WIDTH, 3)
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(root / "train2014" / entry["file_name"], quality=90)
    write(root, content())
    return root


def expected() -> dict[int, NDArray[np.uint8]]:
    """The masks, painted by hand."""
    masks = {number: np.zeros((HEIGHT, WIDTH), dtype=np.uint8) for number in (9, 12, 30, 31)}
    masks[9][blob(1)] = 255
    masks[9][5:30, 5:25] = PERSON
    masks[9][2:5, 40:46] = masks[9][20:24, 50:54] = BRUSH
    masks[9][10:14, 10:15] = DOG
    masks[12][blob(2)] = DOG
    masks[12][blob(3, 0.6)] = PERSON
    masks[12][0:4, 0:4] = BRUSH
    masks[30][10:20, 5:15] = PERSON
    masks[30][10:20, 10:20] = DOG
    masks[31][blob(4)] = 255
    return masks


def test_masks_are_those_painted_by_hand(coco: Path, tmp_path: Path) -> None:
    manifest = build(coco_source(coco), tmp_path / "d", shard_samples=3)
    assert manifest.classes == ("background", "person", "dog", "toothbrush")
    assert manifest.settings["left_out"] == {
        "train": {"images_without_annotations": 1, "outlines_without_area": 1}
    }
    assert verify(tmp_path / "d").problems == []
    reader = open_split(tmp_path / "d", "train")
    masks = expected()
    assert reader.keys == [f"COCO_train2014_{number:012d}" for number in sorted(masks)]
    for index, number in enumerate(sorted(masks)):
        np.testing.assert_array_equal(reader.mask(index), masks[number])
        jpeg = (coco / "train2014" / f"{reader.keys[index]}.jpg").read_bytes()
        assert reader.read(index, "jpg") == jpeg
    assert [reader[index].labels for index in range(4)] == [(1, 2, 3), (1, 2, 3), (1, 2), ()]
    grey = reader[2].image
    assert grey.shape == (HEIGHT, WIDTH, 3)
    assert (grey[..., 0] == grey[..., 2]).all()


def test_labels_of_all_instances(coco: Path) -> None:
    source = coco_source(coco, labels="instances")
    labels = [load().labels for load in source.splits["train"]]
    # The brush of image 30 is covered; the crowd of image 31 is no object.
    assert labels == [(1, 2, 3), (1, 2, 3), (1, 2, 3), ()]
    assert source.settings["labels"] == "instances"


def test_slanted_polygons_are_decoded_as_pil_does_but_for_the_rim(coco: Path) -> None:
    corners = [3.4, 2.2, 55.1, 8.9, 48.7, 36.3, 20.5, 38.8, 30.2, 20.1]
    told = content()
    told["annotations"] = [annotation(1, 9, 1, [corners], 900.0)]
    write(coco, told)
    mask = coco_source(coco).splits["train"][0]().mask
    assert mask is not None
    picture = Image.new("L", (WIDTH * 8, HEIGHT * 8))
    ImageDraw.Draw(picture).polygon([8 * number for number in corners], fill=1)
    covered = np.asarray(picture).reshape(HEIGHT, 8, WIDTH, 8).mean(axis=(1, 3))
    clear = (covered == 0) | (covered == 1)
    assert (mask[clear] == covered[clear]).all()
    assert clear.mean() > 0.9
    assert abs(mask.sum() - covered.sum()) < 10


def test_a_first_polygon_of_two_corners_is_no_box(coco: Path) -> None:
    # pycocotools takes a list whose first polygon has four numbers for boxes.
    told = content()
    told["annotations"] = [annotation(1, 9, 1, [[1.0, 1.0, 30.0, 30.0]], 900.0)]
    write(coco, told)
    sample = coco_source(coco).splits["train"][0]()
    assert sample.mask is not None
    assert not sample.mask.any()
    assert sample.labels == ()


def test_two_splits_and_own_names(coco: Path, tmp_path: Path) -> None:
    write(coco, content(), "val")
    (coco / "val2014").symlink_to(coco / "train2014")
    source = coco_source(coco, name="coco14")
    assert {split: len(samples) for split, samples in source.splits.items()} == {
        "train": 4,
        "val": 4,
    }
    assert source.name == "coco14"
    (coco / "annotations" / "mine.json").write_text(json.dumps(content()))
    mine = coco_source(
        coco, instances={"all": Path("annotations/mine.json")}, images={"all": Path("train2014")}
    )
    assert list(mine.splits) == ["all"]
    told = content()
    told["categories"][0]["name"] = "comb"
    write(coco, told, "val")
    with pytest.raises(InputError, match=r"instances_val2014\.json: 'categories' differ"):
        coco_source(coco)


def change(told: dict[str, Any], *path: Any, to: Any) -> None:
    for key in path[:-1]:
        told = told[key]
    if to is None:
        del told[path[-1]]
    else:
        told[path[-1]] = to


WRONG_RUNS = {"size": [HEIGHT, WIDTH], "counts": [5, 5]}


@pytest.mark.parametrize(
    ("path", "to", "line"),
    [
        (("images",), None, "'images' is missing"),
        (("annotations",), {}, "'annotations' is missing"),
        (("categories",), [], "'categories' is missing"),
        (("categories", 0, "name"), None, "categories: id 90: 'name' is missing"),
        (("categories", 0, "id"), 1, "id 1, name 'person' comes twice"),
        (("images", 0, "id"), 9, "images: id 9 comes twice"),
        (("images", 0, "file_name"), "../a.jpg", "image 12: 'file_name' must be"),
        (("images", 0, "height"), None, "image 12: 'height' is missing"),
        (("images", 0, "width"), "60", "image 12: 'width' is '60'; a whole number"),
        (("images", 0, "file_name"), "no.jpg", "image 12: .*no.jpg is missing"),
        (("annotations", 0, "id"), 12, "annotations: id 12 comes twice"),
        (("annotations", 0, "segmentation"), None, "annotations: 11: no 'segmentation'"),
        (("annotations", 0, "image_id"), 77, "annotation 11: image_id 77 is not in 'images'"),
        (("annotations", 0, "category_id"), 7, "annotation 11: category_id 7 is not in"),
        (("annotations", 0, "area"), None, "annotation 11: 'area' must be"),
        (("annotations", 0, "iscrowd"), 2, "annotation 11: 'iscrowd' is 2"),
        (("annotations", 0, "segmentation"), "x", "annotation 11: 'segmentation' must be a list"),
        (("annotations", 0, "segmentation"), [[1, 2, 3, 4, 5, 6, 7]], "a polygon has 7 numbers"),
        (("annotations", 0, "segmentation"), [["a", 1]], "a polygon is a list of numbers"),
        (("annotations", 0, "segmentation"), [[0, 0, 1e9, 1, 2, 2]], "far outside"),
        (("annotations", 0, "segmentation"), [[0, 0, float("nan"), 1, 2, 2]], "far outside"),
        (("annotations", 0, "segmentation"), WRONG_RUNS, "cover 10 pixels, size says 40 x 60"),
        (("annotations", 0, "segmentation"), {"counts": [1]}, "'size' must be"),
        (("annotations", 0, "segmentation"), WRONG_RUNS | {"counts": None}, "'counts' must be"),
        (("annotations", 0, "segmentation"), WRONG_RUNS | {"counts": "0P"}, "'counts' must be"),
        (("annotations", 0, "segmentation"), WRONG_RUNS | {"counts": [-1]}, "'counts' must be"),
    ],
)
def test_a_wrong_json_is_one_line(coco: Path, path: tuple[Any, ...], to: Any, line: str) -> None:
    told = content()
    change(told, *path, to=to)
    write(coco, told)
    with pytest.raises(InputError, match=line) as caught:
        coco_source(coco)
    assert "instances_train2014.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_shows_only_at_an_image(coco: Path) -> None:
    told = content()
    told["annotations"][0]["segmentation"] = {"size": [WIDTH, HEIGHT], "counts": [WIDTH * HEIGHT]}
    told["images"][0]["height"] = 41
    write(coco, told)
    first, second, *_ = coco_source(coco).splits["train"]
    with pytest.raises(InputError, match=r"image 9, annotation 11: .* size is \[60, 40\]"):
        first()
    with pytest.raises(InputError, match=r"012\.jpg: is 60 x 40, .* says width 60, height 41"):
        second()


def test_wrong_folders_and_options(coco: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a COCO 2014 folder"):
        coco_source(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        coco_source(tmp_path / "absent")
    with pytest.raises(InputError, match="labels: 'mask'; did you mean 'masks'"):
        coco_source(coco, labels="mask")  # type: ignore[arg-type]
    (coco / "annotations" / "instances_train2014.json").write_text('{"images": [')
    with pytest.raises(InputError, match="is not JSON"):
        coco_source(coco)
    write(coco, content())
    (coco / "train2014").rename(coco / "train")
    with pytest.raises(InputError, match="train2014: cannot be read"):
        coco_source(coco)


def test_a_stamp_changes_with_image_and_annotations(coco: Path) -> None:
    before = [load.stamp() for load in coco_source(coco).splits["train"]]  # type: ignore[attr-defined]
    assert [load.stamp() for load in coco_source(coco).splits["train"]] == before  # type: ignore[attr-defined]
    told = content()
    told["annotations"][0]["segmentation"][0][0] += 0.5
    write(coco, told)
    stream = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT)).save(stream, "JPEG")
    (coco / "train2014" / "COCO_train2014_000000000030.jpg").write_bytes(stream.getvalue())
    after = [load.stamp() for load in coco_source(coco).splits["train"]]  # type: ignore[attr-defined]
    assert [old == new for old, new in zip(before, after, strict=True)] == [
        False,
        True,
        False,
        True,
    ]


def test_the_command_says_what_was_left_out(coco: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["build", "coco", "--root", str(coco), "--out", str(tmp_path / "d")]
    )
    assert done.exit_code == 0, done.output
    left_out = load_manifest(tmp_path / "d").settings["left_out"]
    count = left_out["train"]["images_without_annotations"]  # type: ignore[index, call-overload]
    assert count > 0
    assert f"train: {count} images without annotations left out" in done.output
