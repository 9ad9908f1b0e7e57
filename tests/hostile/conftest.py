"""The product's own objects against a gateway, a media host and a file host that lie on purpose.

`server` sends any bytes, over plain sockets, and counts what it gets and what is taken of its answers. `answers` makes
lies; each test file has a table of them for one or two kinds of requests. `witness` measures CPU time, memory and the
event loop while a lie is met, and judges what came of it: no exception but ours, and no secret and no unclean text in a
log, an exception, an event or a record. Each test then counts the requests: one create, whatever the lie, and nothing
sent where nobody should send anything.

Here are the fixtures: the server, connections that lead to it, and the way to the internet through it.
"""

from __future__ import annotations

import gc
import json
import socket
import ssl
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from certificates import self_signed
from hostile.answers import KEY
from hostile.server import HostileServer
from task_runner import runner  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

IMPATIENT = {"connect_timeout": 2, "read_timeout": 0.5, "total_timeout": 0.8, "least_speed": 100_000}
"""Timeouts of a connection, in seconds, that a drip or a silence of 20 s cannot pass unnoticed."""

PUBLIC_NAMES = (
    "dashscope.aliyuncs.com",
    "api.apiyi.com",
    "files.example",
    "media.example",
    "store.example",
    "inside.example",
)
INSIDE = ("169.254.169.254", "10.0.0.5", "127.0.0.1", "::1")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with a key and a certificate for every host that these tests name."""
    path = tmp_path_factory.mktemp("tls") / "chain.pem"
    path.write_bytes(b"".join(self_signed(PUBLIC_NAMES, INSIDE)))
    return path


@pytest.fixture(scope="session")
def hostile_server(certificate: Path) -> Iterator[HostileServer]:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with HostileServer(tls) as server:
        yield server


@pytest.fixture(scope="session")
def _loaded() -> None:
    """Load what a worker has loaded long before: no test is to pay for imports, or for the garbage of them."""
    from airflow_wan.api.client import tls_context

    tls_context()
    gc.collect()
    gc.freeze()


@pytest.fixture
def server(hostile_server: HostileServer, _loaded: None) -> Iterator[HostileServer]:
    """Return the server, which has no answers yet."""
    hostile_server.reset()
    yield hostile_server
    hostile_server.reset()


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that defines the Airflow connection `wan_default`."""

    def define(base_url: str, gateway: str = "dashscope", **extra: Any) -> None:
        fields = {
            "conn_type": "wan",
            "password": KEY,
            "host": base_url,
            "extra": {"gateway": gateway, **IMPATIENT, **extra},
        }
        monkeypatch.setenv("AIRFLOW_CONN_WAN_DEFAULT", json.dumps(fields))

    return define


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make retries and triggers go on without a pause, and half a second show how fast a transfer is."""
    monkeypatch.setattr("airflow_wan.net.deadline.Pace.WINDOW_S", 0.5)
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=lambda _seconds: None))
    monkeypatch.setattr("airflow_wan.triggers.wan.FIRST_READ_S", 0.0)


@pytest.fixture
def internet(server: HostileServer, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Make the server the proxy to every host of the internet, and return the addresses of names, which a test may set.

    The certificate is trusted by the means that users have for that: SSL_CERT_FILE.
    """
    from airflow_wan.api import client

    addresses: dict[str, list[str]] = {}

    def look_up(host: str, port: int | str | None, *rest: Any, **named: Any) -> Any:
        if host is None or host in ("127.0.0.1", "localhost"):
            return real(host, port, *rest, **named)
        try:
            socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
        except (OSError, ValueError):
            found = addresses.get(host, ["8.8.4.4"])
        else:
            return real(host, port, *rest, **named)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port or 0)) for address in found]

    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{server.port}")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    client.tls_context.cache_clear()
    yield addresses
    client.tls_context.cache_clear()
