"""A real S3 server on loopback, and an Airflow connection to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

if TYPE_CHECKING:
    from collections.abc import Iterator

_ACCESS = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing-secret", "region_name": "us-east-1"}


@pytest.fixture(scope="session")
def s3_port() -> Iterator[int]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield server._server.server_port
    server.stop()


def s3_client(port: int) -> Any:
    return boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", **_ACCESS)


def s3_connection(endpoint_url: str, **extra: Any) -> dict[str, Any]:
    """Return the fields of an Airflow connection to the server.

    :param extra: more fields of its extra.
    """
    return {
        "conn_type": "aws",
        "login": _ACCESS["aws_access_key_id"],
        "password": _ACCESS["aws_secret_access_key"],
        "extra": {"region_name": _ACCESS["region_name"], "endpoint_url": endpoint_url} | extra,
    }
