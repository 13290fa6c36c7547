"""How many trials run at a time: counted once, for `plan` and for `run`."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from camsweep.platform import room
from camsweep.platform.engine.shapes import Node
from camsweep.platform.room import default_resources, local_slots, slots_on
from camsweep.sweeps.profile import load_profile
from camsweep.sweeps.resources import Resources

VOC, EMBEDDED = load_profile("voc12"), load_profile("embedded")


def test_a_worker_takes_what_the_user_or_the_profile_says() -> None:
    assert VOC.gpus == 1
    assert default_resources(VOC, None, None, True) == Resources(
        cpus=VOC.threads, gpus=1, workers=1
    )
    assert default_resources(VOC, None, 4, False).gpus == 0, "no GPUs where there are none"
    assert default_resources(VOC, 0.5, 4, False) == Resources(cpus=VOC.threads, gpus=0.5, workers=4)
    assert default_resources(EMBEDDED, None, None, True).gpus == EMBEDDED.gpus == 0


@pytest.mark.parametrize(
    ("cores", "gpus", "takes", "slots"),
    [
        (16, 0, {"cpus": 1}, 16),
        (16, 0, {"cpus": 4}, 4),
        (16, 0, {"cpus": 2, "workers": 3}, 2),
        (2, 0, {"cpus": 4}, 1),
        (16, 2, {"cpus": 1, "gpus": 1}, 2),
        (16, 2, {"cpus": 1, "gpus": 0.5}, 4),
        (16, 2, {"cpus": 1, "gpus": 0.6}, 2),
        (16, 4, {"cpus": 1, "gpus": 1, "workers": 2}, 2),
        (3, 4, {"cpus": 1, "gpus": 0.5}, 3),
        (16, 0, {"cpus": 1, "gpus": 1}, 1),
        (16, 4, {"cpus": 1, "gpus": 0}, 16),
    ],
)
def test_slots_are_cores_and_gpus_that_a_trial_takes(
    monkeypatch: pytest.MonkeyPatch, cores: int, gpus: int, takes: dict[str, float], slots: int
) -> None:
    import torch

    monkeypatch.setattr(room, "usable_cores", lambda: cores)
    monkeypatch.setattr(torch, "cuda", SimpleNamespace(device_count=lambda: gpus))
    default = Resources.model_validate(takes)
    assert local_slots(default) == slots
    assert slots_on(default, [Node(float(cores), [1.0] * gpus)]) == slots


def test_a_worker_lies_on_one_node() -> None:
    nodes = [Node(3.0, [1.0]), Node(3.0, [1.0])]
    assert slots_on(Resources(cpus=2), nodes) == 2
