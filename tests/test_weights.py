from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from camsweep.methods.backbones import build_backbone
from camsweep.methods.weights import check_weights, file_sha256, read_weights
from camsweep.shards.errors import InputError


@pytest.mark.parametrize("form", ["pth", "wrapped.pth", "safetensors"])
def test_forms_of_a_state_dict(tmp_path: Path, form: str) -> None:
    state = {name: t.contiguous() for name, t in build_backbone("small").state_dict().items()}
    path = tmp_path / f"w.{form}"
    if form == "safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": state} if "wrapped" in form else state, path)
    read = read_weights(path)
    assert all(torch.equal(read[name], value) for name, value in state.items())
    check_weights(path, "small")
    assert len(file_sha256(path)) == 64


class Bomb:
    """A pickle of this would create a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (self.path,))  # type: ignore[return-value]


def test_a_pickle_that_wants_code_is_refused(tmp_path: Path) -> None:
    trap, path = tmp_path / "trap", tmp_path / "w.pth"
    path.write_bytes(pickle.dumps(Bomb(trap)))
    with pytest.raises(InputError, match=r"w\.pth: no safetensors file and no torch state dict"):
        read_weights(path)
    torch.save({"w": Bomb(trap)}, path)
    with pytest.raises(InputError, match=r"w\.pth"):
        read_weights(path)
    assert not trap.exists()


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 truncated"])
def test_files_that_are_no_weights(tmp_path: Path, content: bytes) -> None:
    for name in ("w.pth", "w.safetensors"):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InputError, match=name):
            read_weights(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        file_sha256(tmp_path / "none.pth")


def test_weights_of_another_network(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"conv1.weight": torch.zeros(3)}, path)
    with pytest.raises(InputError, match=r"w\.pth"):
        check_weights(path, "resnet50")
