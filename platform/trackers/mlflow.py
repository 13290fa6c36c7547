"""MLflow: one run a trial in the experiment of its sweep, in a local folder or on a server."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from camsweep.platform.trackers.facts import Ended, TrialFacts
from camsweep.shards.errors import InputError

#: Set where the user has not: no calls home, and no minutes of retries when a server is down.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
}
#: The tag by which a trial's run is found again.
TAG = "camsweep.trial"
ENDS = {"done": "FINISHED", "failed": "FAILED"}
#: MLflow takes this many parameters, or metrics, in a call.
BATCH = 100
NOTHING: Mapping[str, str] = {}


def tracking_uri(where: str) -> str:
    """The URI of a server, or that of the database in a folder, which is made.

    Raises:
        InputError: credentials in the URI, or a folder that can't be made.
    """
    parts = urlsplit(where)
    if parts.password:
        raise InputError(
            f"track mlflow: credentials in the URI of {parts.hostname}; leave them out and set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    if ("://" in where and parts.scheme != "file") or where == "databricks":
        return where
    folder = Path(parts.path if parts.scheme == "file" else where).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"track mlflow: {where}: {error.strerror}") from error
    return f"sqlite:///{folder}/mlflow.db"


def clean(name: str) -> str:
    """A name of a parameter or metric as MLflow takes it."""
    return re.sub(r"[^\w\-. :/]", "_", name)


class Backend:
    """Writes to an MLflow tracking store.

    Args:
        where: a folder (it gets `mlflow.db`) or a tracking URI.

    Raises:
        InputError: credentials in the URI, or a folder that can't be made.
    """

    name = "mlflow"

    def __init__(self, where: str) -> None:
        os.environ.update({k: os.environ.get(k, v) for k, v in ENVIRONMENT.items()})
        from mlflow.tracking import MlflowClient

        for logger in ("mlflow", "alembic"):
            logging.getLogger(logger).setLevel(logging.WARNING)
        uri = tracking_uri(where)
        self._artefacts = None
        if uri.startswith("sqlite:///"):
            self._artefacts = (Path(uri.removeprefix("sqlite:///")).parent / "artifacts").as_uri()
        self._client: Any = MlflowClient(tracking_uri=uri)
        self._experiments: dict[str, str] = {}
        self._runs: dict[str, str] = {}

    def begin(self, trial: TrialFacts) -> None:
        """Open a run, or the one that the trial had when it was interrupted."""
        experiment = self._experiment(trial.sweep or "camsweep")
        tags = {TAG: trial.id, "camsweep.sweep": trial.sweep, "camsweep.label": trial.label}
        before = self._client.search_runs(
            [experiment], filter_string=f"tags.`{TAG}` = '{trial.id}'", max_results=1
        )
        if before:
            run = before[0].info.run_id
            self._client.update_run(run, status="RUNNING")
        else:
            run = self._client.create_run(experiment, run_name=trial.name, tags=tags).info.run_id
        self._runs[trial.id] = run
        self._log_settings(run, trial)

    def epoch(self, trial: TrialFacts, epoch: int, values: Mapping[str, float]) -> None:
        """The values as metrics at the epoch."""
        self._log(self._runs[trial.id], values, epoch)

    def end(self, trial: TrialFacts, ended: Ended) -> None:
        """The final numbers as metrics, the rest as tags, and the run's status."""
        run = self._runs.pop(trial.id)
        about = {"status": ended.status, "cause": ended.cause[:500], **ended.about}
        self._log(run, ended.metrics, max(ended.epochs, default=0), about)
        self._client.set_terminated(run, ENDS.get(ended.status, "KILLED"))

    def close(self) -> None:
        """The runs of interrupted trials end as killed; the next run goes on with them."""
        while self._runs:
            self._client.set_terminated(self._runs.popitem()[1], "KILLED")

    def _experiment(self, name: str) -> str:
        if name not in self._experiments:
            found = self._client.get_experiment_by_name(name)
            self._experiments[name] = (
                found.experiment_id
                if found
                else self._client.create_experiment(name, artifact_location=self._artefacts)
            )
        return self._experiments[name]

    def _log_settings(self, run: str, trial: TrialFacts) -> None:
        from mlflow.entities import Param

        values = {"method": trial.method, "seed": str(trial.seed), **trial.settings()}
        params = [Param(clean(name), text[:500]) for name, text in values.items()]
        for start in range(0, len(params), BATCH):
            self._client.log_batch(run, params=params[start : start + BATCH])

    def _log(
        self, run: str, values: Mapping[str, float], step: int, about: Mapping[str, str] = NOTHING
    ) -> None:
        from mlflow.entities import Metric, RunTag

        now = int(1000 * time.time())
        metrics = [Metric(clean(name), value, now, step) for name, value in values.items()]
        tags = [RunTag(f"camsweep.{name}", text) for name, text in about.items() if text]
        for start in range(0, max(len(metrics), 1), BATCH):
            self._client.log_batch(run, metrics=metrics[start : start + BATCH], tags=tags)
            tags = []
