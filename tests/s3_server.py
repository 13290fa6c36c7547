"""A local S3 server (moto) for the tests. A test file imports both fixtures: `s3` and `server`.

The server runs in a thread of the test process and ends with it. `s3` gives every test a bucket of
its own; a test file that imports it needs moto and skips without.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIATESTTESTTEST0000",
    "AWS_SECRET_ACCESS_KEY": "not/a+secret/but-long-enough-to-be-one00",
    "AWS_EC2_METADATA_DISABLED": "true",
}
OTHERS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION")


@dataclass(frozen=True)
class Bucket:
    """An empty bucket of the server."""

    name: str
    endpoint: str

    def url(self, folder: str, **query: str) -> str:
        """`s3://` with the endpoint in the query."""
        settings = {"endpoint_override": self.endpoint, **query}
        text = "&".join(f"{name}={value}" for name, value in settings.items())
        return f"s3://{self.name}/{folder}?{text}"

    def client(self) -> object:
        """A boto3 client, independent of the code under test."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )

    def put(self, key: str, content: bytes) -> None:
        self.client().put_object(Bucket=self.name, Key=key, Body=content)  # type: ignore[attr-defined]

    def get(self, key: str) -> bytes:
        answer = self.client().get_object(Bucket=self.name, Key=key)  # type: ignore[attr-defined]
        content: bytes = answer["Body"].read()
        return content

    def delete(self, key: str) -> None:
        self.client().delete_object(Bucket=self.name, Key=key)  # type: ignore[attr-defined]

    def objects(self) -> list[str]:
        """The keys, without the empty objects by which pyarrow marks folders."""
        answer = self.client().list_objects_v2(Bucket=self.name)  # type: ignore[attr-defined]
        keys = [entry["Key"] for entry in answer.get("Contents", [])]
        return [key for key in keys if not key.endswith("/")]


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of a running S3 server."""
    moto = pytest.importorskip("moto.server", reason="moto[s3] and flask are not installed")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def s3(server: str, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A new bucket, and credentials in the environment."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    for name in OTHERS:
        monkeypatch.delenv(name, raising=False)
    bucket = Bucket(f"camsweep-{uuid.uuid4().hex[:12]}", server)
    bucket.client().create_bucket(Bucket=bucket.name)  # type: ignore[attr-defined]
    return bucket
