"""A real S3 server on loopback, an Airflow connection to it, and a TCP proxy between them that can be cut."""

from __future__ import annotations

import json
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any, Self

import pytest
from oss_server import KEYS, OssServer
from s3_server import s3_client, s3_connection, s3_port  # noqa: F401 - s3_port is a fixture
from task_runner import connect, runner  # noqa: F401 - fixtures

# Imported rather than named in pytest_plugins, which pytest reads in the topmost conftest only.
from airflow_wan.emulator.pytest_plugin import wan_emulator, wan_emulator_for  # noqa: F401

if TYPE_CHECKING:
    from collections.abc import Iterator

BUCKET = "films"


class Wire:
    """A TCP proxy to a local port. On request, it resets every connection after a number of upstream bytes."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._left: int | None = None
        self._lock = threading.Lock()
        self.cuts = 0

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def cut_after(self, upstream_bytes: int) -> None:
        """Let so many bytes pass in all; each connection that sends more than that is reset."""
        self._left = upstream_bytes

    def mend(self) -> None:
        """Let all bytes pass again."""
        self._left = None

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._port))
            threading.Thread(target=self._up, args=(client, server), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        while piece := _received(client):
            with self._lock:
                allowed = len(piece) if self._left is None else min(self._left, len(piece))
                if self._left is not None:
                    self._left -= allowed
            server.sendall(piece[:allowed])
            if allowed < len(piece):
                self.cuts += 1
                for end in (client, server):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    end.close()
                return
        server.close()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        while piece := _received(source):
            try:
                target.sendall(piece)
            except OSError:
                return
        target.close()


def _received(end: socket.socket) -> bytes:
    try:
        return end.recv(64 * 1024)
    except OSError:
        return b""


@pytest.fixture
def wire(s3_port: int) -> Iterator[Wire]:  # noqa: F811
    with Wire(s3_port) as wire:
        yield wire


@pytest.fixture
def s3(s3_port: int, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:  # noqa: F811
    """Return a client of the server, which has an empty bucket; `aws_default` reaches it through the wire."""
    from airflow.sdk.io import store

    # The wire stays cut: five retries would only take time.
    connection = s3_connection(wire.url, config_kwargs={"retries": {"total_max_attempts": 1}})
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
    monkeypatch.setattr(store, "_STORE_CACHE", {})
    client = s3_client(s3_port)
    client.create_bucket(Bucket=BUCKET)
    yield client
    for upload in client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []):
        client.abort_multipart_upload(Bucket=BUCKET, Key=upload["Key"], UploadId=upload["UploadId"])
    for item in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=item["Key"])
    client.delete_bucket(Bucket=BUCKET)


@pytest.fixture
def oss(monkeypatch: pytest.MonkeyPatch) -> Iterator[OssServer]:
    """A store that the connection `oss_default` leads to."""
    from airflow.sdk.io import store

    monkeypatch.setattr(store, "_STORE_CACHE", {})
    with OssServer() as server:
        connection = {"conn_type": "oss", "extra": KEYS | {"endpoint": server.endpoint}}
        monkeypatch.setenv("AIRFLOW_CONN_OSS_DEFAULT", json.dumps(connection))
        yield server
