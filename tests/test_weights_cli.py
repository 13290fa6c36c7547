"""`camsweep weights check` and `convert`."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from camsweep.methods import compose
from camsweep.methods.backbones import build_backbone
from camsweep.methods.base import load_method, make_config
from camsweep.methods.pretrained.known import Kind
from camsweep.methods.weights import check_known, examine_weights
from camsweep.platform.cli.main import main
from camsweep.shards.errors import InputError

R50 = "resnet50"


@pytest.fixture
def backbone_file(tmp_path: Path) -> Path:
    """ImageNet-like weights: a ResNet-50 with torchvision's classifier."""
    torch.manual_seed(0)
    state = build_backbone(R50).state_dict()
    state |= {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}
    path = tmp_path / "r50.pth"
    torch.save(state, path)
    return path


@pytest.fixture
def network_file(tmp_path: Path) -> Path:
    """The released SIPE form of a network for 20 classes and background."""
    torch.manual_seed(0)
    config: Any = make_config({"method": "sipe", "pretrain": "none"})
    state = {}
    for name, value in compose.build(load_method("sipe"), config, 21).state_dict().items():
        side = re.fullmatch(r"hierarchy\.side\.(\d)\.weight", name)
        released = f"side{int(side[1]) + 1}.weight" if side else name
        state[released.replace("backbone.", "resnet50.")] = value
    state["newly_added.0.weight"] = state["classifier.weight"]
    path = tmp_path / "sipe.pth"
    torch.save(state, path)
    return path


def test_check_of_backbone_weights(backbone_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "check", str(backbone_file)]) == 0
    said = capsys.readouterr().out
    assert "ResNet-50, torchvision's names" in said
    assert hashlib.sha256(backbone_file.read_bytes()).hexdigest() in said
    assert "not used: ImageNet's classifier (fc.weight, fc.bias)" in said
    assert "fits backbone resnet50" in said
    assert main(["weights", "check", str(backbone_file), "--for", "sipe"]) == 0
    assert "fits backbone resnet50 of sipe" in capsys.readouterr().out


def test_check_of_a_whole_network(network_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "check", str(network_file)]) == 0
    said = capsys.readouterr().out
    assert "SIPE's network" in said
    assert "fits sipe on resnet50, 21 classes" in said
    assert "1 second names" in said
    assert main(["weights", "check", str(network_file), "--for", R50]) == 0
    said = capsys.readouterr().out
    assert "fits backbone resnet50" in said
    assert re.search("not compared: .*hierarchy.side.0.weight", said)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--for", "resnet38"], "holds ResNet-50.* needs weights of resnet38"),
        (["--for", "resnet5"], "there is no 'resnet5'; did you mean 'resnet50'"),
    ],
)
def test_wrong_targets(
    backbone_file: Path, words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["weights", "check", str(backbone_file), *words]) == 2
    said = capsys.readouterr().err
    assert re.search(line, said)
    assert said.count("\n") == 1


def test_check_names_what_does_not_fit(
    network_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["weights", "check", str(network_file), "--classes", "5"]) == 2
    told = capsys.readouterr()
    assert "other shape: classifier.weight is [20, 2048, 1, 1], must be [4, 2048, 1, 1]" in told.out
    assert "1 tensors do not fit sipe on resnet50, 5 classes" in told.err
    state = torch.load(network_file, weights_only=True)
    state.pop("side2.weight")
    state["resnet50.odd"] = torch.ones(1)
    torch.save(state, network_file)
    assert main(["weights", "check", str(network_file)]) == 2
    told = capsys.readouterr()
    assert "missing: side2.weight" in told.out
    assert "unknown: resnet50.odd" in told.out
    out = network_file.with_suffix(".safetensors")
    assert main(["weights", "convert", str(network_file), str(out)]) == 2
    assert "lacks side2.weight (and 1 more)" in capsys.readouterr().err
    assert not out.exists()


def test_bad_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "w.pth"
    torch.save({"w": torch.ones(3)}, path)
    assert main(["weights", "check", str(path)]) == 2
    assert "w.pth: no known network" in capsys.readouterr().err
    assert main(["weights", "check", str(tmp_path / "none.pth")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_convert_and_check_again(network_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = network_file.with_suffix(".safetensors")
    assert main(["weights", "convert", str(network_file), str(out)]) == 0
    written, given = load_file(out), torch.load(network_file, weights_only=True)
    assert torch.equal(written["hierarchy.side.3.weight"], given["side4.weight"])
    assert torch.equal(
        written["backbone.layer4.2.conv3.weight"], given["resnet50.layer4.2.conv3.weight"]
    )
    assert len(written) == len(given) - 1
    assert [p.name for p in out.parent.iterdir() if "partial" in p.name] == []

    capsys.readouterr()
    assert main(["weights", "check", str(out)]) == 0
    said = capsys.readouterr().out
    assert "converted from SIPE's network (released code), ResNet-50, sipe.pth" in said
    assert hashlib.sha256(network_file.read_bytes()).hexdigest() in said
    assert "fits sipe on resnet50, 21 classes" in said

    again = out.with_name("again.safetensors")
    assert main(["weights", "convert", str(out), str(again)]) == 0
    assert again.read_bytes() == out.read_bytes()


def test_the_layout_of_cpns_code_outlives_a_conversion(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A note of the conversion says what the tensors cannot; small ones stand for 0.5 GB."""
    torch.manual_seed(0)
    config = make_config({"method": "cpn", "backbone": "small", "pretrain": "none"})
    state = compose.build(load_method("cpn"), config, 3).state_dict()
    path = tmp_path / "cpn.pth"
    torch.save(state, path)
    assert main(["weights", "check", str(path)]) == 0
    assert "prcm_layout" not in capsys.readouterr().out
    released = Kind("cpn", "CPN's network (released code)", "small", "cpn", True)
    out, again = tmp_path / "cpn.safetensors", tmp_path / "again.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr("camsweep.methods.pretrained.names._kind", lambda *_: released)
        assert main(["weights", "check", str(path)]) == 0
        assert "needs prcm_layout: code" in capsys.readouterr().out
        assert main(["weights", "convert", str(path), str(out)]) == 0
    assert main(["weights", "convert", str(out), str(again)]) == 0
    for converted in (out, again):
        capsys.readouterr()
        assert main(["weights", "check", str(converted)]) == 0
        assert "needs prcm_layout: code" in capsys.readouterr().out
        known = examine_weights(converted, "--weights cpn.safetensors")
        assert known.kind.name == "camsweep"
        with pytest.raises(
            InputError,
            match=r"^--weights cpn\.safetensors: CPN's network \(released code\), was trained with "
            r"prcm_layout: code; --set prcm_layout=code$",
        ):
            check_known(known, config, 3)
        code = config.model_copy(update={"prcm_layout": "code"})
        assert check_known(known, code, 3) == "network"


def test_check_says_whose_classifier_is_not_used(
    backbone_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = torch.load(backbone_file, weights_only=True)
    torch.save(
        state | {"fc.weight": torch.zeros(20, 2048), "fc.bias": torch.zeros(20)}, backbone_file
    )
    assert main(["weights", "check", str(backbone_file)]) == 0
    said = capsys.readouterr().out
    assert "not used: a classifier of 20 outputs (fc.weight, fc.bias)" in said
    assert "ImageNet" not in said


def test_convert_never_replaces_by_itself(
    backbone_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new.safetensors"
    out.write_text("mine")
    assert main(["weights", "convert", str(backbone_file), str(out)]) == 2
    assert "--force" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert main(["weights", "convert", str(backbone_file), str(out), "--force"]) == 0
    assert "fc.weight" not in load_file(out)
    assert main(["weights", "convert", str(backbone_file), str(tmp_path / "new.pth")]) == 2
    assert (
        main(["weights", "convert", str(backbone_file), str(tmp_path / "no" / "f.safetensors")])
        == 2
    )
    assert "no such folder" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["check", "convert"])
def test_help_has_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", command, "--help"]) == 0
    assert f"camsweep weights {command} " in capsys.readouterr().out
