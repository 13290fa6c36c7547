"""A data set and a profile so small that a trial takes seconds; shared by the slowest tests."""

from __future__ import annotations

from pathlib import Path

from camsweep.shards.embedded.source import embedded_source
from camsweep.shards.writing.writer import build

PROFILE = """
title: tiny, for tests
data: tiny
settings:
  backbone: small
  pretrain: none
  train_split: train
  eval_split: val
  crop: 96
  resize_min: 0
  resize_max: 0
  jitter: [0, 0, 0, 0]
  epochs: {epochs}
  batch: 8
  momentum: 0.9
  scales: [1.0]
  flip_test: false
methods:
  cpn: {{loss_size: map, pcm_stride: 2}}
"""


def build_data(folder: Path, train: int = 32, val: int = 8) -> Path:
    """An embedded data set of few images in `folder/data`."""
    build(embedded_source(0, train, val), folder / "data")
    return folder / "data"


def write_profile(folder: Path, epochs: int = 2) -> Path:
    """The tiny profile in `folder/tiny.yaml`."""
    path = folder / "tiny.yaml"
    path.write_text(PROFILE.format(epochs=epochs))
    return path


def write_sweep(folder: Path, text: str) -> Path:
    """A sweep file in `folder/mine.yaml`."""
    path = folder / "mine.yaml"
    path.write_text(text)
    return path
