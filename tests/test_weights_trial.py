"""A weight file checked against a trial's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from test_weights import network, released, stamped
from torch import Tensor, nn

from camsweep.methods import weights
from camsweep.methods.backbones import build_backbone
from camsweep.methods.base import make_config
from camsweep.methods.config import TrialConfig
from camsweep.methods.pretrained.names import backbone_shapes, recognise
from camsweep.methods.weights import check_known, examine_weights
from camsweep.shards.errors import InputError


def saved(path: Path, state: dict[str, Tensor]) -> Path:
    torch.save(state, path)
    return path


def settings(method: str, **values: Any) -> TrialConfig:
    return make_config({"method": method, "pretrain": "none", **values})


def test_a_file_is_checked_against_every_trial(tmp_path: Path) -> None:
    state = network("cpn", classes=5, backbone="small").state_dict()
    known = examine_weights(saved(tmp_path / "w.pth", state), "--weights small=w.pth")
    before = torch.get_rng_state()
    # Our own weights carry no layout of their own: the trial's config says it.
    for layout in ("paper", "code"):
        config = settings("cpn", backbone="small", prcm_layout=layout)
        assert check_known(known, config, 5) == "network"
    for config, classes, message in (
        (settings("cpn", backbone="small"), 21, "class count differs.* 5 outputs, 21 are needed"),
        (settings("cpn", backbone="small", prcm=False), 5, r"unknown correlation\.phi\.weight"),
        (settings("cpn", backbone="small", pcm=False), 5, r"unknown correlation\.low\.weight"),
        (settings("cam", backbone="small"), 5, r"unknown correlation\.low\.weight"),
        (settings("sipe", backbone="small"), 5, r"lacks hierarchy\.side\.0\.weight"),
        (settings("cpn", backbone="resnet50"), 5, "the backbone here is resnet50"),
    ):
        with pytest.raises(InputError, match=rf"^--weights small=w\.pth: .*{message}") as caught:
            check_known(known, config, classes)
        assert "\n" not in str(caught.value)
    assert torch.equal(before, torch.get_rng_state())


def test_a_backbones_file_fits_every_method_on_it(tmp_path: Path) -> None:
    state = build_backbone("small").state_dict()
    known = examine_weights(saved(tmp_path / "w.pth", state), "w.pth")
    for method in ("cam", "cpn", "sipe"):
        assert check_known(known, settings(method, backbone="small"), 5) == "backbone"
    with pytest.raises(InputError, match=r"^w\.pth: .*the backbone here is resnet101"):
        check_known(known, settings("cam", backbone="resnet101"), 5)
    state.pop("stem.conv.weight")
    lacking = examine_weights(saved(tmp_path / "w.pth", state), "w.pth")
    with pytest.raises(InputError, match=r"^w\.pth: lacks stem\.conv\.weight"):
        check_known(lacking, settings("cam", backbone="small"), 5)


def test_the_released_cpn_needs_the_layout_of_its_code() -> None:
    known = recognise(released("cpn"), "--weights cpn.pth")
    assert known.prcm_layout == "code"
    assert recognise(released("seam"), "f").prcm_layout is None
    assert check_known(known, settings("cpn", prcm_layout="code"), 21) == "network"
    with pytest.raises(InputError, match="was trained with prcm_layout: code") as caught:
        check_known(known, settings("cpn"), 21)
    assert str(caught.value) == (
        "--weights cpn.pth: CPN's network (released code), ResNet-38, was trained with "
        "prcm_layout: code; --set prcm_layout=code"
    )
    # Without PRCM it is another network, which is what the line must say then.
    with pytest.raises(InputError, match=r"unknown f10\.weight; it holds CPN's network"):
        check_known(known, settings("cpn", prcm=False), 21)


def test_checking_needs_no_memory_for_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[nn.Module] = []
    monkeypatch.setattr(weights, "refuse", lambda net, known: compared.append(net))
    check_known(recognise(released("cpn"), "f"), settings("cpn", prcm_layout="code"), 21)
    check_known(recognise(stamped(backbone_shapes("resnet38")), "f"), settings("cpn"), 21)
    assert len(compared) == 2
    for net in compared:
        assert all(value.is_meta for value in net.state_dict().values())


def test_weights_of_another_network(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", {"conv1.weight": torch.zeros(3)})
    with pytest.raises(InputError, match=r"--weights w\.pth: no known network"):
        examine_weights(path, "--weights w.pth")
