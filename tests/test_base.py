from __future__ import annotations

import json

import pytest

from camsweep.methods.base import load_method, make_config, method_names
from camsweep.methods.config import TrialConfig, setting
from camsweep.shards.errors import InputError

SMALL = {"backbone": "small", "pretrain": "none"}


def test_methods_are_discovered_and_a_misspelt_one_is_named() -> None:
    assert {"cam", "cpn"} <= set(method_names())
    with pytest.raises(InputError, match="there is no 'cnp'; did you mean 'cpn'"):
        load_method("cnp")
    with pytest.raises(InputError):
        load_method("losses")  # a module, but no method


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"method": "cpn", "s_m": 5}, "s_m: unknown setting; did you mean 's_n'?"),
        ({"method": "cpn", "s_n": 1}, "s_n: .*greater than or equal to 2, not 1"),
        ({"method": "cpn", "p_h": 1.0}, "p_h: .*less than 1, not 1.0"),
        ({"method": "cpn", "p_h": 0}, "p_h: .*greater than 0"),
        ({"method": "cpn", "grid_sizes": [0, 4]}, "grid_sizes.0: .*greater than or equal to 1"),
        ({"method": "cpn", "grid_sizes": [449]}, "grid_sizes.0: .*less than or equal to 448"),
        ({"method": "cam", "lr": float("nan")}, "lr: .*finite"),
        ({"method": "cam", "resize_min": 500, "resize_max": 400}, "resize_min must be"),
        ({"method": "cam", "thresholds": [0.5, 0.2, 0.1]}, "thresholds must be"),
        ({"method": "cam", "pretrain": "embedded"}, "set backbone: small"),
        ({"lr": 1}, "method is missing"),
    ],
)
def test_wrong_configs_are_refused_with_one_line(values: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=f"^here.yaml: .*{said}") as caught:
        make_config(values, "here.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["cam", "cpn"])
def test_every_field_knows_its_stage_and_configs_survive_json(name: str) -> None:
    config = make_config({"method": name})
    stages = type(config).stages()
    assert stages["seed"] == "train"
    assert stages["backbone"] == "pretrain"
    assert stages["scales"] == "localize"
    assert stages["thresholds"] == "evaluate"
    again = make_config(json.loads(json.dumps(config.model_dump(mode="json"))))
    assert again == config


def test_a_field_without_a_stage_is_a_mistake_of_the_programmer() -> None:
    class Careless(TrialConfig):
        speed: int = 3

    with pytest.raises(TypeError, match=r"Careless\.speed"):
        Careless.stages()
    assert setting(1, stage="train", help="x").json_schema_extra == {"stage": "train"}


def test_configs_are_frozen() -> None:
    with pytest.raises(Exception, match="frozen"):
        make_config({"method": "cam"}).lr = 3  # type: ignore[misc]


def test_settings_of_an_unused_pretraining_do_not_count() -> None:
    one = make_config({"method": "cam", **SMALL, "pretrain_epochs": 3, "weights_sha256": "a"})
    two = make_config({"method": "cam", **SMALL, "pretrain_images": 9})
    assert one.active() == two.active()
    assert one != two
    trained = make_config({"method": "cam", **SMALL, "pretrain": "embedded", "pretrain_epochs": 3})
    assert trained.active()["pretrain_epochs"] == 3


def test_the_headline_is_raw_where_nothing_refines() -> None:
    assert make_config({"method": "cam", "map": "refined"}).headline == "raw"
    assert make_config({"method": "cpn"}).headline == "refined"
    assert make_config({"method": "cpn", "map": "raw"}).headline == "raw"
    assert make_config({"method": "cpn", "pcm": False}).headline == "raw"
    assert "map" in make_config({"method": "cpn", "pcm": False}).inactive()
