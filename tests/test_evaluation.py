"""What one pass over the images counts: thresholds, estimated labels, the no-skill floor."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from camsweep.methods.backbones import Features
from camsweep.methods.base import Method, Output, load_method, make_config
from camsweep.platform.counting import ImageCounts
from camsweep.platform.evaluation import Evaluation, evaluate

CLASSES = ("background", "a", "b", "c")


class Reader:
    """Four pictures of one size, each with two classes and some ignored pixels."""

    manifest = SimpleNamespace(classes=CLASSES)
    root, split = "nowhere", "val"

    def __init__(self) -> None:
        rng = np.random.default_rng(3)
        self.labels = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]], np.float32)
        self.keys = ["i0", "i1", "i2", "i3"]
        self.images = rng.integers(0, 256, (4, 24, 24, 3), dtype=np.uint8)
        self.masks = np.zeros((4, 24, 24), np.uint8)
        for mask, label in zip(self.masks, self.labels, strict=True):
            present = np.flatnonzero(label) + 1
            mask[:] = rng.choice([0, *present, 255], size=(24, 24), p=[0.5, 0.2, 0.2, 0.1])

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        return SimpleNamespace(image=self.images[index], mask=self.masks[index])


class Net(nn.Module):
    """Scores that are a fixed function of the picture."""

    def forward(self, images: Tensor) -> Output:
        scores = images * 2
        return Output(scores, Features((scores, scores), scores, (scores,) * 4))


def own_maps(
    net: nn.Module, images: Tensor, output: Output, labels: Tensor, config: Any
) -> dict[str, Tensor]:
    """A background and the foreground scores, of the label's classes."""
    scores = output.scores.relu().square() * labels[:, :, None, None]
    return {"refined": torch.cat([images.mean(1, keepdim=True).abs(), scores], 1)}


@pytest.fixture(scope="module")
def both() -> tuple[Evaluation, Evaluation]:
    cam = load_method("cam")

    class Config(cam.config):  # type: ignore[name-defined, misc]
        @property
        def refines(self) -> bool:
            return True

    fake = Method("cam", "fake", Config, cam.build, cam.losses, own_maps)
    values: dict[str, Any] = {
        "method": "cam", "backbone": "small", "pretrain": "none", "scales": [1.0, 0.5],
        "flip_test": False, "normalise": "max",
    }  # fmt: skip
    return (
        evaluate(fake, Net(), Reader(), Config(**values)),  # type: ignore[arg-type]
        evaluate(fake, Net(), Reader(), Config(**values, pseudo_labels="threshold")),  # type: ignore[arg-type]
    )


def counted(predicted: Any, reader: Reader) -> Any:
    """tp, fp, fn by class over the set, pixel by pixel."""
    keep = reader.masks != 255
    truth, guess = reader.masks[keep], predicted[keep]
    return np.array(
        [
            ((truth == c) & (guess == c), (truth != c) & (guess == c), (truth == c) & (guess != c))
            for c in range(4)
        ]
    ).sum(-1)


def test_estimated_labels_are_the_argmax_with_the_maps_own_background(both: Any) -> None:
    estimated, _ = both
    assert estimated.headline == "estimated"
    reader = Reader()
    from camsweep.methods.inference import localize

    cam = load_method("cam")
    fake = Method("cam", "fake", cam.config, cam.build, cam.losses, own_maps)
    config = make_config(
        {
            "method": "cam", "backbone": "small", "pretrain": "none", "scales": [1.0, 0.5],
            "flip_test": False, "normalise": "max",
        }
    )  # fmt: skip
    found = [
        maps["refined"]["all"].dense(4).numpy().argmax(0)
        for _, maps, _ in localize(fake, Net(), reader, config)
    ]
    wanted = counted(np.stack(found), reader)
    np.testing.assert_array_equal(estimated.curves["estimated", "all"][0], wanted)
    np.testing.assert_array_equal(estimated.images.sum(0), wanted)
    metrics = estimated.metrics()
    assert metrics["miou"] == pytest.approx(metrics["miou_estimated"])
    assert "threshold" not in metrics


def test_thresholds_take_the_place_of_the_background(both: Any) -> None:
    estimated, threshold = both
    assert threshold.headline == "refined"
    metrics = threshold.metrics()
    assert metrics["miou"] == pytest.approx(metrics["miou_refined"])
    assert metrics["miou_estimated"] == estimated.metrics()["miou_estimated"]
    assert 0 <= metrics["threshold"] < 1
    maps = {key[0] for key in threshold.curves}
    assert maps == {"raw", "refined", "estimated"}
    assert set(threshold.curve_columns("t")["map"]) == {"raw", "refined"}


def test_the_floor_is_the_better_of_nothing_and_everything(both: Any) -> None:
    reader = Reader()
    first = np.stack([np.full((24, 24), np.flatnonzero(label)[0] + 1) for label in reader.labels])
    found = []
    for guess in (np.zeros_like(first), first):
        tp, fp, fn = counted(guess, reader).T
        found.append(np.nanmean(tp / np.maximum(tp + fp + fn, 1)))
    assert both[0].metrics()["miou_floor"] == pytest.approx(max(found))


def test_pictures_keep_the_final_and_the_raw_map(both: Any) -> None:
    pictures = both[0].pictures
    kinds = {"image", "mask", "map", "map_class", "raw", "raw_class"}
    assert {name.split("/")[1] for name in pictures} == kinds
    assert pictures["i0/map"].shape == pictures["i0/raw"].shape == (1, 24, 24)
    assert not torch.equal(pictures["i0/map"], pictures["i0/raw"])


def test_pictures_tell_the_strongest_class_of_each_pixel(both: Any) -> None:
    reader = Reader()
    for index, key in enumerate(reader.keys):
        present = set((np.flatnonzero(reader.labels[index]) + 1).tolist())
        for what in ("map", "raw"):
            score = both[0].pictures[f"{key}/{what}"]
            winner = both[0].pictures[f"{key}/{what}_class"]
            assert winner.shape == score.shape
            assert winner.dtype == torch.uint8
            assert set(winner.unique().tolist()) - {0} == present
            assert (winner[score > 0] > 0).all()
    # The counts at the best threshold are those of the labels that the pictures tell, but for
    # pixels within the half step that a score of 256 steps leaves open.
    evaluation = both[1]
    threshold = float(evaluation.thresholds[evaluation.best])
    score = np.stack([evaluation.pictures[f"{k}/map"][0].numpy() for k in reader.keys])
    winner = np.stack([evaluation.pictures[f"{k}/map_class"][0].numpy() for k in reader.keys])
    said = np.where(score > 255 * threshold, winner, 0)
    near = np.abs(score - 255 * threshold) <= 0.5
    keep = reader.masks != 255
    hits = np.array([((said == c) & (reader.masks == c) & keep).sum() for c in range(4)])
    off = np.abs(hits - evaluation.images.sum(axis=0)[:, 0])
    assert off.sum() <= 2 * (near & keep).sum()


def test_an_images_counts_are_kept_for_the_classes_that_have_any() -> None:
    rng = np.random.default_rng(4)
    counts = np.zeros((5, 81, 3), np.int64)
    counts[:, [0, 7, 80]] = rng.integers(1, 9, (5, 3, 3))
    counts[2, 7] = 0  # nothing at one threshold, something at others
    kept = ImageCounts.of(counts)
    assert kept.classes.tolist() == [0, 7, 80]
    for threshold in range(5):
        np.testing.assert_array_equal(kept.at(threshold, 81), counts[threshold])
