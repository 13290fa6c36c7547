"""A GPU without memory for a batch: the step is computed in parts, once, and the row says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_training import CONFIG, Memory, Reader, Superpixels
from tiny import build_data, write_profile, write_sweep
from torch import Tensor, nn

from camsweep.methods import compose
from camsweep.methods.base import load_method, make_config
from camsweep.methods.training import EpochLog, train
from camsweep.platform.context import Progress, RunContext
from camsweep.platform.failures import cause_of
from camsweep.platform.trial import run_trial
from camsweep.shards.manifest import load_manifest
from camsweep.sweeps.plan import PlannedTrial, make_plan
from camsweep.sweeps.profile import load_profile
from camsweep.sweeps.results import read_row
from camsweep.sweeps.spec import load_sweep
from camsweep.sweeps.store import Store


def needs_at_most(images: int, error: Callable[[], Exception]) -> Any:
    """Losses on a device that holds so many images."""
    true_losses = compose.losses

    def losses(method: Any, net: nn.Module, batch: Any, *others: Any) -> dict[str, Tensor]:
        if len(batch.images) > images:
            raise error()
        return true_losses(method, net, batch, *others)

    return losses


def full() -> Exception:
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB")


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> tuple[PlannedTrial, RunContext]:
    folder = tmp_path_factory.mktemp("memory")
    data = build_data(folder, train=16, val=4)
    sweep = load_sweep(str(write_sweep(folder, "title: t\nbase: {method: seam}\nseeds: 1\n")))
    manifest = load_manifest(data)
    plan = make_plan([sweep], load_profile(str(write_profile(folder))), manifest.digest)
    context = RunContext(
        Store(str(folder / "store")), str(data), "tiny", manifest.name, manifest.digest
    )
    return plan.trials[0], context


def on(context: RunContext, folder: Any) -> RunContext:
    return RunContext(
        Store(str(folder)), context.data, "tiny", context.data_name, context.data_digest
    )


@pytest.mark.parametrize("parts", [2, 3])
@pytest.mark.parametrize("method", ["cam", "seam", "cpn", "ppl"])
def test_a_step_in_parts_is_the_whole_step(method: str, parts: int) -> None:
    config = make_config({**CONFIG, "method": method, "epochs": 1})
    found: list[list[EpochLog]] = [[], []]
    weights = [
        train(
            load_method(method), config, Reader(), Superpixels(), None,
            on_epoch=logs.append, accumulation=count,
        )
        for logs, count in zip(found, (1, parts), strict=True)
    ]  # fmt: skip
    assert found[1][0].losses == pytest.approx(found[0][0].losses, abs=1e-5)
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=0, atol=1e-4)


def test_a_training_in_parts_goes_on_from_a_whole_ones_checkpoint() -> None:
    config = make_config({**CONFIG, "method": "cam"})
    whole = train(load_method("cam"), config, Reader(), None, None)
    memory = Memory(4)
    with pytest.raises(KeyboardInterrupt):
        train(load_method("cam"), config, Reader(), None, None, checkpoint=memory, every=0)
    memory.stop_after = None
    rest = train(
        load_method("cam"), config, Reader(), None, None, checkpoint=memory, accumulation=3
    )
    for name, value in whole.items():
        torch.testing.assert_close(rest[name], value, rtol=0, atol=1e-4)


def test_no_room_for_a_batch_is_tried_again_in_the_smallest_parts(
    trial: tuple[PlannedTrial, RunContext], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned, context = trial
    roomy, tight = on(context, tmp_path / "roomy"), on(context, tmp_path / "tight")
    wanted = run_trial(planned, roomy, lambda progress: None)
    said: list[Progress] = []
    with monkeypatch.context() as patch:
        patch.setattr(compose, "losses", needs_at_most(1, full))
        row = run_trial(planned, tight, said.append)
    assert (row["status"], row["accumulation"], row["attempts"]) == ("done", 8, 1)
    assert wanted["accumulation"] == 1
    assert row["id"] == wanted["id"]
    assert row["metric.miou"] == pytest.approx(wanted["metric.miou"], abs=1e-3)
    assert [p.phase for p in said if p.phase.startswith("train")] == ["train in parts"] * 3
    stored = read_row(tight.store, planned.id)
    assert stored is not None
    assert stored["accumulation"] == 8
    # Whoever finds the training later knows how it was made.
    tight.store.delete(f"trials/{planned.id}.arrow")
    assert run_trial(planned, tight, lambda progress: None)["accumulation"] == 8


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
        "CUDA out of memory. Tried to allocate 1.00 GiB",
    ],
)
def test_libraries_without_room_are_no_room(
    words: str,
    trial: tuple[PlannedTrial, RunContext],
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    planned, context = trial
    monkeypatch.setattr(compose, "losses", needs_at_most(1, lambda: RuntimeError(words)))
    row = run_trial(planned, on(context, tmp_path), lambda progress: None)
    assert (row["status"], row["accumulation"]) == ("done", 8)
    assert cause_of(RuntimeError(words)) == f"out of memory: {words.splitlines()[0]}"


def test_no_room_for_one_image_is_a_failure(
    trial: tuple[PlannedTrial, RunContext], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned, context = trial
    monkeypatch.setattr(compose, "losses", needs_at_most(0, full))
    with pytest.raises(torch.OutOfMemoryError) as caught:
        run_trial(planned, on(context, tmp_path), lambda progress: None)
    assert cause_of(caught.value).startswith("out of memory: CUDA out of memory")


def test_no_room_in_main_memory_is_not_tried_again(
    trial: tuple[PlannedTrial, RunContext], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned, context = trial
    error = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
    monkeypatch.setattr(compose, "losses", needs_at_most(1, lambda: error))
    said: list[Progress] = []
    with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        run_trial(planned, on(context, tmp_path), said.append)
    assert "train in parts" not in {p.phase for p in said}
