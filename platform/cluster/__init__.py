"""Ready files for clusters: copied out, their first lines changed, and run (docs/clusters.md)."""

from __future__ import annotations

from pathlib import Path

#: What each file is for; `camsweep cluster` tells it.
READY = {
    "static.yaml": "machines with SSH, started by Ray's launcher: ray up static.yaml",
    "static.sh": "machines with SSH, without the launcher: bash static.sh start, run, stop",
    "slurm.sh": "SLURM: sbatch slurm.sh",
    "kuberay.yaml": "Kubernetes with the KubeRay operator: kubectl create -f kuberay.yaml",
    "aws.yaml": "AWS, workers on spot machines: ray up aws.yaml",
}


def ready_file(name: str) -> Path:
    """Where a ready file lies in this installation.

    Args:
        name: one of `READY`.
    """
    return Path(__file__).resolve().parent / name
