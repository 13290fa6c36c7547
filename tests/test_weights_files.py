"""Reading weight files: all forms of them, and files that must be refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from camsweep.methods.backbones import build_backbone
from camsweep.methods.weights import examine_weights, file_sha256, read_weights
from camsweep.shards.errors import InputError

FORMS = [
    "pth",
    "old.pth",
    "wrapped.pth",
    "parallel.pth",
    "safetensors",
    "parallel.safetensors",
]


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_a_state_dict(tmp_path: Path, form: str) -> None:
    state = {name: t.contiguous() for name, t in build_backbone("small").state_dict().items()}
    path = tmp_path / f"w.{form}"
    content: dict[str, Any] = dict(state)
    if "parallel" in form:
        content = {f"module.{name}": value for name, value in state.items()}
    if "wrapped" in form:
        content = {"state_dict": content, "epoch": 3}
    if "safetensors" in form:
        save_file(content, path)
    else:
        torch.save(content, path, _use_new_zipfile_serialization="old" not in form)
    read = read_weights(path)
    assert read.keys() == state.keys()
    assert all(torch.equal(read[name], value) for name, value in state.items())
    assert examine_weights(path, "w").kind.name == "small"
    assert len(file_sha256(path)) == 64


class Bomb:
    """A pickle of this would create a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (self.path,))  # type: ignore[return-value]


def test_a_pickle_that_wants_code_is_refused(tmp_path: Path) -> None:
    trap, path = tmp_path / "trap", tmp_path / "w.pth"
    message = r"w\.pth: a pickle that wants to run code"
    path.write_bytes(pickle.dumps(Bomb(trap)))
    with pytest.raises(InputError, match=message):
        read_weights(path)
    for zipped in (True, False):
        torch.save({"w": Bomb(trap)}, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(InputError, match=message):
            read_weights(path)
    # Numbers of NumPy beside the tensors are objects of code too.
    torch.save({"state_dict": {"w": torch.ones(2)}, "best": np.float64(1)}, path)
    with pytest.raises(InputError, match=message + r" \(numpy.*scalar\)"):
        read_weights(path)
    assert not trap.exists()


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 truncated"])
def test_files_that_are_no_weights(tmp_path: Path, content: bytes) -> None:
    for name in ("w.pth", "w.safetensors", "w.params"):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InputError, match=name):
            read_weights(path)


@pytest.mark.parametrize("form", ["zip.pth", "old.pth", "w.safetensors"])
def test_truncated_files_are_one_clear_line(tmp_path: Path, form: str) -> None:
    path = tmp_path / form
    state = {"a.weight": torch.ones(4000), "b.weight": torch.ones(4000)}
    if form == "w.safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip.pth")
    whole = path.read_bytes()
    for share in (0.02, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(InputError, match=rf"{form}: .*(truncated|no whole)") as caught:
            read_weights(path)
        assert "\n" not in str(caught.value)


def test_files_without_tensors(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    for content, message in (
        ({}, "no tensor"),
        ({"w": 3}, "state dict"),
        ([1], "state dict"),
        ({3: torch.ones(1)}, "state dict"),
    ):
        torch.save(content, path)
        with pytest.raises(InputError, match=message):
            read_weights(path)
    with pytest.raises(InputError, match="directory"):
        read_weights(tmp_path)


def test_an_empty_safetensors_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({}, path)
    with pytest.raises(InputError, match=r"^w: holds no tensor$"):
        read_weights(path, "w")


@pytest.mark.parametrize("form", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.tensor([1.0, float("nan")]), "holds NaN or infinite numbers"),
        (torch.tensor([float("-inf")], dtype=torch.float16), "holds NaN or infinite numbers"),
        (torch.tensor([float("nan")]).to(torch.float8_e4m3fn), "holds NaN or infinite numbers"),
        (torch.tensor([1, 2]), "holds int64 numbers"),
        (torch.tensor([True]), "holds bool numbers"),
    ],
)
def test_numbers_that_are_no_weights(tmp_path: Path, form: str, bad: Tensor, message: str) -> None:
    path, good = tmp_path / form, {"a.weight": torch.ones(3), "b.weight": torch.zeros(2).half()}
    counter = {"a.num_batches_tracked": torch.tensor(3)}
    save = torch.save if form == "w.pth" else save_file
    save(good | counter, path)
    assert read_weights(path).keys() == {*good, *counter}
    save(good | {"z.weight": bad}, path)
    with pytest.raises(InputError, match=rf"^--weights .*{form}: z\.weight {message}") as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [torch.eye(3).to_sparse(), torch.ones(3, device="meta")])
def test_tensors_that_are_not_plain(tmp_path: Path, bad: Tensor) -> None:
    path = tmp_path / "w.pth"
    torch.save({"module.a": torch.ones(1), "module.b": bad}, path)
    with pytest.raises(InputError, match=r"^w: module\.b is no plain dense tensor"):
        read_weights(path, "w")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        file_sha256(tmp_path / "none.pth")
    with pytest.raises(InputError, match="No such file"):
        read_weights(tmp_path / "none.pth")
