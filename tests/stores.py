"""Fixtures of many tests: a tiny config, and stores on a disk and on an object store."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from dynonet.config import Config
from lab.series import load_series
from lab.store.objects.storage import Storage, open_storage
from lab.store.tables import Results

TINY: dict[str, Any] = {
    "data.seq_len": 16,
    "data.pred_len": 4,
    "data.synthetic.rows": 300,
    "model.worker_seq_len": 8,
    "model.control_hidden": 4,
    "model.worker_hidden": 2,
    "model.moving_average": 5,
    "training.batch_size": 32,
    "training.max_epochs": 6,
}


@pytest.fixture
def tiny() -> Config:
    """A config that trains an epoch in a fraction of a second."""
    return Config.create(TINY)


@pytest.fixture
def sha(tiny: Config) -> str:
    return load_series(tiny.data).identity


@pytest.fixture
def store(tmp_path: Path) -> Results:
    return Results(tmp_path / "out")


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    """The URL of an empty folder on a local S3 server; the keys to it are in the environment."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "{}:{}".format(*server.get_host_and_port())
    # Its buckets belong to the process, not to the server: without this a module would find another's.
    urlopen(Request(f"http://{address}/moto-api/reset", method="POST")).close()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        boto3.client("s3", endpoint_url=f"http://{address}").create_bucket(Bucket="bucket")
        yield f"s3://bucket/prefix?scheme=http&endpoint_override={address}"
    server.stop()


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty storage of each kind."""
    if request.param == "local":
        return open_storage(tmp_path / "store")
    base, _, options = request.getfixturevalue("s3_url").partition("?")
    return open_storage(f"{base}/{tmp_path.name}?{options}")
